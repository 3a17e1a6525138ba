"""From a model to one file for another program, checked before it gets its name."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from cfnsr.config.load import Settings
from cfnsr.errors import InputError
from cfnsr.export.check import Agreement, Clips, Logits, difference
from cfnsr.export.graph import RawNetwork
from cfnsr.export.onnx import onnx_model
from cfnsr.export.quantize import Inputs, halve, quantize
from cfnsr.files import atomic_path
from cfnsr.model import CFNSR
from cfnsr.model.checkpoint import load_model, save_model
from cfnsr.model.metadata import KEY
from cfnsr.predict.backend import Frames, Mfccs, TorchBackend
from cfnsr.predict.onnx_backend import SUFFIX, GraphInputs, OnnxBackend, Runtime

Format = Literal["onnx", "torch-export", "safetensors"]
Precision = Literal["fp32", "fp16", "int8"]

EXTENSIONS = {"onnx": SUFFIX, "torch-export": ".pt2", "safetensors": ".safetensors"}
CONFIG_FILE = f"{KEY}.json"
"""Name of the configuration among the extra files of a `torch.export` file."""
TOLERANCE = 1e-4
"""Of logits in fp32, relative to the largest."""


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    path: Path
    size: int
    """Bytes."""
    difference: float
    """See `cfnsr.export.check.difference`; of safetensors 0, they hold the same numbers."""
    runtime: Runtime | Literal["torch"]
    """What it was checked with."""
    agreement: Agreement | None
    """On cached clips, if there were any to look at."""


def export_model(
    network: CFNSR,
    config: dict[str, Any],
    path: Path,
    kind: Format = "onnx",
    precision: Precision = "fp32",
    settings: Settings | None = None,
    compare: bool = True,
) -> Exported:
    """Write a network as another format.

    Args:
        network: as `cfnsr.model.checkpoint.load_model` gives it.
        config: likewise.
        path: to write.
        kind: "onnx"; "torch-export", for programs with PyTorch and without this package; "safetensors".
        precision: of ONNX: "fp32"; "fp16", large weights in half precision; "int8", convolutions in whole numbers.
        settings: the profile whose cached clips int8 is fitted to, and the file is compared on; None: neither.
        compare: measure the file's accuracy on these clips.

    Raises:
        InputError: unknown format or precision, a precision that the format has not, an extra that is not installed,
            int8 without clips, or a file that answers differently.
    """
    for name, value, known in (("format", kind, Format), ("precision", precision, Precision)):
        if value not in get_args(known):
            raise InputError(f"{name} is {value!r}; it must be one of {', '.join(get_args(known))}.")
    if precision != "fp32" and kind != "onnx":
        raise InputError(f"{precision} is for ONNX files; write {kind} in fp32.")
    clips = None if settings is None else Clips(settings, config)
    reference = TorchBackend(network, config, "cpu").logits
    with atomic_path(path) as temporary:
        exported, runtime = _write(temporary, network, config, kind, precision, clips)
        ways = config.get("inputs", [network.modality])
        apart = difference(exported, reference, _example(network, config), ways)
        if precision == "fp32" and not apart <= TOLERANCE:
            raise InputError(
                f"the {kind} file answers differently: its logits are {apart:.1e} apart and only {TOLERANCE:.0e} is "
                f"allowed; nothing was written, try another version of {runtime}."
            )
        agreement = clips.compare(exported, reference) if clips is not None and compare else None
    return Exported(path, path.stat().st_size, apart, runtime, agreement)


def _write(
    path: Path, network: CFNSR, config: dict[str, Any], kind: Format, precision: Precision, clips: Clips | None
) -> tuple[Logits, Runtime | Literal["torch"]]:
    """Write the file; what it says when it is read again, and what read it."""
    if kind == "safetensors":
        save_model(path, network, config)
        return TorchBackend(*load_model(path), "cpu").logits, "torch"
    if kind == "torch-export":
        return _write_program(path, network, config), "torch"
    _write_onnx(path, network, config, precision, clips)
    backend = OnnxBackend(path)
    return backend.logits, backend.runtime


def _example(network: CFNSR, config: dict[str, Any]) -> Inputs:
    return {name: value.numpy() for name, value in RawNetwork(network, config).example().items()}


def _write_onnx(path: Path, network: CFNSR, config: dict[str, Any], precision: Precision, clips: Clips | None) -> None:
    if precision == "int8" and clips is None:
        raise InputError("int8 is fitted to clips of the training actors; it can't be written without the features.")
    # A branch can't be quantized, so an int8 network runs its video encoder for voices alone too.
    model = onnx_model(RawNetwork(network, {**config, "precision": precision}, lazy=precision != "int8"))
    if precision == "fp16":
        halve(model)
    if precision == "int8":
        assert clips is not None
        model = quantize(model, clips.calibration())
    path.write_bytes(model.SerializeToString())


def _write_program(path: Path, network: CFNSR, config: dict[str, Any]) -> Logits:
    """Write it, and read it again."""
    raw = RawNetwork(network, config)
    content = io.BytesIO()  # by name, it would insist on a file that ends in .pt2
    torch.export.save(raw.program(), content, extra_files={CONFIG_FILE: raw.metadata})
    path.write_bytes(content.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how it maps the file's bytes
        program = torch.export.load(io.BytesIO(path.read_bytes())).module()
    inputs = GraphInputs(config)

    def logits(frames: Frames | None, mfcc: Mfccs | None) -> NDArray[np.float32]:
        given = {name: torch.from_numpy(value) for name, value in inputs(frames, mfcc).items()}
        with torch.inference_mode():
            return program(**given)[0].numpy()

    return logits
