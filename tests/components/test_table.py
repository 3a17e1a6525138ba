"""A corpus of one's own, from a table of clips to a registered network and its answers."""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from helpers.feature_files import PROFILE, write_params
from helpers.media_files import tone, write_media
from helpers.talking_files import write_talk

from cfnsr.corpus.manifest import read_manifest
from cfnsr.corpus.table import read_rows
from cfnsr.features.faces.store import read_faces
from cfnsr.features.mfcc import mfcc_of_file, read_mfcc
from components import download, evaluate, faces, manifest, mfcc, register, train
from components.run import Run

PITCHES = {"low": 200, "middle": 900, "shrill": 3000}  # Hz
DATASET = {"source": "table", "path": "corpus/table.csv", "name": "Pitches", "licence": "none needed"}


def write_table(root: Path, rows: list[str], header: str) -> None:
    (root / "corpus").mkdir(exist_ok=True)
    (root / "corpus/table.csv").write_text("\n".join([header, *rows]) + "\n")


@pytest.mark.slow
def test_a_table_becomes_a_registered_network_of_its_labels(tmp_path, monkeypatch):
    rows = []
    for speaker in ("anna", "ben", "cleo", "dan", "eve"):
        for take in range(2):
            for label, pitch in PITCHES.items():
                name = f"{speaker}-{label}-{take}.wav"
                write_media(tmp_path / "corpus" / name, tone(1.2, pitch * (1 + 0.02 * len(rows))), rate=16000)
                rows.append(f"{name},{label},{speaker}")
    write_table(tmp_path, rows, "path,label,speaker")
    phase = {"epochs": 6, "batch_size": 8, "optimizer": "adamw", "lr": 0.01}
    split = {"folds": [["anna", "ben"], ["cleo"]], "validation_speakers": 1, "select_by": "uar", "balance": "sampling"}
    settings = write_params(
        tmp_path,
        dataset=DATASET,
        model={"modality": "audio"},
        train={"pretrain": {"audio": phase}, "fusion": phase, **split},
    )
    for step in (download.download, manifest.manifest, faces.faces, mfcc.mfcc):
        step(settings)
    run = Run.open(settings)
    assert [fold.test for fold in run.folds] == [("anna", "ben"), ("cleo",)]
    train.train(run)
    content = evaluate.evaluate(run)
    assert (content["corpus"], content["clips"], list(content["recall"])) == ("Pitches", 18, list(PITCHES))
    assert content["pooled"]["accuracy"] > 0.6  # pitches are easy
    version = register.register(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("CFNSR_PATHS_BELOW", str(tmp_path))
    model = mlflow.pyfunc.load_model(f"models:/cfn-sr/{version}")
    assert [column.name for column in model.metadata.signature.outputs.inputs][2:-1] == list(PITCHES)
    answers = model.predict(pd.DataFrame({"path": [str(tmp_path / "corpus/eve-low-0.wav"), "missing.wav"]}))
    assert answers["emotion"][0] in PITCHES
    assert answers[list(PITCHES)].iloc[0].sum() == pytest.approx(1, abs=1e-5)
    assert answers["error"][1] != ""


def test_a_part_of_a_file_has_the_features_of_the_part_alone(tmp_path):
    whole = write_talk(tmp_path / "corpus/whole.mkv", 4.0, audio="pcm_s16le")
    write_table(tmp_path, ["whole.mkv,calm,a,2,4", "whole.mkv,sad,b,0,2"], "path,label,speaker,start,end")
    settings = write_params(tmp_path, dataset=DATASET, faces={**PROFILE["faces"], "max_bad_share": 1.0})
    for step in (download.download, manifest.manifest, faces.faces, mfcc.mfcc):
        step(settings)
    clips = read_manifest(settings.layout.manifest).set_index("clip_id")
    assert clips["duration"].tolist() == [2.0, 2.0]
    features = read_mfcc(settings.layout.mfcc)
    first, second = features["whole.mkv@0-2"], features["whole.mkv@2-4"]
    np.testing.assert_array_equal(first, mfcc_of_file(whole, settings.params.mfcc))
    assert np.abs(first - second).max() > 1
    times = [read_faces(settings.layout.faces, *key).times for key in (("b", "whole.mkv@0-2"), ("a", "whole.mkv@2-4"))]
    assert times[0].max() < 2 <= times[1].min() < times[1].max() < 4
    assert len(read_rows(settings.layout.raw / "table.csv")) == 2
