"""`cfnsr evaluate`: a network with random weights on a table of sounds."""

import json

import pandas as pd
import pytest
from helpers.media_files import tone, write_media
from helpers.small_models import write_model
from typer.testing import CliRunner

from cfnsr.cli import app
from cfnsr.config.corpus import SAMPLE_CORPUS
from cfnsr.errors import InputError

HEADER = "path,label,speaker,sex"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A network of the labels low, high and other, and twelve clips of six speakers."""
    root = tmp_path_factory.mktemp("corpus")
    write_model(root / "model.safetensors", modality="audio", labels=("low", "high", "other"))
    rows = []
    for number in range(12):
        name = f"{number:02d}.wav"
        write_media(root / name, tone(1.2, 200 + 300 * number), rate=16000)
        rows.append(f"{name},{('deep', 'high')[number % 2]},s{number // 2},{('female', 'male')[number // 6]}")
    (root / "text.wav").write_text("not a sound")
    rows += ["text.wav,deep,s6,male", "00.wav,bored,s0,female", "01.wav,high,01,male"]
    (root / "other.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (root / "map.yaml").write_text("low: deep\n")
    return root


def run(home, *options):
    command = ["evaluate", str(home / "model.safetensors"), "--table", str(home / "other.csv"), *map(str, options)]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_corpus_with_other_labels_gets_a_report(home, tmp_path):
    done = run(home, "--map", home / "map.yaml", "--out", tmp_path, "--corpus", SAMPLE_CORPUS)
    assert done.exit_code == 0
    content = json.loads((tmp_path / "figures.json").read_text())
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert content["labels"] == ["low", "high"]
    assert (content["clips"], content["rows"], len(content["speakers"])) == (12, 15, 6)
    assert content["pooled"]["accuracy"] == (predictions["label"] == predictions["predicted"]).mean()
    assert predictions[["low", "high"]].sum(axis=1).tolist() == pytest.approx([1] * 12)
    assert set(content["groups"]["sex"]) == {"female", "male"}
    assert set(content["interval"]) == {"accuracy", "uar", "f1"}
    excluded = dict(content["excluded"])
    assert len(excluded) == 3
    assert "not a media file" in excluded["text.wav"]
    assert excluded["00.wav"] == "the network has no label 'bored'"
    assert excluded["01.wav"] == "the speaker had a part in training"
    assert {path.name for path in tmp_path.glob("*.png")} == {"confusion.png", "reliability.png", "speakers.png"}
    assert "12 of 15 clips, 6 speakers" in " ".join(done.output.split())


def test_labels_without_anything_in_common_are_refused(home):
    with pytest.raises(InputError, match=r"bored, deep, high, .*low, high, other, knows 1 .*--map"):
        run(home)
    (home / "wrong.yaml").write_text("deep: low\n")
    with pytest.raises(InputError, match="the network has no label 'deep'; it has low, high, other"):
        run(home, "--map", home / "wrong.yaml")
