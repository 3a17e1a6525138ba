"""From a file, or the pictures of a camera, to windows of network inputs; memory does not grow with the length."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from cfnsr.errors import ClipError, LimitError
from cfnsr.features.faces.detect import load_detector
from cfnsr.features.faces.follow import Box, track_faces
from cfnsr.media.audio import Sound, join_sound, stream_sound
from cfnsr.media.container import MediaReader, open_reader
from cfnsr.media.extent import read_extent
from cfnsr.media.picture import Picture
from cfnsr.media.video import nearest, stream_pictures
from cfnsr.predict.answer import Flag
from cfnsr.predict.clip import (
    Ending,
    Options,
    Sample,
    WindowFace,
    WindowFaces,
    WindowVoice,
    as_box,
    cut_face,
    file_flags,
    find_voice,
    portrait,
    samples_of,
    single_window,
)
from cfnsr.predict.recipe import Recipe

_TAIL = 0.25  # hops; a shorter remainder at the end gets no window of its own
_HELD = 5.0
"""Seconds for which a picture stays valid when no other follows, as in recordings of screens and calls."""
_MOSTLY = 0.5  # minimum share of the pictures of a window that show a face


class _Frame(NamedTuple):
    """The faces of one picture, cut out, by track."""

    time: float
    faces: dict[int, tuple[bytes, Box]]


def prepare_clip(path: Path, recipe: Recipe, options: Options) -> Iterator[Sample | Ending]:
    """Network inputs of a file, which is opened and read once.

    A clip as long as the training clips is one window; a longer one has a window every `options.hop` seconds, and the
    last window ends with the file.

    Raises:
        ClipError: the file can't be read.
    """
    with open_reader(path) as reader:
        if not recipe.uses_video:
            reader.drop(reader.video)
        if not recipe.uses_audio:
            reader.drop(reader.audio)
        extent = read_extent(reader, recipe.longest_single(options.window))
        if extent.whole:
            yield from single_window(reader, extent, recipe, options.faces)
        else:
            yield from _sliding_windows(reader, recipe, options)


def _sliding_windows(reader: MediaReader, recipe: Recipe, options: Options) -> Iterator[Sample | Ending]:
    pictures = stream_pictures(reader, picture_spacing(recipe, options)) if recipe.uses_video and reader.video else None
    sounds = stream_sound(reader, recipe.mfcc.sample_rate) if recipe.uses_audio and reader.audio else None
    slide = _SlidingWindow(pictures, sounds, recipe, options)
    yield from slide.samples(options.hop)
    yield Ending(slide.until, file_flags(reader))


def live_samples(pictures: Iterator[Picture], recipe: Recipe, options: Options) -> Iterator[Sample | Ending]:
    """The windows of a camera, without sound."""
    slide = _SlidingWindow(pictures, None, recipe, options)
    yield from slide.samples(options.hop)
    yield Ending(slide.until)


def picture_spacing(recipe: Recipe, options: Options) -> float:
    """Seconds between the pictures to keep: twice as many as a window needs, so that each is close to its time."""
    return (options.window or recipe.window) / recipe.faces.frames / 2


Item = TypeVar("Item")


@dataclass
class _Buffer(Generic[Item]):
    """A sliding part of a stream, read as far as it is needed."""

    source: Iterator[Item] | None
    ends: Callable[[Item], float]
    length: float
    """Seconds of the latest items that are always kept."""
    until: float = 0.0
    """End of the part that was read, in seconds."""
    damage: str = ""
    before: Item | None = None
    """The last item that was dropped."""

    def __post_init__(self) -> None:
        self.items: deque[Item] = deque()

    def read(self, start: float, end: float) -> None:
        """Read to `end` and drop what lies before `start`."""
        while self.source is not None and self.until < end:
            try:
                item = next(self.source)
            except StopIteration:
                self.source = None
            except LimitError:
                raise
            except ClipError as error:
                self.source, self.damage = None, str(error)
            else:
                if self.ends(item) < min(start, self.until - self.length):
                    continue  # time stamps may go back; such items are not needed
                self.items.append(item)
                self.until = max(self.until, self.ends(item))
            while self.items and self.ends(self.items[0]) < min(start, self.until - self.length):
                self.before = self.items.popleft()


class _SlidingWindow:
    """One pass over pictures and sound."""

    def __init__(
        self, pictures: Iterator[Picture] | None, sounds: Iterator[Sound] | None, recipe: Recipe, options: Options
    ) -> None:
        self._recipe, self._length, self._faces = recipe, options.window or recipe.window, options.faces
        self._rate = recipe.mfcc.sample_rate
        frames = None if pictures is None else _frames(pictures, recipe)
        self._pictures = _Buffer(frames, lambda frame: frame.time, self._length)
        self._sounds = _Buffer(sounds, lambda sound: sound.end / self._rate, self._length)
        self._followed: int | None = None

    @property
    def until(self) -> float:
        """End of the part that was read, in seconds."""
        return max(self._pictures.until, self._sounds.until)

    def samples(self, hop: float) -> Iterator[Sample]:
        """The samples of all windows."""
        number, last = 0, 0.0
        while self._read(start := number * hop):
            if self._is_empty(start):  # a gap in the time stamps, maybe of hours
                number = max(number + 1, math.ceil((self._next(start) - self._length) / hop))
                continue
            last = start + self._length
            yield from self._window(start, last)
            number += 1
        if self.until > last + _TAIL * hop and (self._pictures.items or self._sounds.items):
            yield from self._window(max(self.until - self._length, 0.0), self.until)

    def _read(self, start: float) -> bool:
        """Read a window; False if the file ends before the window does."""
        for buffer in (self._pictures, self._sounds):
            buffer.read(start, start + self._length)
        return self.until >= start + self._length

    def _is_empty(self, start: float) -> bool:
        return self._next(start) >= start + self._length

    def _next(self, start: float) -> float:
        """Time of the first picture or sound after `start`."""
        times = [frame.time for frame in self._pictures.items if frame.time >= start]
        times += [sound.first / self._rate for sound in self._sounds.items if self._sounds.ends(sound) > start]
        return min(times, default=self.until)

    def _window(self, start: float, end: float) -> Iterator[Sample]:
        video = self._find_faces(start, end) if self._recipe.uses_video else WindowFaces()
        voice = self._find_voice(start, end) if self._recipe.uses_audio else WindowVoice()
        yield from samples_of(start, end, video, voice)

    def _find_voice(self, start: float, end: float) -> WindowVoice:
        first = round(start * self._rate)
        last = first + round((end - start) * self._rate)
        if not any(sound.first < last and sound.end > first for sound in self._sounds.items):
            return WindowVoice(flags=(Flag.NO_AUDIO,), missing=(self._sounds.damage or "there is no sound",))
        window = join_sound(self._sounds.items, first, last)
        wanted = round(self._recipe.window * self._rate)
        begin = max(len(window) - wanted, 0) // 2  # of a longer window, the middle
        middle = find_voice(window[begin : begin + wanted], self._recipe.mfcc)
        return middle if middle.mfcc is not None else find_voice(window, self._recipe.mfcc)

    def _find_faces(self, start: float, end: float) -> WindowFaces:
        frames = [frame for frame in self._pictures.items if start <= frame.time < end]
        if not frames and (held := self._held(start, end)):
            frames = [held]
        if not frames:
            return WindowFaces(flags=(Flag.NO_VIDEO,), missing=(self._pictures.damage or "there is no picture",))
        counts = Counter(track for frame in frames for track in frame.faces)
        tracks = [track for track, count in counts.items() if count >= _MOSTLY * len(frames)]
        if not tracks:
            return WindowFaces(flags=(Flag.NO_FACE,), missing=("no face is there for half of the time or more",))
        tracks.sort(key=lambda track: -_size(frames, track))
        if self._followed in tracks:
            tracks.remove(self._followed)
            tracks.insert(0, self._followed)
        self._followed = tracks[0]
        flags = (Flag.SEVERAL_FACES,) if len(tracks) > 1 else ()
        wanted = tracks if self._faces == "all" else tracks[:1]
        return WindowFaces(tuple(self._face(frames, track, start) for track in wanted), flags)

    def _held(self, start: float, end: float) -> _Frame | None:
        """The picture that is still shown in a window without a new one; None if it is too old or none follows."""
        known = [self._pictures.before, *self._pictures.items] if self._pictures.before else [*self._pictures.items]
        earlier = [frame for frame in known if frame.time < start]
        follows = any(frame.time >= end for frame in self._pictures.items)
        return earlier[-1] if follows and earlier and start - earlier[-1].time <= _HELD else None

    def _face(self, frames: list[_Frame], track: int, start: float) -> WindowFace:
        """The crops nearest to the middles of even segments, as in `cfnsr.media.video.sample_pictures`."""
        tracked = [frame for frame in frames if track in frame.faces]
        times = np.array([frame.time for frame in tracked])
        count = self._recipe.faces.frames
        targets = start + self._length * (np.arange(count) + 0.5) / count
        chosen = [tracked[index] for index in nearest(times, targets)]
        crop, box = chosen[count // 2].faces[track]
        return WindowFace(tuple(frame.faces[track][0] for frame in chosen), as_box(box), track, (portrait(crop),))


def _frames(pictures: Iterator[Picture], recipe: Recipe) -> Iterator[_Frame]:
    for picture, boxes in track_faces(pictures, load_detector(recipe.faces.yunet)):
        image = picture.bgr() if boxes else None
        faces = {} if image is None else {track: (cut_face(image, box, recipe), box) for track, box in boxes.items()}
        yield _Frame(picture.time, faces)


def _size(frames: list[_Frame], track: int) -> float:
    """Mean area of a face, px."""
    return float(np.mean([np.prod(frame.faces[track][1][2:]) for frame in frames if track in frame.faces]))
