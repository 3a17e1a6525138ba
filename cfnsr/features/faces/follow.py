"""Tracking all faces through a stream of pictures: sparse detections, boxes between them interpolated and smoothed.

`cfnsr.features.faces.track` tracks one face of a clip whose pictures are all at hand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cfnsr.features.faces.detect import Boxes, Detector, centre_distance, is_near
from cfnsr.features.faces.track import smoothed
from cfnsr.media.picture import Picture

Box = NDArray[np.float32]
"""(4,): x, y, width, height in pixels."""

DETECTION_INTERVAL = 0.5
"""Seconds between two detections; in training it is about 0.9. A detection in a whole picture takes 10 to 20 ms."""

_MAX_MISSED = 4  # missed detections after which a track ends


class TrackedFaces(NamedTuple):
    """A picture and the faces in it, by the number of their track."""

    picture: Picture
    boxes: dict[int, Box]


class _Detections(NamedTuple):
    """The faces that were detected in one picture."""

    time: float
    boxes: dict[int, Box]  # by track


@dataclass
class _Track:
    box: Box
    detections: int = 0
    missed: int = 0


class FaceTracker:
    """Assigns the same track number to what seems to be the same face from detection to detection."""

    def __init__(self, detect: Detector) -> None:
        self._detect = detect
        self._tracks: dict[int, _Track] = {}  # those that have not ended
        self._next = 1

    def update(self, picture: Picture) -> dict[int, Box]:
        """Detect the faces of a picture later than the last one: box by track number, largest first."""
        boxes = self._detect(picture)
        found = {}
        for number, box in zip(self._assign(boxes), boxes, strict=True):
            track = self._tracks.setdefault(number, _Track(box))
            track.box, track.detections, track.missed = box, track.detections + 1, -1
            found[number] = box
        for track in self._tracks.values():
            track.missed += 1
        self._tracks = {number: track for number, track in self._tracks.items() if track.missed < _MAX_MISSED}
        return found

    def is_confirmed(self, number: int) -> bool:
        """Whether the face was detected more than once; single detections are often false."""
        return number in self._tracks and self._tracks[number].detections > 1

    def _assign(self, boxes: Boxes) -> list[int]:
        """The track number of each box: the nearest pairs first, the remaining boxes start new tracks."""
        pairs = sorted(
            (centre_distance(box, track.box), index, number)
            for index, box in enumerate(boxes)
            for number, track in self._tracks.items()
            if is_near(box, track.box)
        )
        numbers: dict[int, int] = {}
        for _, index, number in pairs:
            if index not in numbers and number not in numbers.values():
                numbers[index] = number
        for index in range(len(boxes)):
            if index not in numbers:
                numbers[index] = self._next
                self._next += 1
        return [numbers[index] for index in range(len(boxes))]


def track_faces(pictures: Iterable[Picture], detect: Detector) -> Iterator[TrackedFaces]:
    """Yield every picture with the faces in it, in the order of time, about two detections behind the input.

    A face is in the pictures between two detections when one of them found it, and another detection found it too.

    Args:
        pictures: in the order of time.
        detect: the detector.
    """
    tracker = FaceTracker(detect)
    waiting: deque[Picture] = deque()  # not yet yielded
    recent: deque[_Detections] = deque(maxlen=4)
    newest: Picture | None = None
    for newest in pictures:
        waiting.append(newest)
        if not recent or newest.time - recent[-1].time >= DETECTION_INTERVAL:
            recent.append(_Detections(newest.time, tracker.update(newest)))
            if len(recent) > 2:  # the boxes of the last detection are smoothed with the next one
                yield from _with_boxes(waiting, recent, recent[-2].time, tracker)
    if newest is not None:
        if recent[-1].time < newest.time:
            recent.append(_Detections(newest.time, tracker.update(newest)))
        yield from _with_boxes(waiting, recent, np.inf, tracker)


def _with_boxes(
    waiting: deque[Picture], recent: deque[_Detections], until: float, tracker: FaceTracker
) -> Iterator[TrackedFaces]:
    times = [detections.time for detections in recent]
    smooth = [_smooth(recent, index, tracker) for index in range(len(recent))]
    while waiting and waiting[0].time < until:
        picture = waiting.popleft()
        after = min(int(np.searchsorted(times, picture.time)), len(times) - 1)
        before = after if times[after] <= picture.time else max(after - 1, 0)
        boxes: dict[int, Box] = {}
        for number in smooth[before] | smooth[after]:
            known = [index for index, faces in enumerate(smooth) if number in faces]
            sides = np.stack([smooth[index][number] for index in known], axis=1)  # (4, K)
            values = [np.interp(picture.time, [times[index] for index in known], side) for side in sides]
            boxes[number] = np.array(values, np.float32)
        yield TrackedFaces(picture, boxes)


def _smooth(recent: deque[_Detections], index: int, tracker: FaceTracker) -> dict[int, Box]:
    """The confirmed faces of a detection; a box is smoothed where both neighbouring detections found the face."""
    before = recent[index - 1].boxes if index else {}
    after = recent[index + 1].boxes if index + 1 < len(recent) else {}
    return {
        number: smoothed(before[number], box, after[number]) if number in before and number in after else box
        for number, box in recent[index].boxes.items()
        if tracker.is_confirmed(number)
    }
