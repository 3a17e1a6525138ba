"""Versions in a registry without any training: an MLflow run with test predictions, and the tags of `register`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import yaml
from helpers.feature_files import PROFILE
from helpers.mlflow_runs import add_empty_database

from cfnsr.config.corpus import SAMPLE_CORPUS
from cfnsr.corpus.ravdess import EMOTIONS
from components.tracking.runs import EXPERIMENT, REGISTERED_MODEL

RAVDESS = {"corpus": "RAVDESS", "profile": "small", "protocol": "honest", "dataset_digest": "one"}
SYNTHETIC = {**RAVDESS, "corpus": SAMPLE_CORPUS}
ACTORS, CLIPS = 6, 40


def registry(root: Path, server: str = "") -> mlflow.MlflowClient:
    """A project with settings and an empty registry."""
    (root / "params.yaml").write_text(yaml.safe_dump({"profile": "small", "small": PROFILE}))
    if not server:
        add_empty_database(root)
    client = mlflow.MlflowClient(server or f"sqlite:///{root}/mlflow.db")
    client.create_experiment(EXPERIMENT, artifact_location=(root / "mlartifacts").as_uri())
    client.create_registered_model(REGISTERED_MODEL)
    return client


def add_version(
    client: mlflow.MlflowClient,
    folder: Path,
    share: float,
    tags: Mapping[str, str] = RAVDESS,
    folds: int = 3,
    speakers: int = ACTORS,
) -> str:
    """A version that is right in this share of each speaker's clips, every time the same ones. Returns its number."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    run = client.create_run(experiment.experiment_id).info.run_id
    rows = [
        {
            "clip_id": f"{speaker}-{clip}",
            "speaker": speaker,
            "fold": speaker % folds,
            "network": "fusion",
            "inputs": "both",
            "label": EMOTIONS[clip % 8],
            "predicted": EMOTIONS[(clip if clip < share * CLIPS else clip + 1) % 8],
        }
        for speaker in range(speakers)
        for clip in range(CLIPS)
    ]
    table = pd.DataFrame(rows).sample(frac=1, random_state=np.random.default_rng(0).integers(1 << 30))
    table.to_csv(folder / "predictions.csv", index=False)
    client.log_artifact(run, str(folder / "predictions.csv"), "plots")
    version = client.create_model_version(REGISTERED_MODEL, f"runs:/{run}/model", run)
    for name, value in {**tags, "registration": "complete"}.items():
        client.set_model_version_tag(REGISTERED_MODEL, version.version, name, value)
    return str(version.version)
