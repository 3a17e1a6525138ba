"""Tracking one face through a clip: sparse detections, boxes between them interpolated and smoothed.

This is how the training features are made. `cfnsr.features.faces.follow` tracks all faces of a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import ClipError
from cfnsr.features.faces.detect import Boxes, Detector, is_near
from cfnsr.media.picture import Picture

Positions = NDArray[np.floating] | NDArray[np.integer]
"""Frame numbers, or times in seconds."""


class BoxSource(StrEnum):
    """Where the box of a frame comes from."""

    DETECTED = "detected"
    """The face was found in this very frame (by the detector or in the landmark file)."""
    INTERPOLATED = "interpolated"
    """The detector did not run on the frame; the box comes from a neighbouring detection."""
    NOT_FOUND = "not found"
    """No face was found in the frame, or in the detections on both sides; the box comes from further away."""


@dataclass(frozen=True)
class FaceTrack:
    """One face through the frames of a clip."""

    boxes: Boxes  # (T, 4)
    flags: tuple[BoxSource, ...]  # T


@dataclass
class _Candidate:
    """The detections of what seems to be one and the same face."""

    boxes: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by frame, in the order of detection

    @property
    def last(self) -> NDArray[np.float32]:
        return next(reversed(self.boxes.values()))

    @property
    def weight(self) -> tuple[int, float]:
        return len(self.boxes), float(np.mean([box[2] * box[3] for box in self.boxes.values()]))


def track_one_face(pictures: Sequence[Picture], detect: Detector, detections: int) -> FaceTrack:
    """Track the face that is detected most often, the largest of several.

    The detector runs on `detections` pictures evenly over the clip, from the first to the last; if it finds nothing
    there, on all others too.

    Args:
        pictures: T pictures in the order of time.
        detect: the detector.
        detections: number of pictures that it runs on.

    Raises:
        ClipError: there is no face in any picture.
    """
    searched = detection_frames(len(pictures), detections)
    candidates = _find_candidates(pictures, detect, searched)
    if not candidates:
        candidates = _find_candidates(pictures, detect, sorted(set(range(len(pictures))) - set(searched)))
        searched = list(range(len(pictures)))
    if not candidates:
        raise ClipError(
            "no face found in any frame; check that the face is upright, lit and at least a tenth of the picture high"
        )
    best = max(candidates, key=lambda candidate: candidate.weight)
    found = sorted(best.boxes)
    boxes = interpolate(np.arange(len(pictures)), np.array(found), np.stack([best.boxes[frame] for frame in found]))
    return FaceTrack(boxes, _box_sources(len(pictures), searched, set(found)))


def detection_frames(frames: int, detections: int) -> list[int]:
    """Numbers of the frames on which the detector runs: even steps from the first to the last."""
    last = frames - 1
    first = last / 2 if detections == 1 else 0  # a single detection is best spent on the middle
    return sorted(set(np.linspace(first, last, min(detections, frames)).round().astype(int).tolist()))


def interpolate(wanted: Positions, known: Positions, boxes: Boxes) -> Boxes:
    """Smooth boxes and interpolate them linearly; before the first and after the last one they stay constant.

    Args:
        wanted: (T,) positions in time.
        known: (K,) positions of the boxes, ascending.
        boxes: (K, 4).

    Returns:
        (T, 4)
    """
    smooth = boxes.copy()
    smooth[1:-1] = smoothed(boxes[:-2], boxes[1:-1], boxes[2:])
    return np.stack([np.interp(wanted, known, column) for column in smooth.T], axis=1).astype(np.float32)


def smoothed(before: Boxes, boxes: Boxes, after: Boxes) -> Boxes:
    """Boxes weighted with those of the detections before and after them.

    Detectors jitter by a few percent of the box. The weights leave a steady movement as it is.
    """
    return np.asarray((before + 2 * boxes + after) / 4, np.float32)


def _find_candidates(pictures: Sequence[Picture], detect: Detector, frames: Iterable[int]) -> list[_Candidate]:
    """Search the frames in order: around the last detection first, which is quick, then everywhere."""
    candidates: list[_Candidate] = []
    current: _Candidate | None = None
    for frame in frames:
        picture = pictures[frame]
        if current:
            boxes = detect(picture, current.last)
            if len(boxes):
                current.boxes[frame] = boxes[0]
                continue
        boxes = detect(picture)
        if len(boxes):
            current = next((known for known in candidates if is_near(boxes[0], known.last)), None)
            if current is None:
                current = _Candidate()
                candidates.append(current)
            current.boxes[frame] = boxes[0]
    return candidates


def _box_sources(count: int, searched: Sequence[int], found: set[int]) -> tuple[BoxSource, ...]:
    sources = []
    for frame in range(count):
        after = int(np.searchsorted(searched, frame))
        if frame in found:
            sources.append(BoxSource.DETECTED)
        elif searched[after : after + 1] != [frame] and found.intersection(searched[max(after - 1, 0) : after + 1]):
            sources.append(BoxSource.INTERPOLATED)
        else:
            sources.append(BoxSource.NOT_FOUND)
    return tuple(sources)
