"""Cached features as batches for training: the clips of a fold, augmented and normalised.

Shapes: N clips, T frames, H x W pixels, L MFCC frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import lightning
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cfnsr.augment import AudioAugment, VideoAugment
from cfnsr.config import MfccSettings, Modality, PhaseSettings, TrainSettings
from cfnsr.errors import InputError
from cfnsr.faces.store import read_faces
from cfnsr.folds import Fold
from cfnsr.layout import Layout
from cfnsr.manifest import faults, read_manifest
from cfnsr.mfcc import read_mfcc, read_views
from cfnsr.normalize import Normalization
from cfnsr.packed import left_out
from cfnsr.ravdess import EMOTIONS

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
        # In an order of its own: what is trained must not depend on the order of files on disk.
        usable = manifest[manifest["reason"] == ""].sort_values("clip_id", ignore_index=True)
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

    @property
    def landmark_share(self) -> float:
        """Share of the clips with a face whose boxes come from OpenFace landmarks, not from the detector."""
        faces = self.clips[self.clips["has_video"]]
        return float((faces["landmarks_path"] != "").mean()) if len(faces) else 0.0

    def views(self, clips: Sequence[str], settings: MfccSettings) -> NDArray[np.float16]:
        """What training clips are cut from, see `cfnsr.mfcc.views`, in the order of `clips`."""
        return read_views(self.layout.mfcc, clips, settings)

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
    """Clips of some actors, for one modality or both, read a batch at a time.

    `dataset.batch([index, …])` are clips as they are; `dataset.batch([Draw(…), …])` are augmented as `phase` says, the
    sound from the views that section `mfcc` describes.
    """

    def __init__(
        self,
        features: Features,
        actors: Sequence[int],
        modality: Modality,
        normalization: Normalization,
        phase: PhaseSettings | None = None,
        mfcc: MfccSettings | None = None,
    ) -> None:
        clips = features.having(modality)
        self.clips = clips[clips["actor"].isin(actors)].reset_index(drop=True)
        self._ids: list[str] = self.clips["clip_id"].tolist()
        self._labels = torch.tensor(self.clips["label"].tolist())
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
                assert mfcc is not None, "settings refuse augment_audio without mfcc.speeds"
                self._views = torch.from_numpy(features.views(self._ids, mfcc))
                self._augment_audio = AudioAugment(self._mfcc.shape[-1])

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, item: int | Draw) -> Batch:
        return self.batch([item])

    def __getitems__(self, items: Sequence[int | Draw]) -> Batch:
        """What a loader asks for: a batch at once, because single small tensors cost more than their content."""
        return self.batch(items)

    def batch(self, items: Sequence[int | Draw]) -> Batch:
        """Clips as one batch; without `Draw` they are not augmented."""
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
    """Seed what augmentation draws from, and not a GPU's generator, which draws the dropout."""
    torch.default_generator.manual_seed(seed)


class EpochSampler(Sampler[Draw]):
    """A shuffle that depends on seed and epoch only, so that a resumed run draws what the first one would have.

    With several processes, each takes every so many-th clip of the same shuffle: their batches together are those of
    one process with larger batches. What does not divide evenly is left out of the epoch, other clips each time.

    Args:
        length: clips.
        seed: of the shuffle.
        rank: of this process.
        processes: that train together.
    """

    def __init__(self, length: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        self._length, self._seed, self._epoch = length, seed, 0
        self._rank, self._processes = rank, processes

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length // self._processes

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self._seed * 100_003 + self._epoch)
        order = torch.randperm(self._length, generator=generator).tolist()
        seeds = torch.randint(2**62, (self._length,), generator=generator).tolist()
        mine = slice(self._rank, len(self) * self._processes, self._processes)
        yield from map(Draw, order[mine], seeds[mine])


class FoldData(lightning.LightningDataModule):
    """Who is trained on, who chooses the epoch and who is only watched, as loaders for one phase of a fold.

    Raises:
        InputError: nobody to train on or to choose by, or an emotion that no training clip shows.
    """

    def __init__(
        self,
        features: Features,
        fold: Fold,
        phase: PhaseSettings,
        modality: Modality,
        normalization: Normalization,
        seed: int,
        settings: TrainSettings,
        mfcc: MfccSettings,
    ) -> None:
        super().__init__()
        self._phase, self._seed, self._workers = phase, seed, settings.loader_workers
        self.train = ClipDataset(features, fold.train, modality, normalization, phase, mfcc)
        self.selection = ClipDataset(features, fold.selection, modality, normalization)
        # Where the test actors choose the epoch anyway, as published, there is nobody left to watch.
        watched = fold.test if settings.watch_test and fold.validation else ()
        self.watched = ClipDataset(features, watched, modality, normalization)
        for name, dataset in (("training", self.train), ("selection", self.selection)):
            if not len(dataset):
                raise InputError(
                    f"fold {fold.index} has no {name} clips with {modality}; check the clips left out, or change "
                    "train.folds in params.yaml."
                )
        absent = sorted(set(features.having(modality)["label"]) - set(self.train.clips["label"]))
        if absent:
            raise InputError(
                f"fold {fold.index} has no training clip that shows {', '.join(EMOTIONS[label] for label in absent)}; "
                "add actors or clips, or change train.folds in params.yaml."
            )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled and augmented. A last batch of one clip, which batch norm can't use, is dropped."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(self.train), self._seed, rank, processes)
        return self._loader(self.train, sampler, drop_last=len(sampler) % self._phase.batch_size == 1)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """The actors that choose the epoch, then those that are only watched."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        # Each process scores its part; none is scored twice, which padding to even parts would do.
        return [
            self._loader(dataset, range(rank, len(dataset), processes))
            for dataset in (self.selection, self.watched)
            if len(dataset)
        ]

    def _loader(
        self, dataset: ClipDataset, sampler: EpochSampler | Sequence[int], drop_last: bool = False
    ) -> DataLoader[Batch]:
        return DataLoader(
            dataset,
            batch_size=self._phase.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=as_it_is,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else each new iterator takes a number from the generator that dropout uses
        )


def as_it_is(batch: Any) -> Any:
    """For loaders of a dataset that makes whole batches."""
    return batch
