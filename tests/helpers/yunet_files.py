"""An ONNX network with YuNet's inputs and outputs, which takes white blocks of 8 x 8 pixels for faces.

YuNet itself is not shipped. This one has its interface (OpenCV decodes it with the same code) and needs no training:
one convolution an output. The file is written in protobuf's wire format, field numbers from onnx.proto.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

STRIDES = (8, 16, 32)
OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # values a cell
FACE_SIDE = 40  # pixels of the detector's picture


def write_white_block_detector(path: Path) -> Path:
    """A cell of stride 8 that is white all over is the centre of a face of `FACE_SIDE` pixels; others never are."""
    nodes, weights, outputs = [], [], []
    for kind, values in OUTPUTS.items():
        for stride in STRIDES:
            name = f"{kind}_{stride}"
            kernel, bias = np.zeros((values, 3, stride, stride)), np.zeros(values)
            if kind in {"cls", "obj"} and stride == 8:
                kernel[:], bias[:] = 20 / (255 * kernel.size), -19  # 1 for white, far below 0 for any less
            elif kind in {"cls", "obj"}:
                bias[:] = -1
            elif kind == "bbox":
                bias[:] = (0.5, 0.5, *[np.log(FACE_SIDE / stride)] * 2)  # centre in cells, log of the size in cells
            weights += [_tensor(f"{name}_w", kernel), _tensor(f"{name}_b", bias)]
            weights += [_field(5, _shape(f"{name}_s", (1, -1, values)))]
            nodes += [
                _node("Conv", ["input", f"{name}_w", f"{name}_b"], f"{name}_map", "strides", (stride, stride)),
                _node("Transpose", [f"{name}_map"], f"{name}_last", "perm", (0, 2, 3, 1)),
                _node("Reshape", [f"{name}_last", f"{name}_s"], name),
            ]
            outputs.append(_field(12, _value(name, (1, 1, values))))
    graph = b"".join([*nodes, _text(2, "faces"), *weights, _field(11, _value("input", (1, 3, 640, 640))), *outputs])
    path.write_bytes(_int(1, 8) + _field(8, _text(1, "") + _int(2, 13)) + _field(7, graph))
    return path


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    content = b""
    while value > 127:
        content += bytes([value & 127 | 128])
        value >>= 7
    return content + bytes([value])


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(_int(1, size) for size in values.shape)
    return _field(5, dims + _int(2, 1) + _text(8, name) + _field(9, values.astype("<f4").tobytes()))


def _shape(name: str, dims: tuple[int, ...]) -> bytes:
    return _int(1, len(dims)) + _int(2, 7) + _text(8, name) + _field(9, struct.pack(f"<{len(dims)}q", *dims))


def _node(kind: str, inputs: list[str], output: str, attribute: str = "", ints: tuple[int, ...] = ()) -> bytes:
    content = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(3, output) + _text(4, kind)
    if attribute:
        content += _field(5, _text(1, attribute) + b"".join(_int(8, value) for value in ints) + _int(20, 7))
    return _field(1, content)


def _value(name: str, dims: tuple[int, ...]) -> bytes:
    shape = b"".join(_field(1, _int(1, size)) for size in dims)
    return _text(1, name) + _field(2, _field(1, _int(1, 1) + _field(2, shape)))
