"""Step `register`: the network of the fold with the best selection score becomes a version of `cfn-sr`.

The version gets the alias `challenger`; weights are safetensors, the pyfunc around them takes videos, and a model card
lies beside them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cfnsr
from cfnsr.config.load import Settings
from cfnsr.corpus.folds import SELECTION
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.errors import InputError
from cfnsr.evaluation.metrics import interval_in_words
from cfnsr.files import write_text
from cfnsr.training.result import WEIGHTS, FoldResult
from components.evaluate import finished_folds
from components.registered.model_card import model_card
from components.step import run_step
from components.tracking.runs import REGISTERED_MODEL, RunTracker, mlflow_at
from components.train import check_current, fold_folder, read_key

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

ALIAS = "challenger"
COMPLETE = "registration"
"""Tag that is set last; a version without it was interrupted while it was described."""

CARD = "model_card.md"
PYFUNC = Path(__file__).parent / "registered" / "pyfunc.py"
REQUIREMENTS = (
    *("torch", "torchvision", "torchaudio", "av", "opencv-python-headless", "librosa", "pyarrow", "pydantic"),
    *("safetensors", "mlflow", "urllib3"),
)


def register(settings: Settings) -> int:
    """Register the run's best fold, once: a second call for the same run returns the version that is there.

    Returns:
        The version's number.

    Raises:
        InputError: a fold is not finished, the run has not been evaluated, or its settings, data or code have changed.
    """
    results = finished_folds(settings)
    check_current(settings)
    content = present_metrics(settings)
    best = max(results, key=lambda result: result.selection_accuracy)
    tracker = RunTracker(settings)
    run_id = tracker.parent()
    version = version_of(tracker, run_id)
    if version is None:
        card = settings.layout.run / CARD
        origin = _origin(tracker, run_id)
        write_text(card, model_card(settings, content, best, origin))
        files = {"weights": fold_folder(settings, best.fold) / WEIGHTS, "model_card": card}
        if settings.params.faces.yunet is not None:  # who serves the network finds faces with the same detector
            files["yunet"] = settings.layout.root / settings.params.faces.yunet
        log_model(settings, run_id, files)
        version = version_of(tracker, run_id)
        assert version is not None, "log_model registers what it logs"
    if COMPLETE not in version.tags:
        for name, value in _tags(content, best, tracker, run_id).items():
            tracker.client.set_model_version_tag(REGISTERED_MODEL, version.version, name, value)
        tracker.client.update_model_version(REGISTERED_MODEL, version.version, _description(content, best))
        tracker.client.set_registered_model_alias(REGISTERED_MODEL, ALIAS, version.version)
        tracker.client.set_model_version_tag(REGISTERED_MODEL, version.version, COMPLETE, "complete")
    return int(version.version)


def version_of(tracker: RunTracker, run_id: str) -> ModelVersion | None:
    """The version that a run registered, with its aliases; None if there is none."""
    for version in tracker.client.search_model_versions(f"name = '{REGISTERED_MODEL}'"):
        if version.run_id == run_id:
            return tracker.client.get_model_version(REGISTERED_MODEL, version.version)  # a search leaves aliases out
    return None


def present_metrics(settings: Settings) -> dict[str, Any]:
    """The content of metrics/<profile>.json.

    Raises:
        InputError: there is none, or it is of an earlier run than the one in the run's folder.
    """
    path = settings.layout.metrics
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if content.get("run") != read_key(settings):
        raise InputError(f"{path} has no figures of the present run; run `python -m components.evaluate` first.")
    return content


def log_model(settings: Settings, run_id: str, files: Mapping[str, Path]) -> None:
    """Log the pyfunc to a run and register it as a new version.

    Args:
        settings: name the project, whose registry it is.
        run_id: of MLflow.
        files: `weights`, `model_card`, and `yunet` for a network of YuNet's faces.
    """
    import mlflow

    with mlflow_at(settings.layout.root), mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        # The signature is given; an example would only be run through the model to find it out.
        warnings.filterwarnings("ignore", ".*input example was not provided")
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(PYFUNC),
            artifacts={name: str(path) for name, path in files.items()},
            code_paths=[str(Path(cfnsr.__file__).parent)],
            pip_requirements=_requirements(),
            signature=_signature(),
            registered_model_name=REGISTERED_MODEL,
        )
        mlflow.log_artifact(str(files["model_card"]))  # also where the run's other files are shown


def _signature() -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        *(ColSpec(DataType.string, name, required=False) for name in ("path", "url", "content")),
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

    return [f"{name}=={version(name)}" for name in REQUIREMENTS]


def _tags(content: dict[str, Any], best: FoldResult, tracker: RunTracker, run_id: str) -> dict[str, str]:
    tags = {
        "corpus": content["corpus"],
        "profile": content["profile"],
        "protocol": content["protocol"],
        "claim": content["claim"],
        "parameters": str(content["parameters"]),
        "fold": str(best.fold),
        "selection_accuracy": f"{best.selection_accuracy:.4f}",
        "test_accuracy": f"{content['pooled']['accuracy']:.4f}",
        "test_accuracy_interval": interval_in_words(content["interval"].get("accuracy"), ".4f"),
    }
    return tags | _origin(tracker, run_id)


def _origin(tracker: RunTracker, run_id: str) -> dict[str, str]:
    """What the run was made from, as far as it is known."""
    tags = tracker.client.get_run(run_id).data.tags
    names = ("dataset_digest", "dvc_lock_data_sha256", "mlflow.source.git.commit", "git_clean")
    return {name.removeprefix("mlflow.source.").replace(".", "_"): tags[name] for name in names if name in tags}


def _description(content: dict[str, Any], best: FoldResult) -> str:
    interval = interval_in_words(content["interval"].get("accuracy"))
    return (
        f"CFN-SR trained on the {content['corpus']}, {content['parameters']:,} parameters. Accuracy over all folds: "
        f"{content['pooled']['accuracy']:.1%} (95 % interval {interval}); {content['protocol']} protocol, "
        f"{content['claim']}. These weights are fold {best.fold}'s, the best on its {SELECTION[content['protocol']]}."
    )


def step(settings: Settings) -> None:
    """The step as the command line runs it."""
    print(f"{REGISTERED_MODEL} version {register(settings)} has the alias {ALIAS!r}")


if __name__ == "__main__":
    run_step(step, __doc__)
