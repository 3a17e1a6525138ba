"""Metrics of a set of predictions: WAR, UAR, macro F1, ECE, and confidence intervals by resampling speakers.

Shapes: N clips, K classes, A speakers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 10_000
MIN_SPEAKERS = 5
"""Smallest number of speakers for an interval. All of four speakers favour one of two equal networks once in 16 times,
too often for 95 % confidence, and resampling the same four speakers does not show it."""
COVERAGE = 0.95
"""Coverage of the intervals."""
ECE_BINS = 15  # Guo et al., ICML 2017


NAMES = {"accuracy": "accuracy (WAR)", "uar": "UAR", "f1": "macro F1", "ece": "ECE"}
"""Names of the metrics in tables."""


@dataclass(frozen=True)
class Scores:
    """Metrics of one set of predictions, from 0 to 1."""

    accuracy: float
    """WAR: share of clips that are predicted correctly."""
    uar: float
    """Unweighted average recall: mean over the classes that occur."""
    f1: float
    """Macro F1 over the classes that occur or are predicted."""
    ece: float
    """Expected calibration error, 15 bins."""


def scores(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> Scores:
    """Compute the metrics of predictions.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,) class indices.
    """
    matrix = confusion_matrix(probabilities, labels)[None]
    confidence, right, clips = reliability(probabilities, labels)
    ece = float(clips @ np.abs(right - confidence) / len(labels))
    return Scores(_accuracy(matrix)[0], _uar(matrix)[0], _f1(matrix)[0], ece)


def reliability(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Compute mean confidence, accuracy and number of clips of each bin of the ECE that is not empty."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    clips = np.bincount(index, minlength=ECE_BINS)
    filled = clips > 0
    sums = [np.bincount(index, weights=values, minlength=ECE_BINS) for values in (confidence, right.astype(float))]
    return sums[0][filled] / clips[filled], sums[1][filled] / clips[filled], clips[filled]


def confusion_matrix(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Count predictions, (K, K): rows are true classes, columns are predicted classes."""
    import torch  # slow to import
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    predicted, target = torch.tensor(probabilities.argmax(axis=1)), torch.tensor(labels, dtype=torch.long)
    return multiclass_confusion_matrix(predicted, target, num_classes=probabilities.shape[1]).numpy()


def class_recall(matrix: NDArray[np.integer]) -> list[float | None]:
    """Compute the recall of each class of a confusion matrix; None for a class that does not occur."""
    return [float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(matrix)]


def bootstrap_intervals(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], speakers: NDArray[np.integer], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Compute 95 % intervals of accuracy, UAR and F1 by resampling speakers; empty with fewer than `MIN_SPEAKERS`.

    Clips of one speaker are correlated, so that resampling clips would give intervals that are too narrow.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,) class indices.
        speakers: (N,)
        seed: of the resampling.
    """
    unique = np.unique(speakers)
    if len(unique) < MIN_SPEAKERS:
        return {}
    by_speaker = np.stack(
        [confusion_matrix(probabilities[speakers == a], labels[speakers == a]) for a in unique]
    )  # (A,K,K)
    draws = np.random.default_rng(seed).integers(len(unique), size=(BOOTSTRAP_DRAWS, len(unique)))
    matrices = by_speaker[draws].sum(axis=1)  # (draws, K, K)
    figures = {"accuracy": _accuracy(matrices), "uar": _uar(matrices), "f1": _f1(matrices)}
    return {name: _interval(values, len(unique)) for name, values in figures.items()}


def _interval(resampled: NDArray[np.floating], speakers: int) -> tuple[float, float]:
    """The expanded percentile interval of Hesterberg (The American Statistician 69(4), 2015).

    With few speakers, the plain percentile interval is too narrow, by the factor sqrt((n - 1) / n) and because it
    follows the normal instead of Student's distribution; more extreme quantiles correct for both.
    """
    from scipy.stats import norm, t

    tail = norm.cdf(t.ppf((1 - COVERAGE) / 2, speakers - 1) * np.sqrt(speakers / (speakers - 1)))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _confidence(resampled: NDArray[np.floating], speakers: int) -> float:
    """The highest confidence at which the one-sided interval corresponding to `_interval` is above 0.

    It stays below 1 even if all resampled values are positive, because they all come from the same speakers.
    """
    from scipy.stats import norm, t

    above = (resampled > 0).sum() + (resampled == 0).sum() / 2
    share = (above + 0.5) / (len(resampled) + 1)
    return float(t.cdf(norm.ppf(share) * np.sqrt((speakers - 1) / speakers), speakers - 1))


def interval_in_words(interval: Sequence[float] | None, form: str = ".1%") -> str:
    """Format an interval, for example "57.2% to 66.4%"; "-" if there is none."""
    return "-" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


@dataclass(frozen=True)
class Comparison:
    """Whether A is more accurate than B on the same clips, and with what confidence."""

    accuracy_a: float
    accuracy_b: float
    difference: float
    """A minus B."""
    interval: tuple[float, float] | None
    """95 % interval of the difference by resampling speakers; None with fewer than `MIN_SPEAKERS`."""
    confidence: float | None
    """Confidence from 0 to 1 that A is better, by resampling speakers; 0.5 if both are equal. None with fewer than
    `MIN_SPEAKERS`."""
    clips: int
    speakers: int


def compare(
    right_a: NDArray[np.bool_], right_b: NDArray[np.bool_], speakers: NDArray[np.integer], seed: int = 0
) -> Comparison:
    """Paired bootstrap over speakers: each draw scores both on the same speakers, so that common effects cancel out.

    Args:
        right_a: (N,) which clips A predicted correctly.
        right_b: (N,) the same for B, in the same order.
        speakers: (N,)
        seed: of the resampling.
    """
    unique, index = np.unique(speakers, return_inverse=True)
    accuracy_a, accuracy_b = float(right_a.mean()), float(right_b.mean())
    figures = (accuracy_a, accuracy_b, accuracy_a - accuracy_b)
    if len(unique) < MIN_SPEAKERS:
        return Comparison(*figures, None, None, len(speakers), len(unique))
    clips = np.bincount(index)  # (A,)
    gains = np.bincount(index, weights=right_a.astype(float) - right_b.astype(float))  # (A,)
    draws = np.random.default_rng(seed).integers(len(unique), size=(BOOTSTRAP_DRAWS, len(unique)))
    differences = gains[draws].sum(axis=1) / clips[draws].sum(axis=1)
    confidence = _confidence(differences, len(unique))
    return Comparison(*figures, _interval(differences, len(unique)), confidence, len(speakers), len(unique))


# These take confusion matrices (B, K, K), so that a metric and its bootstrap draws share one definition.


def _accuracy(matrices: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.trace(matrices, axis1=1, axis2=2) / matrices.sum(axis=(1, 2))


def _uar(matrices: NDArray[np.integer]) -> NDArray[np.float64]:
    return _mean_where(np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(axis=2))


def _f1(matrices: NDArray[np.integer]) -> NDArray[np.float64]:
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    return _mean_where(2 * hits, matrices.sum(axis=2) + matrices.sum(axis=1))


def _mean_where(numerator: NDArray[np.integer], denominator: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean of the ratio over classes, excluding classes whose denominator is 0."""
    present = denominator > 0
    ratio = np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=present)
    return ratio.sum(axis=1) / present.sum(axis=1)
