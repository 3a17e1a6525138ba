"""The clips of a fold as batches for training, in an order that depends only on the seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from cfnsr.config.load import Settings
from cfnsr.config.sections import Modality, PhaseSettings
from cfnsr.corpus.folds import Fold
from cfnsr.errors import InputError
from cfnsr.features.cached import Features
from cfnsr.model.normalize import Normalization
from cfnsr.training.dataset import Batch, ClipDataset, Draw
from cfnsr.training.result import PHASE_OF


class EpochSampler(Sampler[Draw]):
    """Shuffles by seed and epoch only, so that a resumed run draws the same clips as an uninterrupted one.

    Each of several processes takes every `processes`-th clip of the same shuffle: together, their batches are those of
    one process with larger batches. The clips of an incomplete last round are skipped; they differ from epoch to epoch.

    Args:
        length: number of clips.
        seed: of the shuffle.
        rank: of this process.
        processes: number of processes that train together.
        weights: (length,) chances of each clip to be drawn, with replacement; None: each clip is drawn once.
    """

    def __init__(
        self, length: int, seed: int, rank: int = 0, processes: int = 1, weights: Tensor | None = None
    ) -> None:
        self._length, self._seed, self._epoch, self._weights = length, seed, 0, weights
        self._rank, self._processes = rank, processes

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length // self._processes

    def __iter__(self) -> Iterator[Draw]:
        generator = torch.Generator().manual_seed(self._seed * 100_003 + self._epoch)
        if self._weights is None:
            order = torch.randperm(self._length, generator=generator).tolist()
        else:
            order = torch.multinomial(self._weights, self._length, replacement=True, generator=generator).tolist()
        seeds = torch.randint(2**62, (self._length,), generator=generator).tolist()
        own = slice(self._rank, len(self) * self._processes, self._processes)
        yield from map(Draw, order[own], seeds[own])


class FoldData(lightning.LightningDataModule):
    """The loaders of one phase of a fold: training clips, clips that choose the epoch, and clips that are only watched.

    Args:
        features: the cached features.
        fold: the speakers of each group.
        settings: the profile.
        modality: of the network.
        phase: settings of the phase.
        normalization: of the network.

    Attributes:
        seed: of the fold.
        class_weights: (K,) of the training loss, or None, see `train.balance`.
        smooth_epochs: number of epochs whose scores are averaged to choose the best.
        description: for the progress bar.

    Raises:
        InputError: there are no training or selection clips, or a label is missing from the training clips.
    """

    def __init__(
        self,
        features: Features,
        fold: Fold,
        settings: Settings,
        modality: Modality,
        phase: PhaseSettings,
        normalization: Normalization,
    ) -> None:
        super().__init__()
        train = settings.params.train
        self.phase, self.seed = phase, fold.seed(train.seed)
        # If the test speakers choose the epoch, as published, their best single epoch is reported.
        self.smooth_epochs = train.smooth_epochs if fold.validation else 1
        self.description = f"fold {fold.index} {PHASE_OF[modality]}"
        self._workers = train.loader_workers
        self.train = ClipDataset(features, fold.train, modality, normalization, phase, settings.params.mfcc)
        self.selection = ClipDataset(features, fold.selection, modality, normalization)
        # If the test speakers choose the epoch, as published, they are scored already.
        watched = fold.test if train.watch_test and fold.validation else ()
        self.watched = ClipDataset(features, watched, modality, normalization)
        for name, dataset in (("training", self.train), ("selection", self.selection)):
            if not len(dataset):
                raise InputError(
                    f"fold {fold.index} has no {name} clips with {modality}; check the excluded clips, or change "
                    "train.folds in params.yaml."
                )
        missing = sorted(set(features.having(modality)["label"]) - set(self.train.clips["label"]))
        if missing:
            raise InputError(
                f"fold {fold.index} has no training clip of {', '.join(missing)}; "
                "add speakers or clips, or change train.folds in params.yaml."
            )

        labels = features.classes(self.train.clips)
        weights = torch.tensor(len(labels) / np.bincount(labels, minlength=len(features.labels)) / len(features.labels))
        self.class_weights = weights.float() if train.balance == "loss" else None
        self._clip_weights = weights[labels] if train.balance == "sampling" else None

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled and augmented. A last batch of a single clip, which batch norm can't use, is dropped."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        sampler = EpochSampler(len(self.train), self.seed, rank, processes, self._clip_weights)
        return self._loader(self.train, sampler, drop_last=len(sampler) % self.phase.batch_size == 1)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """The clips that choose the epoch, then those that are only watched."""
        rank, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        # Each process scores its own part; padding to equal parts would score clips twice.
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
            batch_size=self.phase.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=dict,  # the dataset returns whole batches
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # otherwise each new iterator advances the generator that dropout uses
        )
