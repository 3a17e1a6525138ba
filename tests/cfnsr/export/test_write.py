"""Exported files answer as PyTorch does: every kind of network, both runtimes, any batch, both inputs or one."""

import io
import sys
from itertools import product

import numpy as np
import onnx
import pytest
import torch
from helpers.feature_files import write_features, write_params
from helpers.small_models import write_model
from torch import nn

from cfnsr import CFNSR
from cfnsr.config.sections import FacesSettings, MfccSettings
from cfnsr.errors import InputError
from cfnsr.export.check import Clips
from cfnsr.export.graph import WindowedMax
from cfnsr.export.write import METADATA_FILE, TOLERANCE, export_model
from cfnsr.model.checkpoint import load_model
from cfnsr.model.metadata import KEY, ModelMetadata, Provenance
from cfnsr.predict.backend import TorchBackend
from cfnsr.predict.onnx_backend import GraphInputs, OnnxBackend

NETWORKS = {
    "cfn_sr": {},
    "concat": {"model": {"fusion": "concat", "audio_pooling": "attention"}, "mfcc": {"kind": "rich"}},
    "audio": {"modality": "audio"},
    "video": {"modality": "video", "faces": {"size": 40, "frames": 17}},
}
RUNTIMES = ["openvino", "onnxruntime"]


@pytest.fixture(scope="module", params=NETWORKS)
def network(request, tmp_path_factory):
    """A network, its metadata and its ONNX file."""
    home = tmp_path_factory.mktemp(request.param)
    network, metadata = load_model(write_model(home / "model.safetensors", **NETWORKS[request.param]))
    export_model(network, metadata, home / "model.onnx")
    return network, metadata, home / "model.onnx"


def batch(metadata, clips):
    random = np.random.default_rng(clips)
    faces, config = metadata.faces, metadata.network
    frames = random.integers(0, 256, (clips, faces.frames, faces.size, faces.size, 3), dtype=np.uint8)
    return frames, random.normal(0, 50, (clips, config.coefficients, config.mfcc_frames)).astype(np.float32)


def close(actual, expected):
    return actual.shape == expected.shape and np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_onnx_answers_as_pytorch_from_all_that_the_network_takes(network, runtime):
    model, metadata, path = network
    exported, reference = OnnxBackend(path, runtime), TorchBackend(model, metadata, "cpu")
    assert exported.metadata == metadata
    for clips, inputs in product((1, 3), metadata.inputs):
        frames, mfcc = batch(metadata, clips)
        given = frames if inputs != "audio" else None, mfcc if inputs != "video" else None
        assert close(exported.logits(*given), reference.logits(*given)), inputs
        if inputs != "audio":
            attention = reference.attention(*given)
            assert (exported.attention(*given) is None) == (attention is None)
            assert attention is None or close(exported.attention(*given), attention)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name not in ("audio", "video")], indirect=True)
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_clips_with_and_without_a_voice_share_a_batch(network, runtime):
    model, metadata, path = network
    frames, mfcc = batch(metadata, 3)
    inputs = GraphInputs(metadata)(frames, mfcc)
    inputs["present"] = np.array([[True, False], [False, True], [True, True]])
    mixed = OnnxBackend(path, runtime)._session.run(inputs)["logits"]
    reference = TorchBackend(model, metadata, "cpu").logits
    alone = [reference(frames[:1], None), reference(None, mfcc[1:2]), reference(frames[2:], mfcc[2:])]
    assert close(mixed, np.concatenate(alone))


def test_nothing_of_this_machine_is_in_it(network):
    graph = onnx.load(network[2])
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)
    assert str(__file__).rsplit("/tests/")[0].encode() not in network[2].read_bytes()


@pytest.mark.proof
def test_the_papers_network(tmp_path):
    torch.manual_seed(0)
    network = CFNSR().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    _, small = load_model(write_model(tmp_path / "small.safetensors"))
    metadata = small.model_copy(update={"network": network.config, "faces": FacesSettings(), "mfcc": MfccSettings()})
    assert export_model(network, metadata, tmp_path / "model.onnx").difference <= TOLERANCE


@pytest.mark.slow
def test_a_torch_export_file_needs_no_code_of_this_package(tmp_path):
    model, metadata = load_model(write_model(tmp_path / "model.safetensors"))
    done = export_model(model, metadata, tmp_path / "model.pt2", "torch-export")
    assert done.difference <= TOLERANCE
    files = {METADATA_FILE: ""}
    program = torch.export.load(io.BytesIO(done.path.read_bytes()), extra_files=files).module()
    assert ModelMetadata.from_file_metadata({KEY: files[METADATA_FILE]}, done.path) == metadata
    reference = TorchBackend(model, metadata, "cpu").logits
    for clips in (1, 3):
        frames, mfcc = batch(metadata, clips)
        inputs = {name: torch.from_numpy(value) for name, value in GraphInputs(metadata)(frames, mfcc).items()}
        assert close(program(**inputs)[0].numpy(), reference(frames, mfcc))


def test_safetensors(tmp_path):
    model, metadata = load_model(write_model(tmp_path / "model.safetensors"))
    export_model(model, metadata, tmp_path / "copy.safetensors", "safetensors")
    again, same = load_model(tmp_path / "copy.safetensors")
    assert same == metadata
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("length", "tokens"), [(208, 26), (65, 8)])
def test_adaptive_pooling_in_operations_that_onnx_has(length, tokens):
    x = torch.randn(2, 3, length)
    assert torch.equal(WindowedMax(length, tokens)(x), nn.AdaptiveMaxPool1d(tokens)(x))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Features of six speakers and a network that knows two of them."""
    home = tmp_path_factory.mktemp("home")
    settings = write_params(home)
    write_features(settings)
    return home, settings, *load_model(write_model(home / "model.safetensors"))


class TestSmaller:
    @pytest.mark.slow
    @pytest.mark.parametrize(("precision", "smaller"), [("fp16", 0.65), ("int8", 0.7)])
    def test_what_it_costs_is_measured_on_speakers_unknown_to_the_network(self, home, precision, smaller):
        folder, settings, network, metadata = home
        done = export_model(network, metadata, folder / f"{precision}.onnx", precision=precision, settings=settings)
        assert (done.agreement.speakers, done.agreement.clips) == (4, 64)  # all but those of training and selection
        assert done.size < smaller * (folder / "model.safetensors").stat().st_size
        assert done.agreement.same >= 61
        assert abs(done.agreement.accuracy - done.agreement.reference) <= 3 / 64
        assert done.difference <= {"fp32": TOLERANCE, "fp16": 0.05, "int8": 0.2}[precision]
        assert (done.difference > TOLERANCE) == (precision != "fp32")

    def test_agreement_is_doubtful_if_the_provenance_is_unknown(self, home):
        _, settings, network, metadata = home
        unknown = metadata.model_copy(update={"provenance": Provenance(unknown=True)})
        logits = TorchBackend(network, metadata, "cpu").logits
        assert not Clips(settings, metadata).compare(logits, logits).doubtful
        assert Clips(settings, unknown).compare(logits, logits).doubtful

    def test_scales_of_int8_come_from_training_speakers(self, home):
        _, settings, _, metadata = home
        clips = Clips(settings, metadata)
        assert set(clips.training["speaker"]) == {"01"}
        assert len(list(clips.calibration())) == 16

    def test_other_features_than_in_training_are_refused(self, home, tmp_path):
        _, settings, *_ = home
        _, metadata = load_model(write_model(tmp_path / "rich.safetensors", mfcc={"kind": "rich"}))
        with pytest.raises(InputError, match="section mfcc of profile small"):
            Clips(settings, metadata)

    def test_int8_needs_clips_and_a_video_encoder(self, home, tmp_path):
        _, settings, network, metadata = home
        with pytest.raises(InputError, match="run the data stages"):
            export_model(network, metadata, tmp_path / "model.onnx", precision="int8")
        audio = load_model(write_model(tmp_path / "audio.safetensors", modality="audio"))
        with pytest.raises(InputError, match="this network has none"):
            export_model(*audio, tmp_path / "model.onnx", precision="int8", settings=settings)
        assert not list(tmp_path.glob("model.onnx*"))


def test_without_the_extra(tmp_path, monkeypatch):
    model, metadata = load_model(write_model(tmp_path / "model.safetensors"))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"pip install 'cfnsr\[onnx\]'"):
        export_model(model, metadata, tmp_path / "model.onnx")
