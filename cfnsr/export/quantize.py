"""Smaller variants of an ONNX model: weights in half precision, convolutions in whole numbers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import InputError

if TYPE_CHECKING:
    import onnx

Inputs = dict[str, NDArray[Any]]
"""Of the graph, by name."""

_SMALLEST = 1024
"""Values of a weight that is worth halving; small ones, such as batch norm's variances, also need the range of fp32."""


def halve(model: onnx.ModelProto) -> None:
    """Keep the large weights as fp16, in place; what computes with them gets fp32 as before."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) >= _SMALLEST:
            values = numpy_helper.to_array(weight).astype(np.float16)
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values, f"{name}.half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def quantize(model: onnx.ModelProto, clips: Iterable[Inputs]) -> onnx.ModelProto:
    """The model with its 3-D convolutions in int8, weights channel by channel, nearly all of its arithmetic.

    Static, because a scale that is found anew for each input costs more than int8 saves; clips tell the scales.

    Args:
        model: without branches, which can't be quantized.
        clips: inputs, a few dozen clips that the network was trained on.

    Raises:
        InputError: the network has no video encoder.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._clips: Iterator[Inputs] = iter(clips)

        def get_next(self) -> Inputs | None:
            return next(self._clips, None)

    ranks = {weight.name: len(weight.dims) for weight in model.graph.initializer}
    chosen = [node.name for node in model.graph.node if node.op_type == "Conv" and ranks.get(node.input[1]) == 5]
    if not chosen:
        raise InputError("int8 is for the video encoder, and this network has none; take another precision.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        logging.disable(logging.WARNING)  # it advises to fold batch norm first, which is done
        try:
            quantize_static(
                model,
                path,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=chosen,
            )
        finally:
            logging.disable(logging.NOTSET)
        quantized = onnx.load(path)
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(model.metadata_props)
    return quantized
