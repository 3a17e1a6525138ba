"""Augmentation of a training clip: the same draw for all frames, so that the face does not jump from frame to frame."""

from __future__ import annotations

import torch
from torch import Tensor
from torchaudio.transforms import FrequencyMasking, TimeMasking
from torchvision.transforms import v2


class VideoAugment:
    """Mirror, crop, small rotation and colour; one draw a clip."""

    def __init__(self, size: int) -> None:
        self._transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomRotation(8, interpolation=v2.InterpolationMode.BILINEAR),
                v2.RandomResizedCrop(size, scale=(0.8, 1.0), ratio=(0.95, 1.05), antialias=True),
                v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
            ]
        )

    def __call__(self, frames: Tensor) -> Tensor:
        """Augment `(T, 3, H, W)` uint8; v2 transforms draw once for all leading dimensions."""
        return self._transform(frames)


class AudioAugment:
    """A random shift in time and SpecAugment masks (Park et al., Interspeech 2019), on a standardised MFCC."""

    def __init__(self, frames: int, max_shift: float = 0.1, time_mask: float = 0.15, coefficient_mask: int = 2) -> None:
        self._max_shift = max_shift  # share of the length
        self._time = TimeMasking(int(time_mask * frames))
        self._coefficients = FrequencyMasking(coefficient_mask)

    def __call__(self, mfcc: Tensor) -> Tensor:
        """Augment `(coefficients, L)`; masked places become 0, the mean."""
        length = mfcc.shape[-1]
        reach = int(self._max_shift * length)
        shift = int(torch.randint(-reach, reach + 1, ()))
        shifted = torch.zeros_like(mfcc)
        shifted[:, max(shift, 0) : length + min(shift, 0)] = mfcc[:, max(-shift, 0) : length - max(shift, 0)]
        return self._time(self._coefficients(shifted))
