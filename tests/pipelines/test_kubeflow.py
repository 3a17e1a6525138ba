"""The Kubeflow pipeline, compiled in its own environment, has the graph of dvc.yaml."""

from __future__ import annotations

import pytest
import yaml
from helpers.dvc_stages import STAGES, earlier_stages
from helpers.paths import PROJECT
from helpers.project_copy import copy_project, run

KUBEFLOW = ".venv-kubeflow"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> tuple[dict, dict]:
    """The pipeline, and its settings for Kubernetes."""
    project = copy_project(tmp_path_factory.mktemp("kubeflow") / "cfnsr")
    if (PROJECT / KUBEFLOW).exists():  # `make test` has installed it
        (project / KUBEFLOW).symlink_to(PROJECT / KUBEFLOW)
    done = run(project, "make kubeflow")
    assert done.returncode == 0, done.stdout + done.stderr
    pipeline, platform = yaml.safe_load_all((project / "kubeflow.yaml").read_text())
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def earlier_tasks(tasks: dict, name: str) -> set[str]:
    found = set(tasks[name].get("dependentTasks", ()))
    return found.union(*(earlier_tasks(tasks, task) for task in found))


def test_the_tasks_are_the_stages_of_dvc(compiled):
    tasks = compiled[0]["root"]["dag"]["tasks"]
    assert set(tasks) == set(STAGES)


def test_each_task_runs_its_stages_command(compiled):
    for name, executor in compiled[0]["deploymentSpec"]["executors"].items():
        step, container = name.removeprefix("exec-"), executor["container"]
        command = f"python -m components.{step}"
        assert container["command"] == command.split()
        assert STAGES[step]["cmd"] == command
        assert container["args"] == ["--profile", "{{$.inputs.parameters['profile']}}"]


def test_tasks_wait_for_what_their_stages_need(compiled):
    tasks = compiled[0]["root"]["dag"]["tasks"]
    for name in STAGES:
        assert earlier_tasks(tasks, name) == earlier_stages(name)


def test_only_training_requests_a_gpu_and_all_tasks_share_the_checkout(compiled):
    pipeline, platform = compiled
    gpus = {
        name: executor["container"].get("resources", {}).get("accelerator", {}).get("resourceCount")
        for name, executor in pipeline["deploymentSpec"]["executors"].items()
    }
    assert {name: count for name, count in gpus.items() if count} == {"exec-train": "1"}
    assert all(executor["pvcMount"][0]["mountPath"] == "/cfnsr" for executor in platform.values())
    assert set(platform) == set(gpus)
    assert all(not task["cachingOptions"] for task in pipeline["root"]["dag"]["tasks"].values())
