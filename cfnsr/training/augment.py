"""Augmentation for training: of clips (one draw for all frames, so that the face does not jump) and of batches.

Shapes: N clips, T frames, H x W pixels, C coefficients, L MFCC frames, V speeds, J frames of
shift.
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
    """Speed, shift in time, colour and SpecAugment's masks (Park et al., Interspeech 2019), drawn for each clip.

    The strengths were chosen on validation actors of RAVDESS, see docs/results.md.

    Args:
        frames: L of what the network gets.
        perturbed: share of clips at another speed than their own.
        time_mask: masks in time are shorter than this share of the frames, down to none.
        coefficient_mask: masks cover fewer coefficients than this: with 2, one of them in half of the clips.
        gain: deviation of the factor by which a coefficient moves more or less over a clip.
        offset: deviation of what is added to a coefficient throughout a clip.
    """

    def __init__(
        self,
        frames: int,
        perturbed: float = 0.5,
        time_mask: float = 0.15,
        coefficient_mask: int = 2,
        gain: float = 0.2,
        offset: float = 0.3,
    ) -> None:
        self._frames, self._perturbed = frames, perturbed
        self._gain, self._offset = gain, offset
        self._time_mask, self._coefficient_mask = int(time_mask * frames), coefficient_mask

    def cut(self, views: Tensor) -> Tensor:
        """`(N, V, C, L + 2 J)`, see `cfnsr.features.mfcc.views`, to `(N, C, L)`: one speed and one shift a clip."""
        clips, speeds, coefficients, length = views.shape
        speed = torch.zeros(clips, dtype=torch.long)
        if speeds > 1:
            other = torch.randint(1, speeds, (clips,))
            speed = torch.where(torch.rand(clips) < self._perturbed, other, speed)
        begin = torch.randint(0, length - self._frames + 1, (clips, 1))
        window = (begin + torch.arange(self._frames))[:, None].expand(-1, coefficients, -1)  # (N, C, L)
        return views[torch.arange(clips), speed].gather(2, window)

    def coloured(self, mfcc: Tensor) -> Tensor:
        """`(N, C, L)`, standardised, as other voices, microphones and rooms would have it.

        Whatever filters a sound the same way all the time adds a constant to each cepstral coefficient.
        """
        gain, offset = torch.randn(2, *mfcc.shape[:2], 1)
        return mfcc * (1 + self._gain * gain) + self._offset * offset

    def masked(self, mfcc: Tensor) -> Tensor:
        """`(N, C, L)`, standardised, with masks of 0, the mean, over time and coefficients."""
        masked = mask_along_axis_iid(mfcc, self._coefficient_mask, 0.0, axis=1)
        return mask_along_axis_iid(masked, self._time_mask, 0.0, axis=2)


@dataclass(frozen=True)
class Mixup:
    """How the clips of a batch are mixed in pairs (Zhang et al., ICLR 2018); face and voice with the same draw."""

    share: Tensor
    """(N,) of each clip itself; the rest is its partner's."""
    partner: Tensor
    """(N,)"""

    def __call__(self, values: Tensor) -> Tensor:
        """Mix `(N, …)`."""
        share = self.share.view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * values[self.partner]


def mixup(clips: int, alpha: float, device: torch.device) -> Mixup:
    """Draw a mix for a batch of N clips: for each a partner, and a share from Beta(alpha, alpha)."""
    share = torch.distributions.Beta(alpha, alpha).sample((clips,))
    return Mixup(share.to(device), torch.randperm(clips).to(device))


def drop_modalities(clips: int, share: float, device: torch.device) -> Tensor:
    """Draw who loses a modality: `(N, 2)` bool, face and voice; `share / 2` lose each, and nobody both."""
    draw = torch.rand(clips)
    return torch.stack([draw >= share / 2, (draw < share / 2) | (draw >= share)], dim=1).to(device)
