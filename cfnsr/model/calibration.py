"""Temperature scaling: confidences that mean what they say (Guo et al., ICML 2017).

Shapes: N clips, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TEMPERATURES = (0.05, 20.0)
"""Bounds of the search."""


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities `(N, K)` of logits `(N, K)`; above 1 the temperature takes confidence away."""
    scaled = np.asarray(logits, np.float64) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature that makes the labels most likely.

    A label counts (N + 1) / (N + 2) and the other classes share the rest (Platt, "Probabilistic outputs for support
    vector machines", 1999): where all of a few clips are right, the network is almost sure then, and not entirely.

    Args:
        logits: (N, K) of clips that neither trained the network nor test it.
        labels: (N,)
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    clips, classes = logits.shape
    targets = np.full(logits.shape, 1 / (clips + 2) / (classes - 1))
    targets[np.arange(clips), labels] = (clips + 1) / (clips + 2)

    def surprise(log_temperature: float) -> float:
        return -float((targets * log_softmax(logits / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    found = minimize_scalar(surprise, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def recalibrated(probabilities: NDArray[np.floating], temperature: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities `(N, K)` as they are at another temperature, one a clip `(N,)`."""
    return softmax(np.log(np.maximum(probabilities, 1e-300)) / np.asarray(temperature)[:, None])
