"""Network inputs of one window, and how a clip as long as the training clips becomes one window.

Shapes: T frames, H x W pixels, C coefficients, L MFCC frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from cfnsr.config.sections import MfccSettings, Modality
from cfnsr.errors import ClipError, InputError, LimitError
from cfnsr.features.faces.crop import crop_face, decode_jpeg, encode_jpeg
from cfnsr.features.faces.detect import Boxes, is_near, load_detector
from cfnsr.features.faces.follow import FaceTracker
from cfnsr.features.faces.track import detection_frames, interpolate, track_one_face
from cfnsr.features.mfcc import LEAD, SILENCE, mfcc
from cfnsr.media.audio import Sound, join_sound, stream_sound
from cfnsr.media.container import MediaReader
from cfnsr.media.extent import SHORTEST, Extent
from cfnsr.media.picture import Picture
from cfnsr.media.video import sample_kept_pictures
from cfnsr.predict.answer import Flag, Moment
from cfnsr.predict.recipe import Recipe

FaceChoice = Literal["largest", "all"]

_PORTRAIT = 96  # pixels
_PORTRAIT_QUALITY = 80  # of the JPEG
_PORTRAITS = 8  # of a clip with one window


@dataclass(frozen=True)
class Options:
    """How a clip is cut into windows, and which faces are used."""

    window: float | None = None
    """Length in seconds; None: as in training, `Recipe.window`."""
    hop: float = 1.0
    """Seconds from the start of one window to the start of the next."""
    faces: FaceChoice = "largest"
    """"largest": one face is followed, at first the largest; "all": a timeline for each face."""

    def __post_init__(self) -> None:
        if self.window is not None and self.window < SHORTEST:
            raise InputError(
                f"a window of {self.window:g} s is too short to tell an emotion; take {SHORTEST:g} s or more."
            )
        if self.hop < 0.05:
            raise InputError(f"a hop of {self.hop:g} s is too short; take 0.05 s or more.")
        if self.faces not in get_args(FaceChoice):
            raise InputError(f"faces is {self.faces!r}; it must be one of {', '.join(get_args(FaceChoice))}.")


@dataclass(frozen=True)
class Sample:
    """The network inputs of a moment that has no answer yet."""

    moment: Moment
    frames: NDArray[np.uint8] | None
    """(T, H, W, 3), RGB."""
    mfcc: NDArray[np.float32] | None
    """(C, L)"""
    missing: tuple[str, ...] = ()
    """Why inputs are missing, one clause each."""

    @property
    def inputs(self) -> Modality | None:
        """The modalities that are present; None for neither."""
        if self.frames is not None:
            return "video" if self.mfcc is None else "both"
        return None if self.mfcc is None else "audio"


@dataclass(frozen=True)
class Ending:
    """Facts about a clip that are known at its end."""

    duration: float
    """s"""
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class WindowVoice:
    """The voice in a window, or why there is none."""

    mfcc: NDArray[np.float32] | None = None
    flags: tuple[Flag, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowFace:
    """One face through a window."""

    crops: tuple[bytes, ...]
    """T JPEG files."""
    box: tuple[float, float, float, float]
    """In the middle of the window."""
    track: int
    portraits: tuple[bytes, ...]

    @property
    def frames(self) -> NDArray[np.uint8]:
        """(T, H, W, 3), RGB."""
        return np.stack([decode_jpeg(crop) for crop in self.crops])


@dataclass(frozen=True)
class WindowFaces:
    """The faces in a window, the followed one first, or why there is none."""

    faces: tuple[WindowFace, ...] = ()
    flags: tuple[Flag, ...] = ()
    missing: tuple[str, ...] = ()


def samples_of(
    start: float, end: float, video: WindowFaces, voice: WindowVoice, flags: tuple[Flag, ...] = ()
) -> Iterator[Sample]:
    """The samples of a window: one per face, or a single one without a face."""
    flags = (*video.flags, *voice.flags, *flags)
    missing = video.missing + voice.missing
    if not video.faces:
        yield Sample(Moment(start, end, None, flags), None, voice.mfcc, missing)
    for index, face in enumerate(video.faces):
        moment = Moment(start, end, None, flags, face.track, face.box, index == 0, face.portraits)
        yield Sample(moment, face.frames, voice.mfcc, missing)


def single_window(reader: MediaReader, extent: Extent, recipe: Recipe, faces: FaceChoice) -> Iterator[Sample | Ending]:
    """A clip as one window, with inputs made exactly as those of the training clips.

    All packets of the clip were read and are kept by the reader.
    """
    video = _find_faces(reader, recipe, faces) if recipe.uses_video else WindowFaces()
    voice = _find_voice(reader, recipe.mfcc) if recipe.uses_audio else WindowVoice()
    ending = Ending(extent.seconds, file_flags(reader))
    yield from samples_of(0.0, extent.seconds, video, voice, ending.flags)
    yield ending


def file_flags(reader: MediaReader) -> tuple[Flag, ...]:
    """What limits the answers for a file that was read to its end."""
    return (Flag.CUT_OFF,) * bool(reader.fault()) + (Flag.OTHER_TRACKS,) * reader.has_others


def find_voice(sound: NDArray[np.float32], settings: MfccSettings) -> WindowVoice:
    """The voice in a window, given its sound (n,): from the part that the network uses in training.

    If that part is silent and a later one is not, a part of the same length from the start of the sound is used.
    """
    if len(sound) < SHORTEST * settings.sample_rate:
        return WindowVoice(flags=(Flag.NO_AUDIO,), missing=("the sound is too short",))
    try:
        return WindowVoice(mfcc(_from_first_sound(sound, settings), settings))
    except ClipError as error:
        return WindowVoice(flags=(Flag.SILENT,), missing=(str(error),))


def _from_first_sound(sound: NDArray[np.float32], settings: MfccSettings) -> NDArray[np.float32]:
    begin, end = (round(time * settings.sample_rate) for time in (settings.offset, settings.offset + settings.duration))
    level = np.abs(sound - np.median(sound))
    loud = np.flatnonzero(level[end:] >= SILENCE)
    # The kind `rich` finds the speech itself.
    if settings.kind == "rich" or level[begin:end].max(initial=0) >= SILENCE or not loud.size:
        return sound
    return sound[max(end + loud[0] - begin - LEAD * settings.hop, 0) :]


def portrait(crop: bytes) -> bytes:
    """A small copy of a face, as a JPEG file."""
    face = decode_jpeg(crop)
    method = cv2.INTER_AREA if len(face) >= _PORTRAIT else cv2.INTER_CUBIC
    image = cv2.resize(face, (_PORTRAIT, _PORTRAIT), interpolation=method)
    return encode_jpeg(np.asarray(image[..., ::-1], np.uint8), _PORTRAIT_QUALITY)


def _find_voice(reader: MediaReader, settings: MfccSettings) -> WindowVoice:
    sounds: list[Sound] = []
    missing = "it has an audio track without any sound data"
    try:
        for sound in stream_sound(reader, settings.sample_rate):
            sounds.append(sound)  # those before an error are used
    except LimitError:
        raise
    except ClipError as error:
        missing = str(error) if reader.audio else "it has no audio track"
    if not sounds:
        return WindowVoice(flags=(Flag.NO_AUDIO,), missing=(missing,))
    return find_voice(join_sound(sounds, 0, max(sound.end for sound in sounds)), settings)


def _find_faces(reader: MediaReader, recipe: Recipe, faces: FaceChoice) -> WindowFaces:
    if reader.video is None:
        return WindowFaces(flags=(Flag.NO_VIDEO,), missing=("it has no video track",))
    try:
        pictures = sample_kept_pictures(reader, recipe.faces.frames)
    except LimitError:
        raise
    except ClipError as error:
        return WindowFaces(flags=(Flag.NO_VIDEO,), missing=(str(error),))
    try:
        tracks = [track_one_face(pictures, load_detector(recipe.faces.yunet), recipe.faces.detections).boxes]
    except ClipError as error:
        return WindowFaces(flags=(Flag.NO_FACE,), missing=(str(error),))
    others = _others(pictures, tracks[0], recipe)
    flags = (Flag.SEVERAL_FACES,) if others else ()
    if faces == "all":
        tracks += others
    return WindowFaces(tuple(_cut(pictures, boxes, number, recipe) for number, boxes in enumerate(tracks, 1)), flags)


def _others(pictures: Sequence[Picture], followed: Boxes, recipe: Recipe) -> list[Boxes]:
    """Boxes (T, 4) of the faces besides the followed one that are found in at least half of the detections."""
    tracker = FaceTracker(load_detector(recipe.faces.yunet))
    numbers = detection_frames(len(pictures), recipe.faces.detections)
    found: dict[int, dict[int, NDArray[np.float32]]] = {}  # by track, by frame
    for number in numbers:
        for track, box in tracker.update(pictures[number]).items():
            if not is_near(box, followed[number]):
                found.setdefault(track, {})[number] = box
    often = [boxes for boxes in found.values() if len(boxes) >= max(2, len(numbers) / 2)]
    return [interpolate(np.arange(len(pictures)), np.array([*boxes]), np.stack([*boxes.values()])) for boxes in often]


def _cut(pictures: Sequence[Picture], boxes: Boxes, track: int, recipe: Recipe) -> WindowFace:
    crops = tuple(cut_face(picture.bgr(), box, recipe) for picture, box in zip(pictures, boxes, strict=True))
    shown = np.linspace(0, len(crops) - 1, min(_PORTRAITS, len(crops))).round().astype(int)
    return WindowFace(crops, as_box(boxes[len(boxes) // 2]), track, tuple(portrait(crops[index]) for index in shown))


def cut_face(image: NDArray[np.uint8], box: NDArray[np.float32], recipe: Recipe) -> bytes:
    """A face cut out of a picture (H, W, 3), blue first, and compressed like the training faces."""
    settings = recipe.faces
    crop = crop_face(image, box, size=settings.size, margin=settings.margin, square=settings.square)
    return encode_jpeg(crop, settings.jpeg_quality)


def as_box(box: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """A box (4,) as plain numbers."""
    x, y, width, height = (round(float(value), 1) for value in box)
    return x, y, width, height
