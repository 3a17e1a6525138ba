"""Augmentation for training: of clips (one draw for all frames, so that the face does not jump) and of batches.

Shapes: N clips, T frames, H x W pixels, C coefficients, L MFCC frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchaudio.functional import mask_along_axis_iid
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
    """A random shift in time and SpecAugment masks (Park et al., Interspeech 2019), on standardised MFCC."""

    def __init__(self, frames: int, max_shift: float = 0.1, time_mask: float = 0.15, coefficient_mask: int = 2) -> None:
        self._reach = int(max_shift * frames)
        self._time_mask = int(time_mask * frames)
        self._coefficient_mask = coefficient_mask

    def __call__(self, mfcc: Tensor) -> Tensor:
        """Augment `(N, C, L)`, each clip by its own draw; masked places become 0, the mean."""
        masked = mask_along_axis_iid(self._shifted(mfcc), self._coefficient_mask, 0.0, axis=1)
        return mask_along_axis_iid(masked, self._time_mask, 0.0, axis=2)

    def _shifted(self, mfcc: Tensor) -> Tensor:
        clips, _, length = mfcc.shape
        shift = torch.randint(-self._reach, self._reach + 1, (clips, 1))
        source = torch.arange(length) - shift  # (N, L)
        inside = (source >= 0) & (source < length)
        taken = mfcc.gather(2, source.clamp(0, length - 1)[:, None].expand_as(mfcc))
        return taken * inside[:, None]


@dataclass(frozen=True)
class Mixup:
    """How the clips of a batch are mixed in pairs (Zhang et al., ICLR 2018); face and voice with the same draw."""

    share: Tensor
    """() of each clip itself; the rest is its partner's."""
    partner: Tensor
    """(N,)"""

    def __call__(self, values: Tensor) -> Tensor:
        """Mix `(N, …)`."""
        return self.share * values + (1 - self.share) * values[self.partner]


def mixup(clips: int, alpha: float, device: torch.device) -> Mixup:
    """Draw a mix for a batch of N clips: one share from Beta(alpha, alpha), a partner for each."""
    share = torch.distributions.Beta(alpha, alpha).sample()
    return Mixup(share.to(device), torch.randperm(clips).to(device))


def drop_modalities(clips: int, share: float, device: torch.device) -> Tensor:
    """Draw who loses a modality: `(N, 2)` bool, face and voice; `share / 2` lose each, and nobody both."""
    draw = torch.rand(clips)
    return torch.stack([draw >= share / 2, (draw < share / 2) | (draw >= share)], dim=1).to(device)
