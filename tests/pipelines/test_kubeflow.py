"""The Kubeflow pipeline, compiled in an environment of its own, against the graph of dvc.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from helpers.paths import PROJECT
from helpers.project_copy import copy_project, run

STAGES = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> tuple[dict, dict]:
    """The pipeline, and what it says for Kubernetes alone."""
    project = copy_project(tmp_path_factory.mktemp("kubeflow") / "cfnsr")
    done = run(project, "make kubeflow")
    assert done.returncode == 0, done.stdout + done.stderr
    pipeline, platform = yaml.safe_load_all((project / "kubeflow.yaml").read_text())
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def steps_of_train() -> set[str]:
    """The stage `train` runs a flow; these of its sources are steps that run by themselves, one after the other."""
    sources = [dep for dep in STAGES["train"]["deps"] if dep.startswith("components/")]
    return {
        Path(source).stem for source in sources if "\nfrom components.step import" in (PROJECT / source).read_text()
    }


def earlier_stages(name: str) -> set[str]:
    """All stages that a stage needs the outputs of, directly or through others."""
    outputs = {
        (out if isinstance(out, str) else next(iter(out))): stage
        for stage, entry in STAGES.items()
        for out in entry["outs"]
    }
    found = {outputs[dep] for dep in STAGES[name]["deps"] if dep in outputs}
    return found.union(*(earlier_stages(stage) for stage in found))


def earlier_tasks(tasks: dict, name: str) -> set[str]:
    found = set(tasks[name].get("dependentTasks", ()))
    return found.union(*(earlier_tasks(tasks, task) for task in found))


def test_its_tasks_are_the_stages_of_dvc(compiled):
    tasks = compiled[0]["root"]["dag"]["tasks"]
    assert set(tasks) == {name for name in STAGES if name != "train"} | steps_of_train()


def test_each_task_runs_its_stages_command(compiled):
    for name, executor in compiled[0]["deploymentSpec"]["executors"].items():
        step, container = name.removeprefix("exec-"), executor["container"]
        command = f"python -m components.{step}"
        assert container["command"] == command.split()
        assert step in steps_of_train() or STAGES[step]["cmd"] == command
        assert container["args"] == ["--profile", "{{$.inputs.parameters['profile']}}"]


def test_tasks_wait_for_what_their_stages_need(compiled):
    tasks = compiled[0]["root"]["dag"]["tasks"]
    for name in STAGES:
        assert earlier_tasks(tasks, name) == earlier_stages(name)
    # The stage's own steps come one after the other, as in the flow.
    assert earlier_tasks(tasks, "evaluate") == earlier_stages("train") | {"train"}
    assert earlier_tasks(tasks, "register") == earlier_stages("train") | {"train", "evaluate"}


def test_training_alone_asks_for_a_gpu_and_all_share_the_checkout(compiled):
    pipeline, platform = compiled
    asks = {
        name: executor["container"].get("resources", {}).get("accelerator", {}).get("resourceCount")
        for name, executor in pipeline["deploymentSpec"]["executors"].items()
    }
    assert {name: count for name, count in asks.items() if count} == {"exec-train": "1"}
    assert all(executor["pvcMount"][0]["mountPath"] == "/cfnsr" for executor in platform.values())
    assert set(platform) == set(asks)
    assert all(not task["cachingOptions"] for task in pipeline["root"]["dag"]["tasks"].values())
