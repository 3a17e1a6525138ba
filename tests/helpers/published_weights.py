"""The published network's formula-made weights and inputs, as tests/fixtures/parity.json describes them.

Every array is made from its name: a standard normal of a generator seeded with the CRC-32 of `case/name`, then scaled
by the kind of parameter. The fixture holds the published code's names, shapes and what it answered.
"""

import json
import zlib

import numpy as np
import torch
from helpers.paths import PROJECT
from torch import Tensor

FIXTURE = PROJECT / "tests" / "fixtures" / "parity.json"


def parity_case(name: str) -> dict:
    return json.loads(FIXTURE.read_text())[name]


def _normal(key: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.RandomState(zlib.crc32(key.encode()))
    return np.asarray(generator.standard_normal(shape), dtype="float32")


def weights(salt: str, shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    state = {}
    for name, shape in shapes.items():
        z = _normal(f"{salt}/{name}", tuple(shape))
        if name.endswith("running_var"):
            value = 1 + 0.1 * abs(z)
        elif name.endswith("running_mean"):
            value = 0.1 * z
        elif len(shape) > 1:
            value = z * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("weight"):
            value = 1 + 0.1 * z
        else:
            value = 0.1 * z
        state[name] = torch.from_numpy(np.asarray(value, dtype="float32"))
    return state


def inputs(case: dict) -> tuple[Tensor, Tensor]:
    frames = _normal(f"{case['salt']}/frames", (1, 3, case["frames"], case["size"], case["size"]))
    mfcc = _normal(f"{case['salt']}/mfcc", (1, 13, 212))
    return torch.from_numpy(frames), torch.from_numpy(mfcc)
