"""Cross-validation folds by actor: no face or voice is in both the training and the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cfnsr.config.sections import TrainSettings
from cfnsr.errors import InputError

SELECTION = {"honest": "validation actors", "published": "test actors"}
"""Actors whose accuracy selects the epoch, by protocol."""

CLAIM = {
    "honest": "test actors neither trained on nor used to choose the epoch",
    "published": "best test epoch: chosen on the test actors, so optimistic",
}
"""What the results of each protocol mean; shown beside them everywhere."""
UNKNOWN = "; begun with weights that may have been trained on them"
TUNED = "; settings searched on validation actors, who are tested in other folds"
"""Both are appended to a claim where they apply."""


@dataclass(frozen=True)
class Fold:
    """Actors of one fold; the three groups are disjoint."""

    index: int
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    @property
    def selection(self) -> tuple[int, ...]:
        """Actors that select the epoch: the validation actors or, under protocol `published`, the test actors."""
        return self.validation or self.test

    def seed(self, run: int) -> int:
        """Seed of initialization and training, from the run's seed; unique among runs with up to 101 folds."""
        return run * 101 + self.index


def actor_folds(actors: Sequence[int], settings: TrainSettings) -> list[Fold]:
    """Split actors into folds of consecutive test actors.

    Under protocol `honest`, the actors that follow the test actors (cyclically) are the validation set. Under protocol
    `published` there is none, and the epoch is selected on the test actors.

    Args:
        actors: all actors with usable clips, in order.
        settings: `folds`, `actors_per_fold`, `validation_actors` and `protocol` are used.

    Raises:
        InputError: there are too few actors for these folds, or none left to train on.
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
