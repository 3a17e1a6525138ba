"""OpenFace landmark files made on the fly."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

FPS = 30  # OpenFace numbers and times the frames of a constant rate


def write_landmarks(
    path: Path,
    centers: Sequence[tuple[float, float]],
    success: Sequence[int],
    *,
    size: float = 100.0,
    space: str = " ",
) -> Path:
    """A row a frame; the 68 points fill a square of `size` pixels around each centre, and are 0 without success.

    `space` stands before all column names but the first, as in some versions of OpenFace.
    """
    grid = np.linspace(-size / 2, size / 2, 68)
    names = ["frame", "timestamp", "confidence", "success", "gaze_0_x"]
    names += [f"{axis}_{point}" for axis in "xy" for point in range(68)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([names[0], *(space + name for name in names[1:])])
        for number, ((x, y), found) in enumerate(zip(centers, success, strict=True)):
            points = [*(x + grid), *(y + grid)] if found else [0.0] * 136
            writer.writerow([number + 1, number / FPS, 0.98 * found, found, 0.1, *points])
    return path
