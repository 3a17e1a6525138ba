"""The figures against scikit-learn and against cases that can be worked out by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import norm, t
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from torchmetrics.functional.classification import multiclass_calibration_error

from cfnsr.evaluation.metrics import (
    MIN_SPEAKERS,
    bootstrap_intervals,
    class_recall,
    compare,
    confusion_matrix,
    interval_in_words,
    reliability,
    scores,
)
from cfnsr.training.task import UnweightedRecall


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


def test_the_uar_of_training_is_the_same():
    metric = UnweightedRecall(8)
    for predicted, label in (([0, 0], [0, 0]), ([1, 1], [0, 1])):  # in two batches
        metric.update(torch.tensor(predicted), torch.tensor(label))
    assert metric.compute().item() == pytest.approx((2 / 3 + 1) / 2)
    probabilities, labels = random_predictions()
    labels[labels == 5] = 4  # which is predicted, but does not occur
    metric.reset()
    metric.update(torch.tensor(probabilities), torch.tensor(labels))
    assert metric.compute().item() == pytest.approx(scores(probabilities, labels).uar)


def test_points_of_the_reliability_diagram_are_those_of_the_ece():
    probabilities, labels = random_predictions()
    confidence, right, clips = reliability(probabilities, labels)
    assert clips.sum() == len(labels)
    assert (clips > 0).all()
    assert clips @ right == pytest.approx((probabilities.argmax(axis=1) == labels).sum())
    assert clips @ confidence == pytest.approx(probabilities.max(axis=1).sum())
    assert len(clips) > 5
    ours, target = torch.tensor(probabilities, dtype=torch.float32), torch.tensor(labels)
    theirs = multiclass_calibration_error(ours, target, num_classes=8, n_bins=15)
    assert scores(probabilities, labels).ece == pytest.approx(float(theirs), abs=1e-5)


def test_whoever_is_entirely_sure_is_in_the_last_bin():
    """Two clips of confidence 1, one of them wrong, and one of 0.95 that is right."""
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0], [0.95, 0.05]])
    confidence, right, clips = reliability(probabilities, np.array([0, 1, 0]))
    assert (confidence, right, clips) == (pytest.approx([2.95 / 3]), pytest.approx([2 / 3]), [3])
    assert scores(probabilities, np.array([0, 1, 0])).ece == pytest.approx(0.95 / 3)


def test_confusion_rows_are_the_true_classes():
    matrix = confusion_matrix(np.eye(8)[[2, 2]], np.array([5, 2]))
    assert matrix[5, 2] == matrix[2, 2] == 1
    assert class_recall(matrix)[5] == 0
    assert class_recall(matrix)[0] is None


def test_interval_resamples_speakers_not_clips():
    """Ten speakers, each all right or all wrong: the interval must be as wide as ten coin tosses, not as 400."""
    labels = np.tile(np.arange(8), 50)
    speakers = np.repeat(np.arange(10), 40)
    right = np.eye(8)[labels]
    wrong = np.eye(8)[(labels + 1) % 8]
    probabilities = np.where((speakers % 2 == 0)[:, None], right, wrong)
    low, high = bootstrap_intervals(probabilities, labels, speakers)["accuracy"]
    assert low <= 0.2
    assert high >= 0.8
    assert bootstrap_intervals(probabilities, labels, speakers) == bootstrap_intervals(probabilities, labels, speakers)


def test_comparison_is_paired():
    """A beats B by one clip of every speaker, on speakers of very different difficulty: as sure as twelve can be."""
    speakers = np.repeat(np.arange(12), 20)
    place = np.tile(np.arange(20), 12)
    easy = 2 + speakers  # clips of a speaker that both get right
    comparison = compare(place < easy + 1, place < easy, speakers)
    assert comparison.difference == pytest.approx(1 / 20)
    assert comparison.interval == pytest.approx((1 / 20, 1 / 20))
    assert 0.99 < comparison.confidence < 1
    worse = compare(place < easy, place < easy + 1, speakers)
    assert worse.difference == pytest.approx(-1 / 20)
    assert 0 < worse.confidence < 0.01


def test_equal_networks_are_a_toss_up():
    right = np.random.default_rng(0).random(200) < 0.7
    comparison = compare(right, right, np.repeat(np.arange(10), 20))
    assert (comparison.difference, comparison.interval, comparison.confidence) == (0, (0, 0), 0.5)


def test_a_gain_on_one_speaker_only_is_uncertain():
    speakers = np.repeat(np.arange(10), 20)
    right = np.tile(np.arange(20) < 10, 10)
    better = right | (speakers == 3)
    comparison = compare(better, right, speakers)
    assert comparison.difference == pytest.approx(0.05)
    assert comparison.interval[0] == 0
    assert 0.5 < comparison.confidence < 0.9


@pytest.mark.parametrize("count", [5, 6, 12, 24])
def test_interval_and_confidence_are_those_of_students_t(count):
    """For gains that are nearly normal the two must agree; a plain bootstrap of five speakers is a third narrower."""
    clips = 400
    gains = norm.ppf((np.arange(count) + 0.5) / count) * 0.05 + 0.04  # of a speaker
    speakers = np.repeat(np.arange(count), clips)
    a, b = [], []
    for gain in np.round(gains * clips).astype(int):
        a.append(np.arange(clips) < 200 + max(gain, 0))
        b.append(np.arange(clips) < 200 + max(-gain, 0))
    comparison = compare(np.concatenate(a), np.concatenate(b), speakers)
    gains = np.round(gains * clips) / clips
    error = gains.std(ddof=1) / np.sqrt(count)
    low, high = t.interval(0.95, count - 1, gains.mean(), error)
    width = comparison.interval[1] - comparison.interval[0]
    assert width == pytest.approx(high - low, rel=0.12)
    assert comparison.confidence == pytest.approx(t.cdf(gains.mean() / error, count - 1), abs=0.02)


@pytest.mark.parametrize("count", [5, 12])
def test_intervals_cover_the_truth_and_equal_networks_rarely_pass(count):
    """Synthetic: gains of speakers drawn around nothing. A plain bootstrap covers 85 % with five, 91 % with 12."""
    rng, trials, clips = np.random.default_rng(1), 500, 200
    speakers = np.repeat(np.arange(count), clips)
    covered = passed = 0
    for _ in range(trials):
        gains = np.clip(rng.normal(0, 0.1, count) * clips, -99, 99).round().astype(int)
        place = np.tile(np.arange(clips), count)
        a, b = (place < 100 + np.repeat(np.maximum(sign * gains, 0), clips) for sign in (1, -1))
        comparison = compare(a, b, speakers)
        covered += comparison.interval[0] <= 0 <= comparison.interval[1]
        passed += comparison.confidence >= 0.95
    assert 0.90 < covered / trials < 0.98
    assert passed / trials < 0.08


def test_a_few_speakers_say_nothing_of_others():
    """Four speakers all favour A, which says less than 95 %; resampling them would say that it is certain."""
    labels = np.tile(np.arange(8), 2 * MIN_SPEAKERS)
    speakers = np.repeat(np.arange(MIN_SPEAKERS), 16)
    right = np.ones(len(labels), bool)
    few = speakers < MIN_SPEAKERS - 1
    probabilities = np.eye(8)[labels]
    assert bootstrap_intervals(probabilities[few], labels[few], speakers[few]) == {}
    assert bootstrap_intervals(probabilities, labels, speakers)["accuracy"] == (1, 1)
    comparison = compare(right[few], ~right[few], speakers[few])
    assert (comparison.difference, comparison.interval, comparison.confidence) == (1, None, None)
    assert (comparison.clips, comparison.speakers) == (16 * (MIN_SPEAKERS - 1), MIN_SPEAKERS - 1)
    # Five that all favour A: by chance once in 32 times.
    assert 0.95 < compare(right, ~right, speakers).confidence < 1
    assert interval_in_words(comparison.interval) == "-"


def test_an_interval_in_words():
    assert interval_in_words((0.572, 0.6641)) == "57.2% to 66.4%"
    assert interval_in_words([-0.003, 0.027], "+.1%") == "-0.3% to +2.7%"
