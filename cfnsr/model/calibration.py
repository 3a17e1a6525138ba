"""Temperature scaling: confidences that match the accuracy (Guo et al., ICML 2017).

Shapes: N clips, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TEMPERATURES = (0.05, 20.0)
"""Bounds of the search."""


def scaled_softmax(
    logits: NDArray[np.floating], temperature: float | NDArray[np.floating] = 1.0
) -> NDArray[np.float64]:
    """Probabilities `(N, K)` of logits `(N, K)`.

    Args:
        logits: (N, K)
        temperature: one for all clips, or one per clip `(N, 1)`; above 1 it lowers the confidence.
    """
    from scipy.special import softmax

    return np.asarray(softmax(np.asarray(logits, np.float64) / temperature, axis=1))


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Find the temperature that maximises the likelihood of the labels.

    The target of a label is (N + 1) / (N + 2), and the other classes share the rest (Platt, "Probabilistic outputs for
    support vector machines", 1999): even if all of a few clips are correct, the confidence stays below 1.

    Args:
        logits: (N, K) of clips that are used neither to train nor to test the network.
        labels: (N,)
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    clips, classes = logits.shape
    targets = np.full(logits.shape, 1 / (clips + 2) / (classes - 1))
    targets[np.arange(clips), labels] = (clips + 1) / (clips + 2)

    def loss(log_temperature: float) -> float:
        return -float((targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def recalibrated(probabilities: NDArray[np.floating], temperature: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities `(N, K)` after scaling by one temperature per clip, `(N,)`."""
    return scaled_softmax(np.log(np.maximum(probabilities, 1e-300)), np.asarray(temperature)[:, None])
