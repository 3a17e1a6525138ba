"""Cross-validation folds by speaker: no face or voice is in both the training and the test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cfnsr.config.sections import TrainSettings
from cfnsr.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

SELECTION = {"honest": "validation speakers", "published": "test speakers"}
"""Speakers whose accuracy selects the epoch, by protocol."""

CLAIM = {
    "honest": "test speakers neither trained on nor used to choose the epoch",
    "published": "best test epoch: chosen on the test speakers, so optimistic",
}
"""What the results of each protocol mean; shown beside them everywhere."""
UNKNOWN = "; begun with weights that may have been trained on them"
TUNED = "; settings searched on validation speakers, who are tested in other folds"
"""Both are appended to a claim where they apply."""


@dataclass(frozen=True)
class Fold:
    """Speakers of one fold; the three groups are disjoint."""

    index: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def selection(self) -> tuple[str, ...]:
        """Speakers that select the epoch: the validation speakers or, under protocol `published`, the test speakers."""
        return self.validation or self.test

    def seed(self, run: int) -> int:
        """Seed of initialization and training, from the run's seed; unique among runs with up to 101 folds."""
        return run * 101 + self.index


def make_folds(clips: pd.DataFrame, settings: TrainSettings) -> list[Fold]:
    """Divide the speakers of a corpus into folds.

    The test speakers of each fold are consecutive ones (`folds: 6`), those of a list (`folds: [[01, 02], [03, 04]]`),
    or those that the column `split` of the manifest gives (`folds: split`): `train`, `validation` and `test` for one
    fold, or else one name for the test speakers of each fold.

    Under protocol `honest`, the speakers that follow the test speakers (cyclically, in the order of the folds) are the
    validation set. Under protocol `published` there is none, and the epoch is selected on the test speakers.

    Args:
        clips: usable clips with the columns `speaker` and `split`.
        settings: `folds`, `speakers_per_fold`, `validation_speakers` and `protocol` are used.

    Raises:
        InputError: there are too few speakers for these folds, or none left to train on; or a speaker is unknown or in
            two folds or groups.
    """
    speakers = sorted(set(clips["speaker"]))
    if settings.folds == "split":
        groups = _groups(clips)
        if "test" in groups:
            return [_given_fold(groups, settings)]
        tested = list(groups.values())
    elif isinstance(settings.folds, tuple):
        tested = [list(test) for test in settings.folds]
        _check_listed(tested, speakers)
    else:
        tested = _consecutive(speakers, settings.folds, settings.speakers_per_fold)
    order = [speaker for test in tested for speaker in test]
    order += [speaker for speaker in speakers if speaker not in order]
    return [_fold(index, test, order, settings) for index, test in enumerate(tested)]


def _consecutive(speakers: Sequence[str], folds: int, size: int) -> list[list[str]]:
    if folds * size > len(speakers):
        raise InputError(
            f"{folds} folds of {size} test speakers need {folds * size} speakers, but only {len(speakers)} have usable "
            "clips; lower train.folds or train.speakers_per_fold in params.yaml, or add speakers."
        )
    return [list(speakers[index * size : (index + 1) * size]) for index in range(folds)]


def _check_listed(tested: Sequence[Sequence[str]], speakers: Sequence[str]) -> None:
    listed = [speaker for test in tested for speaker in test]
    for speaker in listed:
        if speaker not in speakers:
            raise InputError(
                f"train.folds in params.yaml lists the speaker {speaker!r}, who has no usable clip; there are "
                f"{', '.join(speakers)}."
            )
        if listed.count(speaker) > 1:
            raise InputError(f"train.folds in params.yaml lists the speaker {speaker!r} twice.")


def _groups(clips: pd.DataFrame) -> dict[str, list[str]]:
    """The speakers of each value of the column `split`."""
    groups = {name: sorted(set(group["speaker"])) for name, group in clips.groupby("split")}
    if "" in groups:
        clip = clips.loc[clips["split"] == "", "clip_id"].iloc[0]
        raise InputError(f"{clip} has no split in the table, which train.folds: split needs for every clip.")
    for speaker, values in clips.groupby("speaker")["split"].unique().items():
        if len(values) > 1:
            raise InputError(
                f"the speaker {speaker} is in the splits {' and '.join(sorted(values))}; a network would be tested on "
                "a voice or face that it knows: correct the column `split` of the table."
            )
    return groups


def _given_fold(groups: Mapping[str, list[str]], settings: TrainSettings) -> Fold:
    """The only fold of a corpus with the splits `train`, `test` and maybe `validation`."""
    if unknown := sorted(set(groups) - {"train", "validation", "test"}):
        raise InputError(f"the table has a split {unknown[0]!r} beside `test`; use train, validation and test.")
    train, validation, test = (groups.get(name, []) for name in ("train", "validation", "test"))
    if settings.protocol == "published" or not validation:
        return _fold(0, test, [*test, *validation, *train], settings)
    _check_some_left(train, len(test), len(validation), len(train) + len(test) + len(validation))
    return Fold(0, tuple(train), tuple(validation), tuple(test))


def _fold(index: int, test: Sequence[str], order: Sequence[str], settings: TrainSettings) -> Fold:
    start = order.index(test[0])
    others = [*order[start + len(test) :], *order[:start]]
    held_out = settings.validation_speakers if settings.protocol == "honest" else 0
    _check_some_left(others[held_out:], len(test), held_out, len(order))
    return Fold(index, tuple(sorted(others[held_out:])), tuple(sorted(others[:held_out])), tuple(sorted(test)))


def _check_some_left(train: Sequence[str], test: int, validation: int, total: int) -> None:
    if not train:
        raise InputError(
            f"{test} test and {validation} validation speakers leave none of {total} to train on; lower "
            "train.speakers_per_fold or train.validation_speakers in params.yaml."
        )
