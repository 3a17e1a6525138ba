"""Faces with the network's attention over them.

Shapes: T frames, H x W pixels; T' x H' x W' positions of the video map.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cfnsr.predict.predictor import Explanation

_OPACITY = 0.7  # of the strongest attention
_SPAN = 2.0  # minimum range of the scale in multiples of uniform attention, so that nearly uniform looks uniform


Image = NDArray[np.uint8]
"""(H, W, 3), RGB."""
Faces = list[tuple[Image, Image | None]]
"""Face crops, each with the picture of its attention."""


def faces_with_attention(explanation: Explanation, count: int) -> Faces:
    """Return evenly spaced faces of the explained moment with the attention over them.

    Args:
        explanation: of a clip.
        count: maximum number of faces.

    Returns:
        Each face crop with a grey copy that has the attention in colour, or None if the network has no cross-modal
        attention. Empty for a moment without a face.
    """
    frames, attention = explanation.frames, explanation.attention
    if frames is None:
        return []
    shown = np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int).tolist()
    if attention is None:
        return [(frames[index], None) for index in shown]
    heat = attention * attention[0].size  # 1: uniform
    heat = heat / max(heat.max(), _SPAN)
    return [(frames[index], _overlay(frames[index], heat[index * len(heat) // len(frames)])) for index in shown]


def _overlay(face: Image, weights: NDArray[np.float32]) -> Image:
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    heat = cv2.resize(weights, face.shape[1::-1], interpolation=cv2.INTER_NEAREST).clip(0, 1)  # (H, W)
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = _OPACITY * heat[..., None]
    return ((1 - opacity) * grey + opacity * colours).astype(np.uint8)
