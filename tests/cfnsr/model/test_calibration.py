"""Temperature scaling recovers known temperatures, and stays moderate if there are few clips."""

import numpy as np
import pytest

from cfnsr.evaluation.metrics import scores
from cfnsr.model.calibration import TEMPERATURES, fit_temperature, recalibrated, scaled_softmax


def calibrated_network(clips: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (clips, 8) whose softmax is the truth, and labels drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (clips, 8))
    return logits, np.array([rng.choice(8, p=each) for each in scaled_softmax(logits)])


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_of_scaled_logits_is_recovered(factor):
    logits, labels = calibrated_network(4000)
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.1)


def test_calibration_lowers_the_ece_of_unseen_clips():
    logits, labels = calibrated_network(4000)
    unseen, truth = calibrated_network(4000, seed=1)
    uncalibrated = scaled_softmax(unseen * 4)
    scaled = recalibrated(uncalibrated, np.full(len(unseen), fit_temperature(logits * 4, labels)))
    assert scores(uncalibrated, truth).ece > 0.15
    assert scores(scaled, truth).ece < 0.03
    assert (scaled.argmax(axis=1) == uncalibrated.argmax(axis=1)).all()


@pytest.mark.parametrize("clips", [20, 60, 240])
def test_the_confidence_stays_below_1_if_all_clips_are_right(clips):
    labels = np.arange(clips) % 8
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 0.5, (clips, 8)) + 6 * np.eye(8)[labels]
    assert (logits.argmax(axis=1) == labels).all()
    temperature = fit_temperature(logits, labels)
    assert TEMPERATURES[0] * 2 < temperature < TEMPERATURES[1] / 2
    # Rule of succession: after so many right answers the next one is right with this probability.
    assert scaled_softmax(logits, temperature).max(axis=1).mean() == pytest.approx((clips + 1) / (clips + 2), abs=0.01)


def test_the_temperature_is_bounded():
    logits, labels = calibrated_network(200)
    assert fit_temperature(logits * 1e4, labels) == pytest.approx(TEMPERATURES[1], rel=0.01)
