"""The clips of a fold as batches for training, in an order that depends on the seed and the epoch only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, Sampler

from cfnsr.config.sections import MfccSettings, Modality, PhaseSettings, TrainSettings
from cfnsr.corpus.folds import Fold
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.model.normalize import Normalization
from cfnsr.training.dataset import Batch, ClipDataset, Draw


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
