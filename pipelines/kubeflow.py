"""The steps as a Kubeflow pipeline: `python -m pipelines.kubeflow FILE` compiles it to YAML.

Needs the extra `kubeflow` in an environment of its own, see `make kubeflow`. The steps share a volume with a checkout
of the project and a secret with addresses and keys, like the jobs of the Kubernetes work pool; see docs/scaling.md.
"""

import sys

from kfp import compiler, dsl, kubernetes

IMAGE = "registry.example.org/cfnsr:latest"  # built from deploy/Dockerfile
SHARED = "cfnsr"
"""Name of the volume claim and of the secret in deploy/kubernetes.yaml."""
SECRETS = (
    *("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)

STEPS: dict[str, tuple[str, ...]] = {
    "download": (),
    "manifest": ("download",),
    "faces": ("manifest",),
    "mfcc": ("manifest",),
    "train": ("faces", "mfcc"),
    "evaluate": ("train",),
    "register": ("evaluate",),
}
"""Each stage of dvc.yaml with the stages that it waits for."""


def component(step: str) -> dsl.ContainerSpec:
    """Return a module of `components/` as a container component."""

    def run(profile: str) -> dsl.ContainerSpec:
        return dsl.ContainerSpec(IMAGE, command=["python", "-m", f"components.{step}"], args=["--profile", profile])

    run.__name__ = step
    return dsl.container_component(run)


@dsl.pipeline(name="cfn-sr", description="From clips to a registered model.")
def pipeline(profile: str = "ravdess") -> None:
    """Run all steps, each after those it depends on."""
    tasks: dict[str, dsl.PipelineTask] = {}
    for step, earlier in STEPS.items():
        task = tasks[step] = component(step)(profile=profile).after(*(tasks[name] for name in earlier))
        task.set_caching_options(False)  # the steps skip finished work themselves; Kubeflow does not see the volume
        kubernetes.mount_pvc(task, pvc_name=SHARED, mount_path="/cfnsr")
        kubernetes.use_secret_as_env(task, secret_name=SHARED, secret_key_to_env={name: name for name in SECRETS})
    tasks["train"].set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
    kubernetes.empty_dir_mount(tasks["train"], volume_name="memory", mount_path="/dev/shm", medium="Memory")


if __name__ == "__main__":
    compiler.Compiler().compile(pipeline, sys.argv[1])
