"""Boxes from OpenFace landmark files: RAVDESS has one CSV per clip in `FacialTracking_Actors_01-24.zip`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cfnsr.errors import ClipError
from cfnsr.features.faces.track import BoxSource, FaceTrack, interpolate

_POINTS = 68  # OpenFace's 2-D landmarks x_0 … x_67, y_0 … y_67, from the brows to the chin
# The landmarks end at the brows: the forehead above them is another third of the face (the classical facial
# thirds), thus half of the distance from brows to chin. Boxes of detectors reach to about the middle of the forehead.
_FOREHEAD = 0.25


def track_from_landmarks(path: Path, times: Sequence[float]) -> FaceTrack | None:
    """The box of the face at each of the times.

    Frames in which OpenFace found the face count as detected; the others are interpolated between those.

    Args:
        path: CSV with the columns timestamp (s), success, x_0 … x_67 and y_0 … y_67 (pixels).
        times: seconds from the start of the clip.

    Returns:
        The track; None when OpenFace found no face in any frame.

    Raises:
        ClipError: the file is missing or not such a CSV.
    """
    import pandas as pd

    xs, ys = ([f"{axis}_{point}" for point in range(_POINTS)] for axis in "xy")
    try:
        table = pd.read_csv(path, skipinitialspace=True)
        table = table.rename(columns=str.strip)[["timestamp", "success", *xs, *ys]].astype(np.float64)
    except FileNotFoundError:
        raise ClipError(f"landmark file {path.name} is missing") from None
    except (KeyError, ValueError, UnicodeDecodeError):
        raise ClipError(f"landmark file {path.name} is not an OpenFace CSV with 2-D landmarks") from None
    table = table.sort_values("timestamp", kind="stable")
    success = table["success"].to_numpy() > 0.5
    if not success.any():
        return None

    stamps, x, y = table["timestamp"].to_numpy(), table[xs].to_numpy(), table[ys].to_numpy()  # (R,), (R, 68), (R, 68)
    left, right, brows, chin = x.min(axis=1), x.max(axis=1), y.min(axis=1), y.max(axis=1)
    top = brows - _FOREHEAD * (chin - brows)
    rows = np.stack([left, top, right - left, chin - top], axis=1)[success]
    boxes = interpolate(np.array(times), stamps[success], rows)

    next_to = np.searchsorted((stamps[1:] + stamps[:-1]) / 2, times)
    between = (np.array(times) >= stamps[success][0]) & (np.array(times) <= stamps[success][-1])
    flags = tuple(
        BoxSource.DETECTED if success[row] else BoxSource.INTERPOLATED if inside else BoxSource.NOT_FOUND
        for row, inside in zip(next_to, between, strict=True)
    )
    return FaceTrack(boxes, flags)
