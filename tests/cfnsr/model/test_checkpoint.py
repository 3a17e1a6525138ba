"""Weights survive the disk unchanged, and what is not ours is refused with a sentence."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from helpers.permissions import permissions_count
from helpers.small_models import write_model
from safetensors import safe_open
from safetensors.torch import save_file

from cfnsr import CFNSR
from cfnsr.errors import InputError
from cfnsr.model.checkpoint import from_published, load_model, save_model
from cfnsr.model.metadata import KEY

SMALL = {"layers": (1, 1, 1, 1), "width": 16, "cardinality": 8, "audio_width": 16, "transformer_layers": 1}


def test_round_trip_gives_the_same_logits(tmp_path):
    torch.manual_seed(0)
    model = CFNSR(**SMALL, fusion="no_residual", mfcc_frames=126).eval()
    save_model(tmp_path / "model.safetensors", model, {"labels": ["a", "b"]})
    loaded, config = load_model(tmp_path / "model.safetensors")
    frames, mfcc = torch.randn(2, 3, 8, 32, 32), torch.randn(2, 13, 126)
    with torch.no_grad():
        assert torch.equal(model(frames, mfcc), loaded(frames, mfcc))
    assert loaded.arguments == model.arguments
    assert config["labels"] == ["a", "b"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_the_umask_says_who_may_read_weights(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = write_model(tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("closed", ["model.safetensors", "."])
def test_weights_that_may_not_be_read_are_not_called_missing(tmp_path, closed):
    path = write_model(tmp_path / "run" / "model.safetensors")
    Path(path.parent, closed).chmod(0)
    try:
        with permissions_count(), pytest.raises(InputError, match=rf"^{path} can't be read \(Permission denied\)"):
            load_model(path)
    finally:
        Path(path.parent, closed).chmod(0o700)


def test_published_names_may_carry_the_data_parallel_prefix():
    state = {"module.fc.bias": torch.zeros(8), "module.layer1.0.bn1.running_var": torch.ones(3)}
    assert set(from_published(state)) == {
        "classifier.bias",
        "video.layer1.0.bn1.running_var",
        "video.layer1.0.bn1.num_batches_tracked",
    }


def test_names_of_another_network_are_refused():
    with pytest.raises(InputError, match=r"'blocks\.0\.weight' is not a parameter of the published"):
        from_published({"blocks.0.weight": torch.zeros(1)})


def write_pickle(path):
    path.write_bytes(pickle.dumps({"weight": [1, 2, 3]}))


def write_foreign(path):
    save_file({"weight": torch.zeros(3)}, path)


def write_damaged(path, said):
    write_model(path)
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        config = json.loads(file.metadata()[KEY])
    save_file(state, path, metadata={KEY: said if isinstance(said, str) else json.dumps(config | said)})


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: write_damaged(path, "{"), "is damaged: what it says of its network is no JSON"),
        (lambda path: write_damaged(path, "[]"), "is damaged: it does not say what network"),
        (lambda path: write_damaged(path, {"network": None}), "is damaged: it does not say what network"),
        (lambda path: write_damaged(path, {"network": {"size": 1}}), "its weights are not of the network"),
        (lambda path: write_damaged(path, {"network": {"modality": "audio"}}), "its weights are not of the network"),
        (lambda path: None, "does not exist"),
        (write_pickle, "is not a safetensors file"),
        (write_foreign, "was not written by cfnsr"),
    ],
)
def test_unusable_files_get_a_sentence(tmp_path, write, sentence):
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(InputError, match=sentence):
        load_model(path)
