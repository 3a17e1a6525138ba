"""Writes a model to a file for another program; the file is checked before it gets its name."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from cfnsr.config.load import Settings
from cfnsr.errors import InputError
from cfnsr.export.check import Agreement, Clips, Logits, difference
from cfnsr.export.graph import RawNetwork
from cfnsr.export.onnx import onnx_model
from cfnsr.export.quantize import halve, quantize
from cfnsr.files import atomic_path
from cfnsr.model.checkpoint import load_model, save_model
from cfnsr.model.metadata import KEY, ModelMetadata
from cfnsr.model.network import CFNSR
from cfnsr.predict.backend import Frames, Mfccs, TorchBackend
from cfnsr.predict.onnx_backend import SUFFIX, GraphInputs, OnnxBackend, Runtime

Format = Literal["onnx", "torch-export", "safetensors"]
Precision = Literal["fp32", "fp16", "int8"]

EXTENSIONS = {"onnx": SUFFIX, "torch-export": ".pt2", "safetensors": ".safetensors"}
METADATA_FILE = f"{KEY}.json"
"""Name of the metadata among the extra files of a `torch.export` file."""
TOLERANCE = 1e-4
"""Allowed difference of logits in fp32, relative to the largest."""


@dataclass(frozen=True)
class Exported:
    """A written file."""

    path: Path
    size: int
    """Bytes."""
    difference: float
    """See `cfnsr.export.check.difference`; 0 for safetensors."""
    runtime: Runtime | Literal["torch"]
    """The runtime that it was checked with."""
    agreement: Agreement | None
    """On cached clips; None if they were not compared."""


def export_model(
    network: CFNSR,
    metadata: ModelMetadata,
    path: Path,
    kind: Format = "onnx",
    precision: Precision = "fp32",
    settings: Settings | None = None,
    compare: bool = True,
) -> Exported:
    """Write a network in another format.

    Args:
        network: from `cfnsr.model.checkpoint.load_model`.
        metadata: from `cfnsr.model.checkpoint.load_model`.
        path: to write.
        kind: "onnx"; "torch-export", for programs that have PyTorch but not this package; "safetensors".
        precision: of ONNX: "fp32"; "fp16", large weights in half precision; "int8", convolutions in int8.
        settings: the profile whose cached clips int8 is calibrated on and the file is compared on; None: no clips.
        compare: measure the file's accuracy on these clips.

    Raises:
        InputError: the format or precision is unknown, or they do not go together; an extra is not installed; int8 has
            no clips; the file's answers differ from those of the network.
    """
    for name, value, known in (("format", kind, Format), ("precision", precision, Precision)):
        if value not in get_args(known):
            raise InputError(f"{name} is {value!r}; it must be one of {', '.join(get_args(known))}.")
    if precision != "fp32" and kind != "onnx":
        raise InputError(f"{precision} is for ONNX files; write {kind} in fp32.")
    clips = None if settings is None else Clips(settings, metadata)
    reference = TorchBackend(network, metadata, "cpu").logits
    with atomic_path(path) as temporary:
        exported, runtime = _write(temporary, network, metadata, kind, precision, clips)
        example = {name: value.numpy() for name, value in RawNetwork(network, metadata).example().items()}
        error = difference(exported, reference, example, metadata.inputs)
        if precision == "fp32" and not error <= TOLERANCE:
            raise InputError(
                f"the logits of the {kind} file differ by {error:.1e}, but at most {TOLERANCE:.0e} is allowed; nothing "
                f"was written. Try another version of {runtime}."
            )
        agreement = clips.compare(exported, reference) if clips is not None and compare else None
    return Exported(path, path.stat().st_size, error, runtime, agreement)


def _write(
    path: Path, network: CFNSR, metadata: ModelMetadata, kind: Format, precision: Precision, clips: Clips | None
) -> tuple[Logits, Runtime | Literal["torch"]]:
    """Write the file, read it again, and return its logits function and runtime."""
    if kind == "safetensors":
        save_model(path, network, metadata)
        return TorchBackend(*load_model(path), "cpu").logits, "torch"
    if kind == "torch-export":
        return _write_program(path, network, metadata), "torch"
    if precision == "int8" and clips is None:
        raise InputError(
            "int8 is calibrated on clips of the training speakers; run the data stages of the model's profile first."
        )
    # A branch can't be quantized, so an int8 network always runs its video encoder.
    described = metadata.model_copy(update={"precision": precision})
    model = onnx_model(RawNetwork(network, described, lazy=precision != "int8"))
    if precision == "fp16":
        halve(model)
    if precision == "int8":
        assert clips is not None
        model = quantize(model, clips.calibration())
    path.write_bytes(model.SerializeToString())
    backend = OnnxBackend(path)
    return backend.logits, backend.runtime


def _write_program(path: Path, network: CFNSR, metadata: ModelMetadata) -> Logits:
    """Write a `torch.export` file, read it again, and return its logits function."""
    raw = RawNetwork(network, metadata)
    content = io.BytesIO()  # a file name would have to end in .pt2
    torch.export.save(raw.program(), content, extra_files={METADATA_FILE: metadata.to_file_metadata()[KEY]})
    path.write_bytes(content.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about memory-mapping the file
        program = torch.export.load(io.BytesIO(path.read_bytes())).module()
    inputs = GraphInputs(metadata)

    def logits(frames: Frames | None, mfcc: Mfccs | None) -> NDArray[np.float32]:
        given = {name: torch.from_numpy(value) for name, value in inputs(frames, mfcc).items()}
        with torch.inference_mode():
            return program(**given)[0].numpy()

    return logits
