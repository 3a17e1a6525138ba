import pytest

from cfnsr.config.sections import TrainSettings
from cfnsr.corpus.folds import actor_folds
from cfnsr.corpus.ravdess import ACTORS
from cfnsr.errors import InputError

HONEST = TrainSettings()
PUBLISHED = TrainSettings(protocol="published", folds=5)


@pytest.mark.parametrize("settings", [HONEST, PUBLISHED], ids=["honest", "published"])
def test_no_actor_is_in_two_groups(settings):
    for fold in actor_folds(ACTORS, settings):
        groups = [set(fold.train), set(fold.validation), set(fold.test)]
        assert sum(len(group) for group in groups) == len(set.union(*groups)) == len(ACTORS)


def test_honest_folds_test_everyone_once_on_consecutive_actors():
    folds = actor_folds(ACTORS, HONEST)
    assert [fold.test for fold in folds] == [tuple(range(k, k + 4)) for k in range(1, 25, 4)]
    assert [len(fold.validation) for fold in folds] == [4] * 6
    assert all(fold.selection == fold.validation for fold in folds)


def test_published_folds_never_test_the_last_four_and_choose_on_the_test_actors():
    folds = actor_folds(ACTORS, PUBLISHED)
    assert {actor for fold in folds for actor in fold.test} == set(range(1, 21))
    assert all(fold.selection == fold.test for fold in folds)


@pytest.mark.parametrize(
    ("actors", "settings", "message"),
    [
        ([1], HONEST, "need 24 actors, but only 1 have usable clips"),
        (ACTORS, TrainSettings(folds=1, actors_per_fold=20), "leave none of 24 to train on"),
    ],
)
def test_impossible_folds_are_refused(actors, settings, message):
    with pytest.raises(InputError, match=message):
        actor_folds(actors, settings)
