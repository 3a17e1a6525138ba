"""Running an exported network with OpenVINO or ONNX Runtime, without PyTorch.

Shapes: N windows, T frames, H x W pixels, C coefficients, L MFCC frames, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import InputError
from cfnsr.model.metadata import KEY, ModelMetadata
from cfnsr.parallel import default_workers
from cfnsr.predict.backend import Frames, Mfccs

SUFFIX = ".onnx"
Runtime = Literal["openvino", "onnxruntime"]
"""In order of speed."""


class OnnxBackend:
    """An ONNX file of `cfnsr export`, run on the CPU.

    Args:
        path: the file.
        runtime: to run it with; None: OpenVINO if it is installed, because it is faster, else ONNX Runtime.
        threads: number of threads; None: the cores available to this process.

    Raises:
        InputError: the file is missing, damaged or not of this project, or the runtime is unknown or not installed.
    """

    def __init__(self, path: Path, runtime: Runtime | None = None, threads: int | None = None) -> None:
        if not path.is_file():
            raise InputError(f"{path} does not exist; name an ONNX file that `cfnsr export` wrote.")
        self.runtime: Runtime = runtime or ("openvino" if find_spec("openvino") else "onnxruntime")
        if self.runtime not in get_args(Runtime):
            raise InputError(f"runtime is {runtime!r}; it must be one of {', '.join(get_args(Runtime))}.")
        session = _OpenVino if self.runtime == "openvino" else _OnnxRuntime
        self._session = session(path, threads or default_workers())
        self.metadata = self._session.metadata
        self._inputs = GraphInputs(self.metadata)
        if self._session.inputs != self._inputs.names or "logits" not in self._session.outputs:
            raise _damaged(path)

    def logits(self, frames: Frames | None, mfcc: Mfccs | None) -> NDArray[np.float32]:
        """See `Backend`."""
        return self._session.run(self._inputs(frames, mfcc))["logits"]

    def attention(self, frames: Frames, mfcc: Mfccs | None) -> NDArray[np.float32] | None:
        """See `Backend`."""
        return self._session.run(self._inputs(frames, mfcc)).get("attention")


class GraphInputs:
    """Makes the inputs of an exported graph, with zeros for a missing modality.

    Args:
        metadata: of the network.
    """

    def __init__(self, metadata: ModelMetadata) -> None:
        faces, network = metadata.faces, metadata.network
        self._modality = network.modality
        self._zeros: dict[str, NDArray[Any]] = {
            "frames": np.zeros((1, faces.frames, faces.size, faces.size, 3), np.uint8),
            "mfcc": np.zeros((1, network.coefficients, network.mfcc_frames), np.float32),
        }

    @property
    def names(self) -> set[str]:
        """Names of the graph's inputs."""
        if self._modality == "both":
            return {*self._zeros, "present"}
        return {"mfcc" if self._modality == "audio" else "frames"}

    def __call__(self, frames: Frames | None, mfcc: Mfccs | None) -> dict[str, NDArray[Any]]:
        """Make the inputs, by name. At least one that the network can use must be given."""
        arguments: dict[str, NDArray[Any] | None] = {"frames": frames, "mfcc": mfcc}
        given = {name: value for name, value in arguments.items() if value is not None}
        if self._modality != "both":
            return {name: given[name] for name in self.names}
        windows = len(next(iter(given.values())))
        whole = {name: given.get(name, zeros.repeat(windows, axis=0)) for name, zeros in self._zeros.items()}
        return {**whole, "present": np.tile([name in given for name in self._zeros], (windows, 1))}


class _OnnxRuntime:
    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError("ONNX files need a runtime; install one: pip install 'cfnsr[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        # Spinning threads would slow down the thread that prepares the next windows.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base class
            raise _damaged(path) from error
        self.metadata = ModelMetadata.from_file_metadata(self._session.get_modelmeta().custom_metadata_map, path)
        self.inputs = {node.name for node in self._session.get_inputs()}
        self.outputs = [node.name for node in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(self.outputs, self._session.run(self.outputs, dict(inputs)), strict=True))


class _OpenVino:
    def __init__(self, path: Path, threads: int) -> None:
        try:
            import openvino
            from openvino import frontend
        except ImportError:
            raise InputError("OpenVINO is not installed; install it: pip install 'cfnsr[openvino]'") from None
        reader = frontend.FrontEndManager().load_by_framework("onnx")  # other front ends might accept a damaged file
        try:
            model = reader.convert(reader.load(str(path)))
        except Exception as error:
            raise _damaged(path) from error
        place = ["framework", KEY]  # where OpenVINO keeps an ONNX file's metadata
        entries = {KEY: model.get_rt_info(place).astype(str)} if model.has_rt_info(place) else {}
        self.metadata = ModelMetadata.from_file_metadata(entries, path)
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        if self.metadata.precision != "fp16":
            settings["INFERENCE_PRECISION_HINT"] = "f32"  # its default on many CPUs is bf16, which is less exact
        self._lock = Lock()  # a compiled model has one request, which refuses concurrent callers
        try:
            self._model = openvino.Core().compile_model(model, "CPU", settings)
        except RuntimeError as error:  # constants that fit no memory
            raise _damaged(path) from error
        self.inputs = {node.any_name for node in self._model.inputs}
        self.outputs = [node.any_name for node in self._model.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        with self._lock:
            outputs = self._model(dict(inputs))
            return {name: outputs[name].copy() for name in self.outputs}  # the next call reuses the memory


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged or not an ONNX file; write it again with `cfnsr export`.")
