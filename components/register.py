"""Step `register`: the network of the fold with the best validation score becomes a version of `cfn-sr`.

The version gets the alias `challenger`; weights are safetensors, the pyfunc around them takes videos.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from cfnsr.config import Settings
from cfnsr.errors import InputError
from components.runner import run_step
from components.tracking import MODEL, RunTracker, mlflow_at
from components.train import fold_folder

ALIAS = "challenger"

PYFUNC = Path(__file__).with_name("pyfunc.py")
REQUIREMENTS = (
    "torch",
    "torchvision",
    "torchaudio",
    "av",
    "opencv-python-headless",
    "librosa",
    "pyarrow",
    "pydantic",
    "safetensors",
)


def register(settings: Settings) -> int:
    """Register the run's best fold, once: a second call for the same run returns the version that is there.

    Returns:
        The version's number.

    Raises:
        InputError: the run has not been trained and evaluated.
    """
    import mlflow

    from cfnsr.training import MODEL as WEIGHTS
    from cfnsr.training import FoldResult

    if not settings.layout.metrics.exists():
        raise InputError(f"{settings.layout.metrics} is missing; run `python -m components.evaluate` first.")
    content = json.loads(settings.layout.metrics.read_text())
    results = [FoldResult.load(fold_folder(settings, index)) for index in range(settings.params.train.folds)]
    best = max((result for result in results if result is not None), key=lambda result: result.selection_accuracy)

    tracker = RunTracker(settings)
    run_id = tracker.parent({}, {})
    for registered in tracker.client.search_model_versions(f"name = '{MODEL}'"):
        if registered.run_id == run_id:
            return int(registered.version)
    with mlflow_at(settings.layout.root), mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        # The signature is given; an example would only be run through the model to find it out.
        warnings.filterwarnings("ignore", ".*input example was not provided")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(PYFUNC),
            artifacts={"weights": str(fold_folder(settings, best.fold) / WEIGHTS)},
            code_paths=[str(settings.layout.root / "cfnsr")],
            pip_requirements=_requirements(),
            signature=_signature(),
            registered_model_name=MODEL,
        )
    version = str(info.registered_model_version)
    for name, value in _tags(content, best.fold, best.selection_accuracy, tracker, run_id).items():
        tracker.client.set_model_version_tag(MODEL, version, name, value)
    tracker.client.update_model_version(MODEL, version, description=_description(content, best.fold))
    tracker.client.set_registered_model_alias(MODEL, ALIAS, version)
    return int(version)


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    from cfnsr.ravdess import EMOTIONS

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "path", required=False),
        ColSpec(DataType.string, "content", required=False),
    ]
    numbers = ("confidence", *EMOTIONS)
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "emotion"),
        *(ColSpec(DataType.double, name) for name in numbers),
        ColSpec(DataType.string, "error"),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs))


def _requirements() -> list[str]:
    """The installed versions of what prediction needs; MLflow's own guess would import everything."""
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in (*REQUIREMENTS, "mlflow")]


def _tags(content: dict[str, Any], fold: int, selection: float, tracker: RunTracker, run_id: str) -> dict[str, str]:
    run_tags = tracker.client.get_run(run_id).data.tags
    low, high = content["interval"]["accuracy"]
    tags = {
        "corpus": content["corpus"],
        "profile": content["profile"],
        "protocol": content["protocol"],
        "parameters": str(content["parameters"]),
        "fold": str(fold),
        "selection_accuracy": f"{selection:.4f}",
        "test_accuracy": f"{content['pooled']['accuracy']:.4f}",
        "test_accuracy_interval": f"{low:.4f} to {high:.4f}",
    }
    for name in ("dataset_digest", "dvc_lock_md5", "mlflow.source.git.commit"):
        if name in run_tags:
            tags[name.split(".")[-1]] = run_tags[name]
    return tags


def _description(content: dict[str, Any], fold: int) -> str:
    low, high = content["interval"]["accuracy"]
    return (
        f"CFN-SR trained on the {content['corpus']}, {content['parameters']:,} parameters. Accuracy on actors never "
        f"seen in training, all folds: {content['pooled']['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}, "
        f"{content['protocol']} protocol). These weights are fold {fold}'s, the best on its validation actors."
    )


def step(settings: Settings) -> None:
    """The step as the command line runs it."""
    print(f"{MODEL} version {register(settings)} has the alias {ALIAS!r}")


if __name__ == "__main__":
    run_step(step, __doc__)
