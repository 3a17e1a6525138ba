"""What runs an exported network: OpenVINO or ONNX Runtime, without PyTorch.

Shapes: N windows, T frames, H x W pixels, C coefficients, L MFCC frames, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import InputError
from cfnsr.model.metadata import KEY, unpack
from cfnsr.parallel import default_workers
from cfnsr.predict.backend import Frames, Mfccs

SUFFIX = ".onnx"
Runtime = Literal["openvino", "onnxruntime"]
"""The faster one first."""


class OnnxBackend:
    """An ONNX file of `cfnsr export`, on the CPU.

    Args:
        path: the file.
        runtime: that runs it; None: OpenVINO where it is installed, because it is faster, else ONNX Runtime.
        threads: None: as many as this process has cores.

    Raises:
        InputError: no such file, damaged, not written by this project, or the runtime is not installed.
    """

    def __init__(self, path: Path, runtime: Runtime | None = None, threads: int | None = None) -> None:
        if not path.is_file():
            raise InputError(f"{path} does not exist; name an ONNX file that `cfnsr export` wrote.")
        self.runtime: Runtime = runtime or ("openvino" if find_spec("openvino") else "onnxruntime")
        if self.runtime not in get_args(Runtime):
            raise InputError(f"runtime is {runtime!r}; it must be one of {', '.join(get_args(Runtime))}.")
        session = _OpenVino if self.runtime == "openvino" else _OnnxRuntime
        self._session: _Session = session(path, threads or default_workers())
        self.config = self._session.config
        self._inputs = GraphInputs(self.config)

    def logits(self, frames: Frames | None, mfcc: Mfccs | None) -> NDArray[np.float32]:
        """See `Backend`."""
        return self._session.run(self._inputs(frames, mfcc))["logits"]

    def attention(self, frames: Frames, mfcc: Mfccs | None) -> NDArray[np.float32] | None:
        """See `Backend`."""
        return self._session.run(self._inputs(frames, mfcc)).get("attention")


class GraphInputs:
    """What an exported graph is given for a batch: zeros in place of what is missing, and word of it.

    Args:
        config: of the network.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        faces, network = config["faces"], config["network"]
        self._modality = network["modality"]
        self._missing: dict[str, NDArray[Any]] = {
            "frames": np.zeros((1, faces["frames"], faces["size"], faces["size"], 3), np.uint8),
            "mfcc": np.zeros((1, network["coefficients"], network["mfcc_frames"]), np.float32),
        }

    def __call__(self, frames: Frames | None, mfcc: Mfccs | None) -> dict[str, NDArray[Any]]:
        """Inputs by name; at least one is given, and it is one that the network can use."""
        given: dict[str, NDArray[Any] | None] = {"frames": frames, "mfcc": mfcc}
        there = {name: value for name, value in given.items() if value is not None}
        if self._modality != "both":
            name = "mfcc" if self._modality == "audio" else "frames"
            return {name: there[name]}
        windows = len(next(iter(there.values())))
        whole = {name: there.get(name, self._missing[name].repeat(windows, axis=0)) for name in given}
        return {**whole, "present": np.tile([name in there for name in given], (windows, 1))}


class _Session(Protocol):
    """A loaded graph."""

    config: dict[str, Any]
    """Of the network."""

    def __init__(self, path: Path, threads: int) -> None: ...

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Outputs by name."""


class _OnnxRuntime:
    def __init__(self, path: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise InputError("ONNX files need a runtime; install one: pip install 'cfnsr[onnx]'") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        # Waiting threads would take the cores from the thread that prepares the next windows.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes have no base of their own
            if type(error).__module__.startswith("onnxruntime."):
                raise _damaged(path) from None
            raise
        self.config = unpack(self._session.get_modelmeta().custom_metadata_map, path)
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))


class _OpenVino:
    def __init__(self, path: Path, threads: int) -> None:
        try:
            import openvino
            from openvino import frontend
        except ImportError:
            raise InputError("OpenVINO is not installed; install it: pip install 'cfnsr[openvino]'") from None
        reader = frontend.FrontEndManager().load_by_framework("onnx")  # others would take a damaged file for their own
        try:
            model = reader.convert(reader.load(str(path)))
        except Exception as error:
            if isinstance(error, RuntimeError) or type(error).__module__.startswith("openvino."):
                raise _damaged(path) from None
            raise
        place = ["framework", KEY]  # where OpenVINO keeps an ONNX file's metadata
        self.config = unpack({KEY: model.get_rt_info(place).astype(str)} if model.has_rt_info(place) else {}, path)
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        if self.config["precision"] != "fp16":
            settings["INFERENCE_PRECISION_HINT"] = "f32"  # its own choice on many CPUs is bf16, which is less exact
        self._alone = Lock()  # a compiled model has one request, which refuses a second caller; it uses all threads
        self._model = openvino.Core().compile_model(model, "CPU", settings)
        self._names = [output.any_name for output in self._model.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        with self._alone:
            outputs = self._model(dict(inputs))
            return {name: outputs[name].copy() for name in self._names}  # the next call uses the same memory


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is not an ONNX file, or it is damaged; write it again with `cfnsr export`.")
