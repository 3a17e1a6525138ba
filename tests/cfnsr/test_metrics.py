"""The figures against scikit-learn and against cases that can be worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from cfnsr.metrics import bootstrap_intervals, class_recall, compare, confusion_matrix, reliability, scores


def random_predictions(n: int = 400, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, n)
    probabilities = rng.dirichlet(np.ones(8), n) + np.eye(8)[labels] * rng.uniform(0, 0.6, (n, 1))
    return probabilities / probabilities.sum(axis=1, keepdims=True), labels


def test_figures_agree_with_scikit_learn():
    probabilities, labels = random_predictions()
    predicted = probabilities.argmax(axis=1)
    figures = scores(probabilities, labels)
    assert figures.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert figures.uar == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert figures.f1 == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_uar_leaves_out_classes_that_do_not_occur():
    figures = scores(np.eye(8)[[0, 0, 1, 1]], np.array([0, 0, 0, 1]))
    assert figures.accuracy == pytest.approx(3 / 4)
    assert figures.uar == pytest.approx((2 / 3 + 1) / 2)


def test_ece_is_the_gap_between_confidence_and_accuracy():
    probabilities = np.full((10, 8), 0.02 / 7)
    probabilities[:, 3] = 0.98
    labels = np.array([3] * 7 + [0] * 3)
    assert scores(probabilities, labels).ece == pytest.approx(0.98 - 0.7, abs=1e-6)


def test_points_of_the_reliability_diagram_are_those_of_the_ece():
    probabilities, labels = random_predictions()
    confidence, right, clips = reliability(probabilities, labels)
    assert clips.sum() == len(labels)
    assert (clips > 0).all()
    assert clips @ right == pytest.approx((probabilities.argmax(axis=1) == labels).sum())
    assert clips @ confidence == pytest.approx(probabilities.max(axis=1).sum())
    ece = clips @ np.abs(right - confidence) / len(labels)
    assert ece == pytest.approx(scores(probabilities, labels).ece, abs=1e-5)


def test_confusion_rows_are_the_true_classes():
    matrix = confusion_matrix(np.eye(8)[[2, 2]], np.array([5, 2]))
    assert matrix[5, 2] == matrix[2, 2] == 1
    assert class_recall(matrix)[5] == 0
    assert class_recall(matrix)[0] is None


def test_interval_resamples_actors_not_clips():
    """Ten actors, each all right or all wrong: the interval must be as wide as ten coin tosses, not as 400."""
    labels = np.tile(np.arange(8), 50)
    actors = np.repeat(np.arange(10), 40)
    right = np.eye(8)[labels]
    wrong = np.eye(8)[(labels + 1) % 8]
    probabilities = np.where((actors % 2 == 0)[:, None], right, wrong)
    low, high = bootstrap_intervals(probabilities, labels, actors)["accuracy"]
    assert low <= 0.2
    assert high >= 0.8
    assert bootstrap_intervals(probabilities, labels, actors) == bootstrap_intervals(probabilities, labels, actors)


def test_comparison_is_paired():
    """A beats B by one clip of every actor, on actors of very different difficulty: that is certain."""
    actors = np.repeat(np.arange(12), 20)
    place = np.tile(np.arange(20), 12)
    easy = 2 + actors  # clips of an actor that both get right
    comparison = compare(place < easy + 1, place < easy, actors)
    assert comparison.difference == pytest.approx(1 / 20)
    assert comparison.interval == pytest.approx((1 / 20, 1 / 20))
    assert comparison.confidence == 1
    worse = compare(place < easy, place < easy + 1, actors)
    assert worse.difference == pytest.approx(-1 / 20)
    assert worse.confidence == 0


def test_equal_networks_are_a_toss_up():
    right = np.random.default_rng(0).random(200) < 0.7
    comparison = compare(right, right, np.repeat(np.arange(10), 20))
    assert (comparison.difference, comparison.interval, comparison.confidence) == (0, (0, 0), 0.5)


def test_a_gain_on_one_actor_only_is_uncertain():
    actors = np.repeat(np.arange(10), 20)
    right = np.tile(np.arange(20) < 10, 10)
    better = right | (actors == 3)
    comparison = compare(better, right, actors)
    assert comparison.difference == pytest.approx(0.05)
    assert comparison.interval[0] == 0
