"""Step `register`: the network of the fold with the best selection score becomes a version of `cfn-sr`.

The version gets the alias `challenger`. Its weights are safetensors, its pyfunc takes videos, and a model card is
stored with them.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cfnsr
from cfnsr.config.corpus import in_a_sentence
from cfnsr.config.load import Settings
from cfnsr.corpus.folds import SELECTION
from cfnsr.evaluation.metrics import interval_in_words
from cfnsr.files import write_text
from cfnsr.training.result import WEIGHTS, FoldResult
from components.registered.model_card import model_card
from components.run import Run, read_figures
from components.step import run_step
from components.tracking.runs import COMPLETE, REGISTERED_MODEL, RunTracker, mlflow_at

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

ALIAS = "challenger"

CARD = "model_card.md"
PYFUNC = Path(__file__).parent / "registered" / "pyfunc.py"
REQUIREMENTS = (
    *("torch", "torchvision", "torchaudio", "av", "opencv-python-headless", "librosa", "pyarrow", "pydantic"),
    *("safetensors", "mlflow", "urllib3"),
)


def register(run: Run) -> int:
    """Register the network of the run's best fold, once: a second call returns the version that is there.

    Returns:
        The version's number, which `models/<profile>.json` records too.

    Raises:
        InputError: a fold is not trained, the run has not been evaluated, or its settings, data or code have changed.
    """
    results, content = run.results(), read_figures(run.settings)
    best = max(results, key=lambda result: result.selection_score)
    tracker = run.tracker
    run_id = tracker.parent()
    with tracker.running(run_id):
        registered = tracker.version(run_id)
        if registered is None:
            tracker.drop_models(run_id)  # of a registration that was interrupted
            _log(run, content, best, run_id)
            registered = tracker.version(run_id)
            assert registered is not None, "log_model registers what it logs"
        number = registered.version
        if COMPLETE not in registered.tags:
            for name, value in _tags(content, best, tracker, run_id).items():
                tracker.client.set_model_version_tag(REGISTERED_MODEL, number, name, value)
            tracker.client.update_model_version(REGISTERED_MODEL, number, _description(content, best))
            tracker.client.set_registered_model_alias(REGISTERED_MODEL, ALIAS, number)
            tracker.client.set_model_version_tag(REGISTERED_MODEL, number, COMPLETE, "complete")
    record = {"name": REGISTERED_MODEL, "version": int(number), "run_id": run_id, "fold": best.fold}
    write_text(run.settings.layout.model, json.dumps(record, indent=2) + "\n")
    return int(number)


def _log(run: Run, content: dict[str, Any], best: FoldResult, run_id: str) -> None:
    """Log the weights of a fold with their model card, and the face detector where it is a file."""
    settings = run.settings
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder, CARD)
        card.write_text(model_card(settings, content, best, _origin(run.tracker, run_id)), encoding="utf-8")
        files = {"weights": run.fold_folder(best.fold) / WEIGHTS, "model_card": card}
        if settings.params.faces.yunet is not None:  # prediction must use the detector of training
            files["yunet"] = settings.layout.root / settings.params.faces.yunet
        log_model(settings, run_id, files)


def log_model(settings: Settings, run_id: str, files: Mapping[str, Path]) -> None:
    """Log the pyfunc to a run and register it as a new version.

    Args:
        settings: name the project, whose registry is used.
        run_id: MLflow run.
        files: `weights`, `model_card`, and `yunet` where faces were detected by YuNet.
    """
    import mlflow

    from cfnsr.model.checkpoint import load_model

    with mlflow_at(settings.layout.root), mlflow.start_run(run_id=run_id), warnings.catch_warnings():
        # The signature is given; an example would only be run through the model to infer it.
        warnings.filterwarnings("ignore", ".*input example was not provided")
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(PYFUNC),
            artifacts={name: str(path) for name, path in files.items()},
            code_paths=[str(Path(cfnsr.__file__).parent)],
            # The installed versions of what prediction needs; MLflow's own guess would import everything.
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            signature=_signature(load_model(files["weights"])[1].labels),
            registered_model_name=REGISTERED_MODEL,
        )
        mlflow.log_artifact(str(files["model_card"]))  # also beside the run's other files


def _signature(labels: Sequence[str]) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    columns = ("path", "url", "content")
    inputs: list[ColSpec | TensorSpec] = [ColSpec(DataType.string, name, required=False) for name in columns]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "emotion"),
        *(ColSpec(DataType.double, name) for name in ("confidence", *labels)),
        ColSpec(DataType.string, "error"),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs))


def _tags(content: dict[str, Any], best: FoldResult, tracker: RunTracker, run_id: str) -> dict[str, str]:
    tags = {
        "corpus": content["corpus"],
        "profile": content["profile"],
        "protocol": content["protocol"],
        "claim": content["claim"],
        "parameters": str(content["parameters"]),
        "fold": str(best.fold),
        "selection_score": f"{best.selection_score:.4f}",
        "test_accuracy": f"{content['pooled']['accuracy']:.4f}",
        "test_accuracy_interval": interval_in_words(content["interval"].get("accuracy"), ".4f"),
    }
    return tags | _origin(tracker, run_id)


def _origin(tracker: RunTracker, run_id: str) -> dict[str, str]:
    """What the run was made from, as far as known."""
    tags = tracker.client.get_run(run_id).data.tags
    names = ("dataset_digest", "dvc_lock_data_sha256", "mlflow.source.git.commit", "git_clean")
    return {name.removeprefix("mlflow.source.").replace(".", "_"): tags[name] for name in names if name in tags}


def _description(content: dict[str, Any], best: FoldResult) -> str:
    interval = interval_in_words(content["interval"].get("accuracy"))
    return (
        f"CFN-SR trained on {in_a_sentence(content['corpus'])}, {content['parameters']:,} parameters. "
        f"Accuracy over all folds: {content['pooled']['accuracy']:.1%} (95 % interval {interval}); "
        f"{content['protocol']} protocol, {content['claim']}. "
        f"These weights are fold {best.fold}'s, the best on its {SELECTION[content['protocol']]}."
    )


def step(settings: Settings) -> None:
    """The step as the command line runs it."""
    print(f"{REGISTERED_MODEL} version {register(Run.open(settings))} has the alias {ALIAS!r}")


if __name__ == "__main__":
    run_step(step, __doc__)
