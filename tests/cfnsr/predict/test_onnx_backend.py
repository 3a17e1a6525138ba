"""Clips predicted through ONNX files: the answers of PyTorch, without it."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from helpers.paths import PROJECT
from helpers.small_models import write_model
from helpers.talking_files import write_talk

from cfnsr.errors import InputError
from cfnsr.export.write import export_model
from cfnsr.model.checkpoint import load_model
from cfnsr.predict import Predictor
from cfnsr.predict.onnx_backend import OnnxBackend

RUNTIMES = ["openvino", "onnxruntime"]
NAMES = ("model.safetensors", "model.onnx")

WITHOUT_TORCH = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchaudio", "torchvision", "lightning"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
from cfnsr import Predictor

model, runtime, *clips = sys.argv[1:]
with Predictor.from_pretrained(model, runtime=runtime) as predictor:
    print(json.dumps([predictor(clip).probabilities for clip in clips]))
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module", params=["published", "rich"])
def home(request, tmp_path_factory):
    """A model as safetensors and as ONNX, for a kind of audio feature, and clips."""
    home = tmp_path_factory.mktemp(request.param)
    model = write_model(home / "model.safetensors", mfcc={"kind": request.param}, temperature={"both": 2, "audio": 3})
    export_model(*load_model(model), home / "model.onnx")
    write_talk(home / "talk.mp4", 1.6)
    write_talk(home / "long.mp4", 4.0)
    write_talk(home / "voice.wav", 1.6, video=None, audio="pcm_s16le")
    write_talk(home / "face.mp4", 1.6, audio=None)
    return home


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_same_answers_without_pytorch(home, runtime):
    clips = [str(home / name) for name in ("talk.mp4", "long.mp4", "voice.wav", "face.mp4")]
    command = [sys.executable, "-c", WITHOUT_TORCH, str(home / "model.onnx"), runtime, *clips]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = Predictor.from_pretrained(home / "model.safetensors", device="cpu")
    for clip, answer in zip(clips, json.loads(done.stdout), strict=True):
        assert answer == pytest.approx(reference(clip).probabilities, abs=1e-4)


def test_it_explains_itself_as_pytorch_does(home):
    ours, theirs = (Predictor.from_pretrained(home / name).explain(home / "talk.mp4") for name in NAMES)
    np.testing.assert_allclose(theirs.attention, ours.attention, atol=1e-4)
    assert theirs.contributions.keys() == ours.contributions.keys() == {"both", "audio", "video"}
    for inputs, shares in theirs.contributions.items():
        assert shares == pytest.approx(ours.contributions[inputs], abs=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_network_serves_many_threads(home, runtime):
    backend = OnnxBackend(home / "model.onnx", runtime)
    faces = backend.metadata.faces
    shape = (1, faces.frames, faces.size, faces.size, 3)
    clips = [np.random.default_rng(seed).integers(0, 256, shape, np.uint8) for seed in range(40)]
    alone = [backend.logits(clip, None) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda clip: backend.logits(clip, None), clips))
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


class TestErrors:
    @pytest.mark.parametrize("runtime", RUNTIMES)
    @pytest.mark.parametrize("kind", ["text", "cut off"])
    def test_not_onnx(self, home, tmp_path, runtime, kind):
        content = (home / "model.onnx").read_bytes()
        path = tmp_path / "model.onnx"
        path.write_bytes(b"no graph" * 50 if kind == "text" else content[: len(content) // 2])
        with pytest.raises(InputError, match=r"model\.onnx (is damaged or not an ONNX file|was not written by cfnsr)"):
            OnnxBackend(path, runtime)

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_of_another_project(self, tmp_path, runtime):
        value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
        result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
        graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [result])
        opset = [onnx.helper.make_opsetid("", 18)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model.onnx")
        with pytest.raises(InputError, match=r"model\.onnx was not written by cfnsr"):
            OnnxBackend(tmp_path / "model.onnx", runtime)

    @pytest.mark.parametrize("runtime", RUNTIMES)
    def test_absurd(self, home, tmp_path, runtime):
        def refuse(reason="is damaged or not an ONNX file"):
            onnx.save(model, path)
            with pytest.raises(InputError, match=f"model.onnx {reason}"):
                OnnxBackend(path, runtime)

        path = tmp_path / "model.onnx"
        model = onnx.load(home / "model.onnx")
        (description,) = (entry for entry in model.metadata_props if entry.key == "cfnsr")
        description.value = "[" * 500_000
        refuse("is damaged: its metadata is not JSON")
        description.value = "[" * 5_000_000
        refuse("is damaged: its metadata has 5000000 characters")

        model = onnx.load(home / "model.onnx")
        weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
        shape = list(weights.dims)
        weights.dims[:] = [10**12]
        refuse()
        weights.dims[:] = shape
        for size in model.graph.input[0].type.tensor_type.shape.dim[1:]:
            size.dim_value = 10**6
        refuse()

        model = onnx.load(home / "model.onnx")
        (last,) = (node for node in model.graph.node if "logits" in node.output)
        last.output[0] = model.graph.output[0].name = "other"
        refuse()

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match="does not exist; name an ONNX file"):
            Predictor.from_pretrained(tmp_path / "model.onnx")

    def test_unknown_runtime(self, home):
        with pytest.raises(InputError, match="runtime is 'tensorrt'; it must be one of openvino, onnxruntime"):
            Predictor.from_pretrained(home / "model.onnx", runtime="tensorrt")

    def test_no_runtime_installed(self, home, monkeypatch):
        monkeypatch.setitem(sys.modules, "openvino", None)
        assert OnnxBackend(home / "model.onnx").runtime == "onnxruntime"
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(InputError, match=r"install one: pip install 'cfnsr\[onnx\]'"):
            OnnxBackend(home / "model.onnx")
        with pytest.raises(InputError, match=r"pip install 'cfnsr\[openvino\]'"):
            OnnxBackend(home / "model.onnx", "openvino")
