"""Smaller variants of an ONNX model: weights in half precision, or convolutions in int8."""

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
"""Inputs of a graph, by name."""

_SMALLEST = 1024
"""Weights with fewer values stay fp32: they save little, and some, such as batch norm's variances, need its range."""


def halve(model: onnx.ModelProto) -> None:
    """Store the large weights as fp16, in place; they are cast to fp32 before use."""
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
    """Quantize the 3-D convolutions, which do nearly all of the arithmetic, to int8 with one scale per channel.

    Quantization is static: computing a scale for each input costs more time than int8 saves.

    Args:
        model: without branches, which can't be quantized.
        clips: a few dozen training clips, to calibrate the scales.

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
        raise InputError("int8 is for the video encoder, and this network has none; choose another precision.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        logging.disable(logging.WARNING)  # it advises to fold batch norm first, which has been done
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
