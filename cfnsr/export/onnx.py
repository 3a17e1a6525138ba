"""ONNX files: one graph for face and voice together and for each alone, for any number of clips."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cfnsr.errors import InputError
from cfnsr.export.graph import RawNetwork

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Has all operations of the network; newer versions would exclude older runtimes."""


def onnx_model(network: RawNetwork) -> onnx.ModelProto:
    """Convert the network to an ONNX model with its metadata.

    Raises:
        InputError: the extra `onnx` is not installed.
    """
    try:
        import onnxscript  # noqa: F401  (PyTorch's exporter needs it, and fails with a page of text without it)
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass
    except ImportError:
        raise InputError("writing ONNX files needs more packages; install them: pip install 'cfnsr[onnx]'") from None
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own internals
        program = torch.onnx.export(
            network.program(),
            input_names=list(network.example()),
            output_names=network.outputs(),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    RemoveUnusedNodesPass()(program.model)  # weights from before batch norm was folded into the convolutions
    ClearMetadataAndDocStringPass()(program.model)  # stack traces: megabytes with paths of this machine
    program.model.metadata_props.update(network.metadata.to_file_metadata())
    proto: onnx.ModelProto = program.model_proto
    return proto
