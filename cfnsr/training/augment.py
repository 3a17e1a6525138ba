"""Augmentation for training, of clips (one draw for all frames, so that the face does not jump) and of batches.

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
    """Flip, crop, small rotation and colour jitter, with one draw per clip."""

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
    """Speed, time shift, colour and the masks of SpecAugment (Park et al., Interspeech 2019), drawn for each clip.

    The strengths were chosen on validation speakers of RAVDESS, see docs/results.md.

    Args:
        frames: L of the network's input.
        perturbed: share of clips whose speed is changed.
        time_mask: upper bound (exclusive) of the length of masks in time, as a share of the frames.
        coefficient_mask: upper bound (exclusive) of the coefficients in a mask: with 2, half of the clips have one.
        gain: standard deviation of the relative change of a coefficient's scale.
        offset: standard deviation of the constant added to a coefficient.
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
        """Cut `(N, C, L)` from `(N, V, C, L + 2 J)`, see `cfnsr.features.mfcc.views`: one speed and shift per clip."""
        clips, speeds, coefficients, length = views.shape
        speed = torch.zeros(clips, dtype=torch.long)
        if speeds > 1:
            changed = torch.randint(1, speeds, (clips,))
            speed = torch.where(torch.rand(clips) < self._perturbed, changed, speed)
        start = torch.randint(0, length - self._frames + 1, (clips, 1))
        window = (start + torch.arange(self._frames))[:, None].expand(-1, coefficients, -1)  # (N, C, L)
        return views[torch.arange(clips), speed].gather(2, window)

    def coloured(self, mfcc: Tensor) -> Tensor:
        """Vary standardised `(N, C, L)` as other voices, microphones and rooms would.

        A constant filter adds a constant to each cepstral coefficient.
        """
        gain, offset = torch.randn(2, *mfcc.shape[:2], 1)
        return mfcc * (1 + self._gain * gain) + self._offset * offset

    def masked(self, mfcc: Tensor) -> Tensor:
        """Mask time and coefficients of standardised `(N, C, L)` with 0, the mean."""
        masked = mask_along_axis_iid(mfcc, self._coefficient_mask, 0.0, axis=1)
        return mask_along_axis_iid(masked, self._time_mask, 0.0, axis=2)


@dataclass(frozen=True)
class Mixup:
    """Mixes the clips of a batch in pairs (Zhang et al., ICLR 2018), face and voice with the same draw."""

    share: Tensor
    """(N,) weight of each clip; its partner has the rest."""
    partner: Tensor
    """(N,) index of each clip's partner."""

    def __call__(self, values: Tensor) -> Tensor:
        """Mix `(N, …)`."""
        share = self.share.view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * values[self.partner]


def mixup(clips: int, alpha: float, device: torch.device) -> Mixup:
    """Draw a partner, and a share from Beta(alpha, alpha), for each clip of a batch."""
    share = torch.distributions.Beta(alpha, alpha).sample((clips,))
    return Mixup(share.to(device), torch.randperm(clips).to(device))


def drop_modalities(clips: int, share: float, device: torch.device) -> Tensor:
    """Draw which modalities are present, `(N, 2)` bool: `share / 2` of the clips lose the face, as many the voice."""
    draw = torch.rand(clips)
    return torch.stack([draw >= share / 2, (draw < share / 2) | (draw >= share)], dim=1).to(device)
