"""Weights and metadata survive a round trip, and other files are refused with a clear message."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.paths import PROJECT
from helpers.permissions import permissions_count
from helpers.small_models import write_model
from safetensors import safe_open
from safetensors.torch import save_file

from cfnsr.errors import InputError
from cfnsr.model.checkpoint import from_published, load_model, save_model
from cfnsr.model.metadata import KEY


def test_round_trip_gives_the_same_logits(tmp_path):
    path = write_model(tmp_path / "model.safetensors", model={"fusion": "no_residual"}, temperature={"audio": 1 / 3})
    model, metadata = load_model(path)
    save_model(tmp_path / "again.safetensors", model, metadata)
    loaded, again = load_model(tmp_path / "again.safetensors")
    assert again == metadata
    assert loaded.config == model.config
    frames, mfcc = torch.randn(2, 3, 8, 32, 32), torch.randn(2, 13, 126)
    with torch.no_grad():
        assert torch.equal(model(frames, mfcc), loaded(frames, mfcc))


def test_metadata_holds_no_paths_and_is_read_without_torch(tmp_path):
    path = write_model(tmp_path / "model.safetensors", faces={"yunet": "/models/yunet.onnx", "max_bad_share": 0.5})
    with safe_open(path, framework="np") as file:
        entries = file.metadata()
    assert "/models" not in entries[KEY]
    code = (
        "import json, sys; from pathlib import Path; from cfnsr.model.metadata import ModelMetadata\n"
        "metadata = ModelMetadata.from_file_metadata(json.load(sys.stdin), Path('model'))\n"
        "assert metadata.detector == 'yunet' and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], input=json.dumps(entries), text=True, cwd=PROJECT, check=True)


def test_the_umask_decides_who_may_read_weights(tmp_path):
    before = os.umask(0o027)
    try:
        path = write_model(tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


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


def write_damaged(path, content):
    write_model(path)
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        metadata = json.loads(file.metadata()[KEY])
    if isinstance(content, dict):
        for name, value in content.items():
            metadata[name] = metadata[name] | value if isinstance(value, dict) else value
        content = json.dumps(metadata)
    save_file(state, path, metadata={KEY: content})


SPARSE = b'{"a": {"dtype": "F32", "shape": [2500000000000], "data_offsets": [0, 10000000000000]}}'


def write_header(path, header, size=None):
    """A file with any header, and with space for tensors of the given size behind it."""
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, path.stat().st_size + (size or 0))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: write_damaged(path, "{"), "is not JSON"),
        (lambda path: write_damaged(path, {"format": 1}), "has format 1, and this version of cfnsr reads format 3"),
        (lambda path: write_damaged(path, {"network": None}), r"damaged: metadata\.network"),
        (lambda path: write_damaged(path, {"faces": {"frames": -1}}), r"damaged: metadata\.faces\.frames is -1"),
        (lambda path: write_damaged(path, "[" * 100_000), "is not JSON"),
        (lambda path: write_damaged(path, '{"format": %s}' % ("9" * 10_000)), "has format 9{10}|is not JSON"),
        (lambda path: write_damaged(path, " " * 1_500_000), "metadata has 1500000 characters"),
        (lambda path: write_damaged(path, {"temperatures": {"both": float("nan")}}), "is not JSON"),
        (lambda path: write_damaged(path, {"temperatures": None}), r"damaged: metadata\.temperatures is None"),
        (lambda path: write_damaged(path, {"labels": ["\x1b[2J"] * 8}), r"damaged: metadata\.labels\.0 is '\\x1b\[2J'"),
        (
            lambda path: write_damaged(path, {"labels": ["a"] * 8}),
            "there are 1 different labels, and the network needs 8",
        ),
        (lambda path: write_damaged(path, {"network": {"layers": [10**9] * 4}}), r"layers\.0 is 1000000000"),
        (lambda path: write_damaged(path, {"network": {"layers": [100] * 4}}), "weights do not fit"),
        (lambda path: write_damaged(path, {"network": {"width": 1024}}), "weights do not fit"),
        (lambda path: write_damaged(path, {"network": {"classes": "x" * 900_000}}), r"classes is 'x{199}…: "),
        (lambda path: write_damaged(path, {"faces": {"size": 10**6}}), r"damaged: metadata\.faces\.size is 1000000"),
        (lambda path: write_damaged(path, {"mfcc": {"hop": 1}}), "MFCC frames, and the network needs 69"),
        (lambda path: write_header(path, b" " * 3_000_000), "header has 3000000 bytes"),
        (lambda path: write_header(path, b'{"a":' * 100_000), "is not a safetensors file"),
        (lambda path: write_header(path, SPARSE, 10**13), "is not a safetensors file|was not written by cfnsr"),
        (lambda path: None, "does not exist"),
        (write_pickle, "is not a safetensors file"),
        (write_foreign, "was not written by cfnsr"),
    ],
)
def test_unusable_files_are_refused(tmp_path, write, message):
    path = tmp_path / "model.safetensors"
    write(path)
    with pytest.raises(InputError, match=message) as refused:
        load_model(path)
    assert len(str(refused.value)) < 1000
