"""Figures of a set of predictions: WAR, UAR, macro F1, ECE, and intervals that resample actors.

Shapes: N clips, K classes, A actors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 10_000
MIN_ACTORS = 5
"""For an interval. That all of four actors favour one of two equal networks happens once in sixteen times, too often to
be 95 % sure of anything; resampling would not show it, because it draws the same four again and again."""
COVERAGE = 0.95
"""Of the intervals."""
ECE_BINS = 15  # Guo et al., ICML 2017


@dataclass(frozen=True)
class Scores:
    """Figures of one set of predictions; shares of 1."""

    accuracy: float
    """WAR: share of clips that are right."""
    uar: float
    """Unweighted average recall: mean over the classes that occur."""
    f1: float
    """Macro F1 over the classes that occur or were predicted."""
    ece: float
    """Expected calibration error, 15 bins."""

    def to_dict(self) -> dict[str, float]:
        """As a flat dict."""
        return asdict(self)


def scores(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> Scores:
    """Figures of predictions.

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
    """Mean confidence, accuracy and clips of each bin of the ECE that has any: the points of a reliability diagram."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    clips = np.bincount(index, minlength=ECE_BINS)
    filled = clips > 0
    sums = [np.bincount(index, weights=values, minlength=ECE_BINS) for values in (confidence, right.astype(float))]
    return sums[0][filled] / clips[filled], sums[1][filled] / clips[filled], clips[filled]


def confusion_matrix(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Counts (K, K): rows are the true classes, columns the predicted ones."""
    import torch  # slow to import
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    predicted, target = torch.tensor(probabilities.argmax(axis=1)), torch.tensor(labels, dtype=torch.long)
    return multiclass_confusion_matrix(predicted, target, num_classes=probabilities.shape[1]).numpy()


def class_recall(matrix: NDArray[np.integer]) -> list[float | None]:
    """Recall of each class of a confusion matrix; None for a class that does not occur."""
    return [float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(matrix)]


def bootstrap_intervals(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], actors: NDArray[np.integer], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of accuracy, UAR and F1, resampling whole actors; empty with fewer than `MIN_ACTORS`.

    Clips of one actor are alike, so resampling clips would claim more certainty than there is.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,) class indices.
        actors: (N,)
        seed: of the resampling.
    """
    everyone = np.unique(actors)
    if len(everyone) < MIN_ACTORS:
        return {}
    by_actor = np.stack(
        [confusion_matrix(probabilities[actors == a], labels[actors == a]) for a in everyone]
    )  # (A,K,K)
    draws = np.random.default_rng(seed).integers(len(everyone), size=(BOOTSTRAP_DRAWS, len(everyone)))
    matrices = by_actor[draws].sum(axis=1)  # (draws, K, K)
    figures = {"accuracy": _accuracy(matrices), "uar": _uar(matrices), "f1": _f1(matrices)}
    return {name: _interval(values, len(everyone)) for name, values in figures.items()}


def _interval(resampled: NDArray[np.floating], actors: int) -> tuple[float, float]:
    """The expanded percentile interval of Hesterberg (The American Statistician 69(4), 2015).

    The plain one of few actors is too narrow, by the factor sqrt((n - 1) / n) and by taking the normal distribution for
    Student's; quantiles further out make up for both.
    """
    from scipy.stats import norm, t

    tail = norm.cdf(t.ppf((1 - COVERAGE) / 2, actors - 1) * np.sqrt(actors / (actors - 1)))
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _confidence(resampled: NDArray[np.floating], actors: int) -> float:
    """The confidence at which the one-sided interval of `_interval`'s kind still lies above 0.

    However few resamplings are against it, it stays below 1: they draw the same actors again and again.
    """
    from scipy.stats import norm, t

    above = (resampled > 0).sum() + (resampled == 0).sum() / 2
    share = (above + 0.5) / (len(resampled) + 1)
    return float(t.cdf(norm.ppf(share) * np.sqrt((actors - 1) / actors), actors - 1))


def interval_in_words(interval: Sequence[float] | None, form: str = ".1%") -> str:
    """An interval as it is shown, for example "57.2% to 66.4%"; "-" where there is none."""
    return "-" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


@dataclass(frozen=True)
class Comparison:
    """Is A more accurate than B on the same clips, and how sure is that."""

    accuracy_a: float
    accuracy_b: float
    difference: float
    """A minus B."""
    interval: tuple[float, float] | None
    """95 % of the difference, resampling actors; None with fewer than `MIN_ACTORS`."""
    confidence: float | None
    """How sure it is that A is better, from 0 to 1, by resampling actors; 0.5 if they are equal. None with fewer than
    `MIN_ACTORS`."""
    clips: int
    actors: int


def compare(
    right_a: NDArray[np.bool_], right_b: NDArray[np.bool_], actors: NDArray[np.integer], seed: int = 0
) -> Comparison:
    """Paired bootstrap over actors: every resampling scores both on the same actors, so what they share cancels out.

    Args:
        right_a: (N,) which clips A got right.
        right_b: (N,) the same of B, in the same order.
        actors: (N,)
        seed: of the resampling.
    """
    everyone, index = np.unique(actors, return_inverse=True)
    accuracy_a, accuracy_b = float(right_a.mean()), float(right_b.mean())
    figures = (accuracy_a, accuracy_b, accuracy_a - accuracy_b)
    if len(everyone) < MIN_ACTORS:
        return Comparison(*figures, None, None, len(actors), len(everyone))
    clips = np.bincount(index)  # (A,)
    gains = np.bincount(index, weights=right_a.astype(float) - right_b.astype(float))  # (A,)
    draws = np.random.default_rng(seed).integers(len(everyone), size=(BOOTSTRAP_DRAWS, len(everyone)))
    differences = gains[draws].sum(axis=1) / clips[draws].sum(axis=1)
    sure = _confidence(differences, len(everyone))
    return Comparison(*figures, _interval(differences, len(everyone)), sure, len(actors), len(everyone))


# These take confusion matrices (B, K, K), so that one figure and all bootstrap draws share their definition.


def _accuracy(matrices: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.trace(matrices, axis1=1, axis2=2) / matrices.sum(axis=(1, 2))


def _uar(matrices: NDArray[np.integer]) -> NDArray[np.float64]:
    return _mean_where(np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(axis=2))


def _f1(matrices: NDArray[np.integer]) -> NDArray[np.float64]:
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    return _mean_where(2 * hits, matrices.sum(axis=2) + matrices.sum(axis=1))


def _mean_where(numerator: NDArray[np.integer], denominator: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean over classes of the ratio, leaving out classes whose denominator is 0."""
    present = denominator > 0
    ratio = np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=present)
    return ratio.sum(axis=1) / present.sum(axis=1)
