"""Following one face through a clip: sparse looks, boxes between them interpolated and smoothed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import ClipError
from cfnsr.features.faces.detect import Boxes, Detector, is_near
from cfnsr.media.video import Picture

Positions = NDArray[np.floating] | NDArray[np.integer]
"""Frame numbers, or times in seconds."""


class Flag(StrEnum):
    """Where a frame's box comes from."""

    DETECTED = "detected"
    """The face was found in this very frame (by the detector or in the landmark file)."""
    INTERPOLATED = "interpolated"
    """The frame was not looked at; the box comes from a look next to it that found the face."""
    NOT_FOUND = "not found"
    """The frame, or both looks next to it, showed no face; the box comes from further away."""


@dataclass(frozen=True)
class FaceTrack:
    """One face through the frames of a clip."""

    boxes: Boxes  # (T, 4)
    flags: tuple[Flag, ...]  # T


@dataclass
class _Sightings:
    """Looks in which what seems one and the same face was found."""

    boxes: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by frame
    last: NDArray[np.float32] = field(default_factory=lambda: np.zeros(4, np.float32))

    def add(self, frame: int, box: NDArray[np.float32]) -> None:
        self.boxes[frame] = self.last = box

    @property
    def weight(self) -> tuple[int, float]:
        return len(self.boxes), float(np.mean([box[2] * box[3] for box in self.boxes.values()]))


def follow_face(pictures: Sequence[Picture], detect: Detector, looks: int) -> FaceTrack:
    """Follow the face that is seen most often, the largest one of several.

    The detector looks at `looks` pictures evenly over the clip, from the first to the last; if it finds nothing there,
    at all others too.

    Args:
        pictures: T pictures in the order of time.
        detect: the detector.
        looks: how many pictures it sees.

    Raises:
        ClipError: there is no face in any picture.
    """
    looked = look_numbers(len(pictures), looks)
    seen = _look(pictures, detect, looked)
    if not seen:
        seen = _look(pictures, detect, sorted(set(range(len(pictures))) - set(looked)))
        looked = list(range(len(pictures)))
    if not seen:
        raise ClipError(
            "no face found in any frame; check that the face is upright, lit and at least a tenth of the picture high"
        )
    best = max(seen, key=lambda sightings: sightings.weight)
    found = sorted(best.boxes)
    boxes = interpolate(np.arange(len(pictures)), np.array(found), np.stack([best.boxes[frame] for frame in found]))
    return FaceTrack(boxes, _flags(len(pictures), looked, set(found)))


def look_numbers(pictures: int, looks: int) -> list[int]:
    """Which of so many pictures are looked at: even steps from the first to the last."""
    last = pictures - 1
    first = last / 2 if looks == 1 else 0  # a single look is best spent on the middle
    return sorted(set(np.linspace(first, last, min(looks, pictures)).round().astype(int).tolist()))


def interpolate(wanted: Positions, known: Positions, boxes: Boxes) -> Boxes:
    """Smooth boxes and interpolate them linearly; before the first and after the last one they stay.

    Args:
        wanted: (T,) positions in time.
        known: (K,) positions of the boxes, ascending.
        boxes: (K, 4).

    Returns:
        (T, 4)
    """
    smooth = boxes.copy()
    # Detectors jitter by a few percent of the box. The weights leave a steady movement as it is; so do the bare ends.
    smooth[1:-1] = (boxes[:-2] + 2 * boxes[1:-1] + boxes[2:]) / 4
    return np.stack([np.interp(wanted, known, column) for column in smooth.T], axis=1).astype(np.float32)


def _look(pictures: Sequence[Picture], detect: Detector, frames: Iterable[int]) -> list[_Sightings]:
    """Look at the frames in their order: around the last sighting first, which is quick, then everywhere."""
    seen: list[_Sightings] = []
    current: _Sightings | None = None
    for frame in frames:
        picture = pictures[frame]
        if current:
            boxes = detect(picture, current.last)
            if len(boxes):
                current.add(frame, boxes[0])
                continue
        boxes = detect(picture)
        if len(boxes):
            current = next((known for known in seen if is_near(boxes[0], known.last)), None)
            if current is None:
                current = _Sightings()
                seen.append(current)
            current.add(frame, boxes[0])
    return seen


def _flags(count: int, looked: Sequence[int], found: set[int]) -> tuple[Flag, ...]:
    flags = []
    for frame in range(count):
        after = int(np.searchsorted(looked, frame))
        if frame in found:
            flags.append(Flag.DETECTED)
        elif looked[after : after + 1] != [frame] and found.intersection(looked[max(after - 1, 0) : after + 1]):
            flags.append(Flag.INTERPOLATED)
        else:
            flags.append(Flag.NOT_FOUND)
    return tuple(flags)
