"""Cached features as batches for training: the clips of a fold, augmented and normalised.

Shapes: N clips, T frames, H x W pixels, L MFCC frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import lightning
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cfnsr.augment import AudioAugment, VideoAugment
from cfnsr.config import Modality, PhaseSettings
from cfnsr.errors import InputError
from cfnsr.faces.store import read_faces
from cfnsr.folds import Fold
from cfnsr.layout import Layout
from cfnsr.manifest import faults, read_manifest
from cfnsr.mfcc import read_mfcc
from cfnsr.normalize import Normalization
from cfnsr.packed import left_out

MEMORY_LIMIT = 512 * 2**20
"""Bytes of decoded frames kept in memory; a larger corpus is read from its packed files for each batch."""


class Batch(TypedDict, total=False):
    """What the network gets; a modality that a phase does not use is absent."""

    frames: Tensor
    """(N, 3, T, H, W) float32"""
    mfcc: Tensor
    """(N, coefficients, L) float32"""
    label: Tensor
    """(N,) int64"""


@dataclass(frozen=True)
class Features:
    """All cached features of a profile."""

    clips: pd.DataFrame
    """The manifest, one row a usable take, with `has_video` and `has_audio` as the feature stages left them."""
    left_out: dict[str, str]
    """What is missing and why: takes and files by `cfnsr.manifest.row_name`, and clips without a face or a voice."""
    mfcc: dict[str, NDArray[np.float32]]
    """(coefficients, L) by clip id."""
    layout: Layout

    @classmethod
    def load(cls, layout: Layout) -> Features:
        """Read manifest and MFCC, and which clips have faces.

        Raises:
            InputError: a stage has not run.
        """
        for path in (layout.manifest, layout.faces, layout.mfcc):
            if not path.exists():
                raise InputError(f"{path} is missing; run `dvc repro` so that the data stages make it.")
        manifest = read_manifest(layout.manifest)
        no_face = left_out(sorted(layout.faces.glob("*.parquet")))
        no_voice = left_out([layout.mfcc])
        reasons = faults(manifest)
        reasons |= {f"{clip} (face)": reason for clip, reason in no_face.items()}
        reasons |= {f"{clip} (voice)": reason for clip, reason in no_voice.items()}
        usable = manifest[manifest["reason"] == ""].copy()
        usable["has_video"] &= ~usable["clip_id"].isin(list(no_face))
        usable["has_audio"] &= ~usable["clip_id"].isin(list(no_voice))
        return cls(usable, reasons, read_mfcc(layout.mfcc), layout)

    def having(self, modality: Modality) -> pd.DataFrame:
        """Clips that have what a network of this modality needs."""
        wanted = pd.Series(True, index=self.clips.index)
        if modality != "audio":
            wanted &= self.clips["has_video"]
        if modality != "video":
            wanted &= self.clips["has_audio"]
        return self.clips[wanted]

    def frames(self, clip_id: str) -> NDArray[np.uint8]:
        """Face crops of a clip, `(T, H, W, 3)` RGB."""
        return read_faces(self.layout.faces, clip_id).frames


class Draw(NamedTuple):
    """Asks a dataset for a clip augmented with a seed of its own.

    So what a clip looks like does not depend on the number of loader workers, nor on whether the run was resumed.
    """

    clip: int
    """Its place in the dataset."""
    seed: int


class ClipDataset(Dataset[Batch]):
    """Clips of some actors, for one modality or both.

    `dataset[index]` is the clip as it is; `dataset[Draw(…)]` is augmented as `phase` says.
    """

    def __init__(
        self,
        features: Features,
        actors: Sequence[int],
        modality: Modality,
        normalization: Normalization,
        phase: PhaseSettings | None = None,
    ) -> None:
        clips = features.having(modality)
        self.clips = clips[clips["actor"].isin(actors)].reset_index(drop=True)
        self._ids: list[str] = self.clips["clip_id"].tolist()
        self._labels: list[int] = self.clips["label"].tolist()
        self._features, self._normalization = features, normalization
        self._frames: list[Tensor] | None = None
        self._modality = modality
        self._augment_video: VideoAugment | None = None
        self._augment_audio: AudioAugment | None = None
        if modality != "audio" and len(self.clips):
            first = self._read_frames(0)
            if phase is not None and phase.augment_video:
                self._augment_video = VideoAugment(first.shape[-1])
            if first.nbytes * len(self.clips) <= MEMORY_LIMIT:
                self._frames = [self._read_frames(index) for index in range(len(self.clips))]
        if phase is not None and phase.augment_audio and modality != "video" and len(self.clips):
            self._augment_audio = AudioAugment(features.mfcc[self._ids[0]].shape[1])

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int | Draw) -> Batch:
        if isinstance(item, int):
            return self._row(item)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(item.seed)
            return self._row(item.clip, self._augment_video, self._augment_audio)

    def _row(self, index: int, video: VideoAugment | None = None, audio: AudioAugment | None = None) -> Batch:
        row: Batch = {"label": torch.tensor(self._labels[index])}
        if self._modality != "audio":
            frames = self._frames[index] if self._frames is not None else self._read_frames(index)
            row["frames"] = self._normalization.frames(video(frames) if video else frames)
        if self._modality != "video":
            mfcc = self._normalization.mfcc(torch.tensor(self._features.mfcc[self._ids[index]]))
            row["mfcc"] = audio(mfcc) if audio else mfcc
        return row

    def _read_frames(self, index: int) -> Tensor:
        frames = self._features.frames(self._ids[index])
        return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous()  # (T, 3, H, W)


class EpochSampler(Sampler[Draw]):
    """A shuffle that depends on seed and epoch only, so that a resumed run draws what the first one would have."""

    def __init__(self, length: int, seed: int) -> None:
        self._length, self._seed, self._epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self._seed * 100_003 + self._epoch)
        order = torch.randperm(self._length, generator=generator).tolist()
        seeds = torch.randint(2**62, (self._length,), generator=generator).tolist()
        yield from map(Draw, order, seeds)


class FoldData(lightning.LightningDataModule):
    """Who is trained on and who chooses the epoch, as loaders for one phase of a fold."""

    def __init__(
        self,
        features: Features,
        fold: Fold,
        phase: PhaseSettings,
        modality: Modality,
        normalization: Normalization,
        seed: int,
        loader_workers: int,
    ) -> None:
        super().__init__()
        self._phase, self._seed, self._workers = phase, seed, loader_workers
        self.train = ClipDataset(features, fold.train, modality, normalization, phase)
        self.selection = ClipDataset(features, fold.selection, modality, normalization)
        for name, dataset in (("training", self.train), ("selection", self.selection)):
            if not len(dataset):
                raise InputError(
                    f"fold {fold.index} has no {name} clips with {modality}; check the clips left out, or change "
                    "train.folds in params.yaml."
                )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled and augmented. A last batch of one clip, which batch norm can't use, is dropped."""
        sampler = EpochSampler(len(self.train), self._seed)
        return self._loader(self.train, sampler=sampler, drop_last=len(self.train) % self._phase.batch_size == 1)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The actors that choose the epoch."""
        return self._loader(self.selection)

    def _loader(
        self, dataset: ClipDataset, sampler: EpochSampler | None = None, drop_last: bool = False
    ) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            batch_size=self._phase.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else each new iterator takes a number from the generator that dropout uses
        )
