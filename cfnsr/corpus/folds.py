"""Who is trained on and who is tested: folds by actor, so that no voice or face is ever on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cfnsr.config.sections import TrainSettings
from cfnsr.errors import InputError

SELECTION = {"honest": "validation actors", "published": "test actors"}
"""Who chooses the epoch under each protocol."""

CLAIM = {
    "honest": "test actors neither trained on nor used to choose the epoch",
    "published": "best test epoch: chosen on the test actors, so optimistic",
}
"""What figures of each protocol are, to stand beside them wherever they are shown."""
UNKNOWN = "; begun with weights that may have been trained on them"
TUNED = "; settings searched on validation actors, who are tested in other folds"
"""Both are added to a claim where they are so."""


@dataclass(frozen=True)
class Fold:
    """Actors of one fold; the three groups share nobody."""

    index: int
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    @property
    def selection(self) -> tuple[int, ...]:
        """Actors that choose the epoch: the validation actors, or, as published, the test actors themselves."""
        return self.validation or self.test

    def seed(self, run: int) -> int:
        """Of the first weights and of what training draws, by the run's seed: no two folds of runs share it."""
        return run * 101 + self.index


def actor_folds(actors: Sequence[int], settings: TrainSettings) -> list[Fold]:
    """Split actors into folds of consecutive test actors.

    Protocol `honest`: the actors that follow the test actors (cyclically) are the validation set. Protocol `published`:
    there is none, and the epoch is chosen on the test actors.

    Args:
        actors: everyone with usable clips, in order.
        settings: `folds`, `actors_per_fold`, `validation_actors` and `protocol` are used.

    Raises:
        InputError: too few actors for these folds, or nobody left to train on.
    """
    folds, size = settings.folds, settings.actors_per_fold
    held_out = settings.validation_actors if settings.protocol == "honest" else 0
    if folds * size > len(actors):
        raise InputError(
            f"{folds} folds of {size} test actors need {folds * size} actors, but only {len(actors)} have usable "
            "clips; lower train.folds or train.actors_per_fold in params.yaml, or add actors to dataset.actors."
        )
    if size + held_out >= len(actors):
        raise InputError(
            f"{size} test and {held_out} validation actors leave none of {len(actors)} to train on; lower "
            "train.actors_per_fold or train.validation_actors in params.yaml."
        )
    result = []
    for index in range(folds):
        start = index * size
        rotated = [*actors[start:], *actors[:start]]
        test, validation, train = rotated[:size], rotated[size : size + held_out], rotated[size + held_out :]
        result.append(Fold(index, tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test))))
    return result
