"""From cached features to network input: scaling that is fixed at training time and stored with the weights.

Shapes: T frames, H x W pixels, L MFCC frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

# Mean and standard deviation of Kinetics-400 in RGB, as torchvision publishes them for its video networks.
RGB_MEAN = (0.43216, 0.394666, 0.37645)
RGB_STD = (0.22803, 0.22145, 0.216989)


@dataclass(frozen=True)
class Normalization:
    """Scales frames by fixed RGB statistics and the MFCC by the statistics of the training speakers."""

    mfcc_mean: tuple[float, ...]
    """Per coefficient."""
    mfcc_std: tuple[float, ...]
    rgb_mean: tuple[float, ...] = RGB_MEAN
    rgb_std: tuple[float, ...] = RGB_STD

    @classmethod
    def fit(cls, mfccs: Iterable[NDArray[np.float32]], coefficients: int, standardize: bool) -> Normalization:
        """Compute the statistics of MFCC matrices `(coefficients, L)`.

        Without `standardize`, as published, the MFCC is left unchanged.
        """
        matrices = list(mfccs)
        if not standardize or not matrices:
            return cls((0.0,) * coefficients, (1.0,) * coefficients)
        everything = np.concatenate(matrices, axis=1).astype(np.float64)
        mean, std = everything.mean(axis=1), np.maximum(everything.std(axis=1), 1e-6)
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    def frames(self, frames: Tensor) -> Tensor:
        """Scale `(…, T, 3, H, W)` uint8 RGB to `(…, 3, T, H, W)` float32."""
        import torch  # reading a model's metadata must not need it

        mean, std = torch.tensor(self.rgb_mean), torch.tensor(self.rgb_std)
        scaled = (frames.float() / 255 - mean[:, None, None]) / std[:, None, None]
        return scaled.transpose(-4, -3)

    def mfcc(self, mfcc: Tensor) -> Tensor:
        """Scale `(…, coefficients, L)`."""
        import torch

        return (mfcc - torch.tensor(self.mfcc_mean)[:, None]) / torch.tensor(self.mfcc_std)[:, None]
