"""Cached features as batches for training: the clips of a fold, augmented and normalised.

Shapes: N clips, T frames, H x W pixels, L MFCC frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cfnsr.config.sections import MfccSettings, Modality, PhaseSettings
from cfnsr.features.cached import Features
from cfnsr.model.normalize import Normalization
from cfnsr.training.augment import AudioAugment, VideoAugment

MEMORY_LIMIT = 512 * 2**20
"""Bytes of decoded frames kept in memory; a larger corpus is read from its packed files for each batch."""


class Batch(TypedDict, total=False):
    """Inputs of the network; a modality that a phase does not use is absent."""

    frames: Tensor
    """(N, 3, T, H, W) float32"""
    mfcc: Tensor
    """(N, coefficients, L) float32"""
    label: Tensor
    """(N,) int64"""


class Draw(NamedTuple):
    """A request for a clip, augmented with a seed of its own.

    The result depends neither on the number of loader workers nor on whether the run was resumed.
    """

    clip: int
    """Index in the dataset."""
    seed: int


class ClipDataset(Dataset[Batch]):
    """Clips of some speakers, for one modality or both, read one batch at a time.

    `dataset.batch([index, …])` returns unchanged clips; `dataset.batch([Draw(…), …])` returns augmented ones.

    Args:
        features: the cached features.
        speakers: whose clips.
        modality: of the network.
        normalization: of the network.
        phase: whose augmentation is applied; None: no augmentation.
        mfcc: section `mfcc`, whose `speeds` and `shift` audio augmentation draws from.
    """

    def __init__(
        self,
        features: Features,
        speakers: Sequence[str],
        modality: Modality,
        normalization: Normalization,
        phase: PhaseSettings | None = None,
        mfcc: MfccSettings | None = None,
    ) -> None:
        clips = features.having(modality)
        self.clips = clips[clips["speaker"].isin(speakers)].reset_index(drop=True)
        self._ids: list[str] = self.clips["clip_id"].tolist()
        self._labels = torch.from_numpy(features.classes(self.clips))
        self._features, self._normalization = features, normalization
        self._frames: list[Tensor] | None = None
        self._mfcc: Tensor | None = None
        self._augment_video: VideoAugment | None = None
        self._augment_audio: AudioAugment | None = None
        self._modality = modality
        if not len(self.clips):
            return
        if modality != "audio":
            first = self._read_frames(0)
            if first.nbytes * len(self.clips) <= MEMORY_LIMIT:
                self._frames = [self._read_frames(index) for index in range(len(self.clips))]
            if phase is not None and phase.augment_video:
                self._augment_video = VideoAugment(first.shape[-1])
        if modality != "video":
            self._mfcc = normalization.mfcc(torch.tensor(np.stack([features.mfcc[clip] for clip in self._ids])))
            if phase is not None and phase.augment_audio:
                assert mfcc is not None, "ProfileSettings requires mfcc.speeds for augment_audio"
                self._views = torch.from_numpy(features.views(self._ids, mfcc))
                self._augment_audio = AudioAugment(self._mfcc.shape[-1])

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int | Draw) -> Batch:
        return self.batch([item])

    def __getitems__(self, items: Sequence[int | Draw]) -> Batch:
        """Called by loaders: one batch at a time, because handling many small tensors is slow."""
        return self.batch(items)

    def batch(self, items: Sequence[int | Draw]) -> Batch:
        """Return clips as one batch; only those requested by a `Draw` are augmented."""
        draws = [item for item in items if isinstance(item, Draw)]
        index = [item.clip if isinstance(item, Draw) else item for item in items]
        batch: Batch = {"label": self._labels[index]}
        with torch.random.fork_rng(devices=[]):
            if self._modality != "audio":
                frames = [self._frames[each] if self._frames is not None else self._read_frames(each) for each in index]
                if draws and self._augment_video is not None:
                    frames = [self._augmented(*pair) for pair in zip(frames, draws, strict=True)]
                batch["frames"] = self._normalization.frames(torch.stack(frames))
            if self._mfcc is not None:
                if draws and self._augment_audio is not None:
                    _seed(draws[0].seed)
                    cut = self._normalization.mfcc(self._augment_audio.cut(self._views[index].float()))
                    batch["mfcc"] = self._augment_audio.masked(self._augment_audio.coloured(cut))
                else:
                    batch["mfcc"] = self._mfcc[index]
        return batch

    def _augmented(self, frames: Tensor, draw: Draw) -> Tensor:
        assert self._augment_video is not None
        _seed(draw.seed)
        return self._augment_video(frames)

    def _read_frames(self, index: int) -> Tensor:
        frames = self._features.frames(self._ids[index])
        return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()  # (T, 3, H, W)


def _seed(seed: int) -> None:
    """Seed the generator that augmentation uses, but not those of GPUs, which dropout uses."""
    torch.default_generator.manual_seed(seed)
