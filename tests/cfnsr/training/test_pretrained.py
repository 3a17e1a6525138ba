"""Phases that start from weights of another run or of the published code."""

import pandas as pd
import pytest
import torch
from helpers.feature_files import PROFILE, write_features, write_params
from helpers.published_weights import parity_case, weights
from helpers.small_models import write_model
from helpers.trained_folds import PHASE, predictions, train_first_fold
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file

from cfnsr.config.corpus import SAMPLE_CORPUS
from cfnsr.config.sections import MfccSettings
from cfnsr.corpus.folds import Fold, make_folds
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.model.checkpoint import load_model, save_model
from cfnsr.model.metadata import Provenance
from cfnsr.model.network import CFNSR
from cfnsr.training.fold import train_fold
from cfnsr.training.pretrained import load_pretrained
from cfnsr.training.result import FoldResult


def test_a_phase_starts_from_the_encoders_of_another_run(plain, tmp_path):
    """Skipped encoders, taken from the other run, lead to the very same network."""
    kept = {
        name: {**PHASE, "epochs": 0, "checkpoint": str(plain / "fold" / f"{name}.safetensors")}
        for name in ("audio", "video")
    }
    _, result = train_first_fold(tmp_path, pretrain=kept)
    pd.testing.assert_frame_equal(predictions(tmp_path), predictions(plain))
    assert set(pd.read_csv(tmp_path / "fold" / "history.csv")["phase"]) == {"fusion"}
    assert result.seconds > 0
    assert not result.unknown_provenance


def test_as_published_a_phase_may_start_from_encoders_selected_on_test_speakers(tmp_path):
    train_first_fold(tmp_path / "a", protocol="published")
    kept = {"epochs": 0, "checkpoint": str(tmp_path / "a" / "fold" / "audio.safetensors")}
    train_first_fold(tmp_path / "b", protocol="published", pretrain={"audio": kept, "video": PHASE})
    pd.testing.assert_frame_equal(predictions(tmp_path / "b"), predictions(tmp_path / "a"))
    with pytest.raises(InputError, match="has seen the speakers 01, 02, 03, 04, who validate or test fold 0"):
        train_first_fold(tmp_path / "c", pretrain={"audio": kept, "video": PHASE})


def test_a_checkpoint_of_one_encoder_leaves_the_other_as_it_was_trained(plain, tmp_path):
    # At a rate that changes no weight.
    voice = {"epochs": 1, "batch_size": 8, "lr": 1e-30, "checkpoint": str(plain / "fold" / "audio.safetensors")}
    train_first_fold(tmp_path, pretrain={"audio": {"epochs": 0}, "video": PHASE}, fusion=voice)
    ours, theirs = (
        load_file(root / "fold" / f"{name}.safetensors") for root, name in ((tmp_path, "model"), (plain, "video"))
    )
    video = [name for name in theirs if name.startswith("video.") and name.endswith(("weight", "bias"))]
    assert video
    assert [name for name in video if not torch.equal(ours[name], theirs[name])] == []


def test_a_whole_network_is_tested_without_training(plain, tmp_path):
    skipped = {"epochs": 0}
    whole = {"epochs": 0, "checkpoint": str(plain / "fold" / "model.safetensors")}
    _, result = train_first_fold(tmp_path, pretrain={"audio": skipped, "video": skipped}, fusion=whole)
    ours, theirs = predictions(tmp_path), predictions(plain)
    theirs = theirs[theirs["network"] == "fusion"].reset_index(drop=True)
    pd.testing.assert_frame_equal(ours, theirs)
    assert result.selection_score == pytest.approx(FoldResult.load(plain / "fold").selection_score)


def test_published_weights(tmp_path):
    case = parity_case("small")
    published = weights(case["salt"], case["audio_shapes"])
    torch.save({"state_dict": published}, tmp_path / "published.pth")
    phase = {"epochs": 0, "checkpoint": str(tmp_path / "published.pth")}
    as_published = MfccSettings().model_dump(mode="json", exclude={"speeds", "shift"})
    settings = write_params(
        tmp_path,
        model={"modality": "audio", "audio_width": 32},
        train={"pretrain": {"audio": phase}, "fusion": {}, "standardize_mfcc": False},
        mfcc={**PROFILE["mfcc"], **as_published},
    )
    write_features(settings)
    fold = make_folds(Features.load(settings).clips, settings.params.train)[0]
    features = Features.load(settings)
    result = train_fold(features, fold, settings, tmp_path / "fold", lambda name: CSVLogger(tmp_path, name))
    network, metadata = load_model(tmp_path / "fold" / "model.safetensors")
    torch.testing.assert_close(network.audio.conv1.weight, published["conv1.weight"])
    assert result.unknown_provenance
    assert metadata.provenance.unknown
    # Networks that start from these weights inherit their provenance.
    inherited, _ = load_pretrained(network, tmp_path / "fold" / "model.safetensors", fold, settings)
    assert (inherited.unknown, inherited.trained_on) == (
        True,
        tuple(f"{SAMPLE_CORPUS}/{speaker}" for speaker in fold.train),
    )


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"mfcc": {**PROFILE["mfcc"], "n_mels": 30}}, "mfcc.n_mels 40, but params.yaml has 30"),
        ({"train": {"standardize_mfcc": False}}, "train.standardize_mfcc True, but params.yaml has False"),
        ({"model": {"stem_relu": False}}, "model.stem_relu True, but params.yaml has False"),
    ],
)
def test_other_inputs_than_theirs_need_training(plain, tmp_path, sections, key, caplog):
    plain_phases = {"pretrain": {"audio": PHASE, "video": PHASE}, "fusion": PHASE}
    settings = write_params(tmp_path, **sections | {"train": plain_phases | sections.get("train", {})})
    fold = Fold(0, train=("05", "06"), validation=("03", "04"), test=("01", "02"))
    network = CFNSR.from_settings(settings.params.model, settings.params.mfcc, 8, "both")
    path = plain / "fold" / "model.safetensors"
    with pytest.raises(InputError, match=f"was trained with {key}"):
        load_pretrained(network, path, fold, settings, trained_further=False)
    _, whole = load_pretrained(network, path, fold, settings)
    assert whole
    assert f"was trained with {key}; training starts from weights that expect other inputs" in caplog.text


def test_an_encoder_of_a_fused_network_has_nothing_to_say_alone(plain, tmp_path):
    begun = {"epochs": 0, "checkpoint": str(plain / "fold" / "model.safetensors")}
    settings, _ = train_first_fold(tmp_path, pretrain={"audio": begun, "video": PHASE})
    assert set(predictions(tmp_path)["network"]) == {"video", "fusion"}
    alone = {"modality": "audio"}
    settings = write_params(tmp_path, model=alone, train={"pretrain": {"audio": begun}, "fusion": PHASE})
    fold = make_folds(Features.load(settings).clips, settings.params.train)[0]
    with pytest.raises(InputError, match="has no classifier for this network; train one"):
        train_fold(Features.load(settings), fold, settings, tmp_path / "b", lambda name: CSVLogger(tmp_path, name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing; set the phase's checkpoint"),
        (b"not a file of weights", "is not a file of weights alone"),
        ({"modality": "audio", "audio_width": 16}, r"does not fit the network: audio\.\w+\.\w+ is \("),
        (
            {"modality": "video", "layers": (1, 1, 1, 1), "width": 8, "cardinality": 4},
            "has no encoder for a network of",
        ),
    ],
)
def test_unusable_weights_are_refused(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path = write_model(tmp_path / "weights.safetensors")
        fused, metadata = load_model(path)
        other = CFNSR(fused.config, **content)
        changes = {"network": other.config, "temperatures": {other.modality: 1.0}, "provenance": Provenance()}
        save_model(path, other, metadata.model_copy(update=changes))
    with pytest.raises(InputError, match=message):
        train_first_fold(
            tmp_path / "run", pretrain={"audio": {**PHASE, "checkpoint": str(path)}, "video": PHASE}, fusion=PHASE
        )
