"""From cached features to network input: scaling that is fixed at training time and travels with the weights.

Shapes: T frames, H x W pixels, L MFCC frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Mean and deviation of Kinetics-400 in RGB, as torchvision publishes them for its video networks.
RGB_MEAN = (0.43216, 0.394666, 0.37645)
RGB_STD = (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True)
class Normalization:
    """Scales frames by fixed RGB statistics and MFCC by the training actors' statistics."""

    mfcc_mean: tuple[float, ...]
    """Per coefficient."""
    mfcc_std: tuple[float, ...]
    rgb_mean: tuple[float, ...] = RGB_MEAN
    rgb_std: tuple[float, ...] = RGB_STD

    @classmethod
    def fit(cls, mfccs: Iterable[NDArray[np.float32]], coefficients: int, standardize: bool) -> Normalization:
        """Statistics of MFCC matrices `(coefficients, L)`; without `standardize` (as published) they pass unchanged."""
        matrices = list(mfccs)
        if not standardize or not matrices:
            return cls((0.0,) * coefficients, (1.0,) * coefficients)
        everything = np.concatenate(matrices, axis=1).astype(np.float64)
        mean, std = everything.mean(axis=1), np.maximum(everything.std(axis=1), 1e-6)
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Normalization:
        """Inverse of `to_dict`."""
        return cls(**{name: tuple(values) for name, values in content.items()})

    def to_dict(self) -> dict[str, list[float]]:
        """As JSON-able lists."""
        return {name: list(values) for name, values in asdict(self).items()}

    def frames(self, frames: Tensor) -> Tensor:
        """`(…, T, 3, H, W)` uint8 RGB to `(…, 3, T, H, W)` float32."""
        mean, std = torch.tensor(self.rgb_mean), torch.tensor(self.rgb_std)
        scaled = (frames.float() / 255 - mean[:, None, None]) / std[:, None, None]
        return scaled.transpose(-4, -3)

    def mfcc(self, mfcc: Tensor) -> Tensor:
        """`(…, coefficients, L)` to the same, scaled."""
        return (mfcc - torch.tensor(self.mfcc_mean)[:, None]) / torch.tensor(self.mfcc_std)[:, None]
