"""Following all faces through a stream of pictures: sparse looks, boxes between them interpolated and smoothed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfnsr.features.faces.detect import Boxes, Detector, is_near
from cfnsr.media.video import Picture

Box = NDArray[np.float32]
"""(4,): x, y, width, height in pixels."""

LOOK = 0.5
"""Seconds between two looks; in training it is about 0.9. A look at the whole picture costs 10 to 20 ms."""

_MISSED = 4  # looks without it after which a face is somebody new


class SeenFaces(NamedTuple):
    """A picture and the faces in it, by the number of their track."""

    picture: Picture
    boxes: dict[int, Box]


@dataclass
class _Track:
    box: Box
    sightings: int = 0
    missed: int = 0


class FaceTracker:
    """Gives the same number to what seems the same face from look to look."""

    def __init__(self, detect: Detector) -> None:
        self._detect = detect
        self._tracks: dict[int, _Track] = {}  # those that may come back
        self._next = 1

    def look(self, picture: Picture) -> dict[int, Box]:
        """Find the faces of a later picture than before: track number to box, largest first."""
        boxes = self._detect(picture)
        found = {}
        for name, box in zip(self._assign(boxes), boxes, strict=True):
            track = self._tracks.setdefault(name, _Track(box))
            track.box, track.sightings, track.missed = box, track.sightings + 1, -1
            found[name] = box
        for track in self._tracks.values():
            track.missed += 1
        self._tracks = {name: track for name, track in self._tracks.items() if track.missed < _MISSED}
        return found

    def is_sure(self, name: int) -> bool:
        """Whether a face was seen more than once; what is seen only once is often no face."""
        return name in self._tracks and self._tracks[name].sightings > 1

    def _assign(self, boxes: Boxes) -> list[int]:
        """The track of each box: the nearest first, the others are new."""
        pairs = sorted(
            (_distance(box, track.box), index, name)
            for index, box in enumerate(boxes)
            for name, track in self._tracks.items()
            if is_near(box, track.box)
        )
        names: dict[int, int] = {}
        for _, index, name in pairs:
            if index not in names and name not in names.values():
                names[index] = name
        for index in range(len(boxes)):
            if index not in names:
                names[index] = self._next
                self._next += 1
        return [names[index] for index in range(len(boxes))]


def follow_faces(pictures: Iterable[Picture], detect: Detector) -> Iterator[SeenFaces]:
    """Yield every picture with the faces in it, in the order of time, about two looks behind what was read.

    A face is in the pictures between two looks when one of them found it, and some other look found it too.

    Args:
        pictures: in the order of time.
        detect: the detector.
    """
    tracker = FaceTracker(detect)
    waiting: deque[Picture] = deque()  # not yet given
    looks: deque[tuple[float, dict[int, Box]]] = deque(maxlen=4)
    newest: Picture | None = None
    for newest in pictures:
        waiting.append(newest)
        if not looks or newest.time - looks[-1][0] >= LOOK:
            looks.append((newest.time, tracker.look(newest)))
            if len(looks) > 2:  # the boxes of the last look are smoothed by the one to come
                yield from _given(waiting, looks, looks[-2][0], tracker)
    if newest is not None:
        if looks[-1][0] < newest.time:
            looks.append((newest.time, tracker.look(newest)))
        yield from _given(waiting, looks, np.inf, tracker)


def _given(
    waiting: deque[Picture], looks: deque[tuple[float, dict[int, Box]]], until: float, tracker: FaceTracker
) -> Iterator[SeenFaces]:
    times = [time for time, _ in looks]
    smooth = [_smooth(looks, index, tracker) for index in range(len(looks))]
    while waiting and waiting[0].time < until:
        picture = waiting.popleft()
        after = min(int(np.searchsorted(times, picture.time)), len(times) - 1)
        before = after if times[after] <= picture.time else max(after - 1, 0)
        boxes: dict[int, Box] = {}
        for name in smooth[before] | smooth[after]:
            known = [index for index, seen in enumerate(smooth) if name in seen]
            sides = np.stack([smooth[index][name] for index in known], axis=1)  # (4, K)
            at = [np.interp(picture.time, [times[index] for index in known], side) for side in sides]
            boxes[name] = np.array(at, np.float32)
        yield SeenFaces(picture, boxes)


def _smooth(looks: deque[tuple[float, dict[int, Box]]], index: int, tracker: FaceTracker) -> dict[int, Box]:
    """The sure faces of a look, weighed as `cfnsr.features.faces.track.interpolate` does."""
    here = looks[index][1]
    before = looks[index - 1][1] if index else {}
    after = looks[index + 1][1] if index + 1 < len(looks) else {}
    boxes = {}
    for name, box in here.items():
        if tracker.is_sure(name):
            between = name in before and name in after
            boxes[name] = np.asarray((before[name] + 2 * box + after[name]) / 4 if between else box, np.float32)
    return boxes


def _distance(box: Box, other: Box) -> float:
    return float(np.hypot(*(box[:2] + box[2:] / 2 - other[:2] - other[2:] / 2)))
