"""Real RAVDESS clips, end to end, with a network whose weights are random but whose inputs are the paper's."""

import json
import sys

import numpy as np
import pytest
import torch
from helpers.real_ravdess import RAVDESS, needs_ravdess
from helpers.small_models import write_model

from cfnsr.cli import main
from cfnsr.config.sections import FacesSettings, MfccSettings
from cfnsr.features.faces.crop import decode_jpeg
from cfnsr.features.faces.extract import FaceTask, extract_faces
from cfnsr.features.mfcc import mfcc_of_file
from cfnsr.model.checkpoint import load_model
from cfnsr.predict import Flag, Options, Predictor

CLIPS = sorted(RAVDESS.glob("Actor_01/*.mp4"))
VOICES = sorted(RAVDESS.glob("Actor_0[12]/*.flac"))[:6]
FACES, MFCC = FacesSettings(), MfccSettings()  # 30 crops of 224 x 224, MFCC 13 x 212

pytestmark = needs_ravdess


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    sections = {"faces": FACES.model_dump(mode="json"), "mfcc": MFCC.model_dump(mode="json")}
    return write_model(tmp_path_factory.mktemp("model") / "model.safetensors", **sections)


@pytest.fixture(scope="module")
def predictor(model):
    with Predictor.from_pretrained(model) as predictor:
        yield predictor


def as_in_training(model, clip):
    """Probabilities from what the data stages would have cached of the clip."""
    network, metadata = load_model(model)
    scale = metadata.normalization
    row = extract_faces(FaceTask(clip.name, 1, "", clip, None, FACES))
    frames = torch.stack([torch.from_numpy(decode_jpeg(content)).permute(2, 0, 1) for content in row["frames"]])
    silent = clip.name.startswith("02")
    mfcc = None if silent else scale.mfcc(torch.from_numpy(mfcc_of_file(clip, MFCC)))[None]
    with torch.no_grad():
        return network(scale.frames(frames)[None], mfcc)[0].softmax(dim=0).tolist()


@pytest.mark.parametrize("clip", CLIPS, ids=[clip.stem for clip in CLIPS])
def test_a_take_has_one_answer_as_in_training(predictor, model, clip):
    prediction = predictor(clip)
    silent = clip.name.startswith("02")  # of those without sound the file has an empty track or none
    assert list(prediction.probabilities.values()) == pytest.approx(as_in_training(model, clip), abs=1e-5)
    assert len(prediction.moments) == 1
    assert prediction.answer.inputs == ("video" if silent else "both")
    assert bool(prediction.flags) == silent
    assert 3 < prediction.duration < 6


def test_takes_of_the_voice_alone(predictor):
    for prediction in predictor.predict_many(VOICES):
        assert prediction.answer.inputs == "audio"
        assert prediction.flags == (Flag.NO_VIDEO,)
        assert len(prediction.moments) == 1


@pytest.mark.proof
def test_a_window_slides_over_a_take_like_the_whole(predictor):
    """The same face, cut out of the stream and not of the sampled pictures, is nearly where it was."""
    for clip in CLIPS:
        whole = predictor(clip).moments[0]
        moments = predictor(clip, Options(window=1.5, hop=0.5)).moments
        assert len(moments) >= 4
        assert {moment.track for moment in moments} == {1}
        boxes = np.array([moment.box for moment in moments])
        assert np.abs(boxes - whole.box).max() < 60  # of 400 pixels


@pytest.mark.slow
def test_the_command(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = ["--json", "--picture", "--timeline", "t.csv", "--out", "r.csv"]
    monkeypatch.setattr(sys, "argv", ["cfnsr", "predict", str(CLIPS[0].parent), "--model", str(model), *out])
    with pytest.raises(SystemExit) as ended:
        main()
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not ended.value.code
    assert {len(answer["timeline"]) for answer in answers} == {1}
    assert len(list(tmp_path.glob("*.emotions.png"))) == len({answer["clip"] for answer in answers})
