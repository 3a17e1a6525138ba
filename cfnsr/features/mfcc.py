"""Mel-frequency cepstral coefficients of a clip: the published audio feature, 13 x 212, and a richer one.

Shapes: C coefficients, F frames, n samples; V speeds, J frames of shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cfnsr.config.sections import MfccSettings
from cfnsr.errors import ClipError, InputError
from cfnsr.media.audio import read_audio
from cfnsr.media.extent import SHORTEST
from cfnsr.scratch import process_folder

SILENCE = 1e-3
"""Half of the range of the samples (of full scale 1) below which a clip counts as silent: -60 dB, at any offset. The
quietest of RAVDESS's 1440 speech takes has 6.1e-3 in the published window; the dither of 16-bit files stays below
1e-4."""

SPEECH_DB = 30.0
"""Speech starts with the first frame whose power is this close to that of the loudest (kind `rich`)."""
LEAD = 8
"""Frames by which the window starts before the speech."""
LONGEST = 10.0
"""Seconds of a clip that are searched for speech; takes of RAVDESS are at most 5.3 s long."""

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("reason", pa.string()),  # why the clip is excluded; empty: usable
        ("source", pa.string()),  # kind of file the sound came from: mp4, wav or flac
        ("mfcc", pa.list_(pa.list_(pa.float32()))),  # (C, F); null where the clip is excluded
        ("views", pa.binary()),  # (V, C, F + 2 J) as float16 bytes, for training; null without `mfcc.speeds`
    ]
)
"""Columns of `mfcc.parquet`."""


def mfcc(audio: NDArray[np.float32], settings: MfccSettings) -> NDArray[np.float32]:
    """The MFCC of a clip.

    `published`: `settings.duration` seconds from `settings.offset` on, padded with zeros at the end of a shorter clip.
    If the offset would remove more of a short clip than it keeps, the window starts with the clip.

    `rich`: of the same length, but from the start of the speech, with the features of `cfnsr.features.pitch` as further
    rows.

    Args:
        audio: the clip from its start, mono (n,), between -1 and 1, at `settings.sample_rate`.
        settings: section `mfcc`.

    Returns:
        (C, F) = (settings.channels, settings.frames); coefficients in librosa's scale (mel power in dB, orthonormal
        DCT).

    Raises:
        ClipError: the sound is shorter than `SHORTEST`, or silent.
    """
    if audio.size < SHORTEST * settings.sample_rate:
        raise ClipError(f"the sound is too short ({audio.size / settings.sample_rate:.2f} s)")
    offset = round(settings.offset * settings.sample_rate)
    length = round(settings.duration * settings.sample_rate)
    begin = offset if audio.size >= 2 * offset else 0
    window = audio[begin : begin + length] if settings.kind == "published" else audio
    peak = float(np.ptp(window)) / 2
    if peak < SILENCE:
        raise ClipError(f"the sound is silent (peak {peak:.1g} of full scale)")
    if settings.kind == "rich":
        return _from_onset(audio, settings, shift=0)
    return _coefficients(np.pad(window, (0, length - window.size)), settings)


def views(audio: NDArray[np.float32], settings: MfccSettings) -> NDArray[np.float16]:
    """MFCC from which training clips are cut: at each of `settings.speeds`, with J more frames on both sides.

    Speed perturbation (Ko et al., Interspeech 2015) changes pitch and tempo together, as other speakers do.

    Args:
        audio: see `mfcc`; silence is assumed beyond its ends.
        settings: section `mfcc`.

    Returns:
        (V, C, F + 2 J). Half precision is finer than the noise that training adds.
    """
    length = (settings.frames - 1 + 2 * settings.shift_frames) * settings.hop
    result = []
    for speed in settings.speeds:
        rate = round(settings.sample_rate / speed)  # played at the usual rate, it is faster by that factor
        sound = audio if speed == 1 else _librosa().resample(audio, orig_sr=settings.sample_rate, target_sr=rate)
        if settings.kind == "rich":
            result.append(_from_onset(sound, settings, settings.shift_frames, speed))
            continue
        begin = round(settings.offset / speed * settings.sample_rate) - settings.shift_frames * settings.hop
        window = sound[max(begin, 0) : max(begin + length, 0)]
        before = max(-begin, 0)
        padded = np.pad(window, (before, length - before - window.size))
        result.append(_coefficients(padded, settings))
    return np.stack(result).astype(np.float16)


def _from_onset(
    sound: NDArray[np.float32], settings: MfccSettings, shift: int, speed: float = 1.0
) -> NDArray[np.float32]:
    """`(C, F + 2 shift)` around the window that starts with the speech."""
    from cfnsr.features.pitch import pitch

    hop, frames = settings.hop, settings.frames
    before, after = (LEAD + shift) * hop, (frames + shift) * hop  # so that the window fits wherever the speech starts
    padded = np.pad(sound, (before, after))
    _, (onset, _) = _librosa().effects.trim(padded, top_db=SPEECH_DB, frame_length=settings.n_fft, hop_length=hop)
    begin = int(onset) // hop - LEAD - shift
    tracks = pitch(padded, settings.sample_rate, settings.n_fft, hop, speed)
    rows = np.concatenate([_coefficients(padded, settings), tracks])
    begin = min(max(begin, 0), rows.shape[1] - frames - 2 * shift)
    return rows[:, begin : begin + frames + 2 * shift]


def mfcc_of_file(path: Path, settings: MfccSettings) -> NDArray[np.float32]:
    """The MFCC (C, F) of a media file; only the part that they depend on is decoded.

    Raises:
        ClipError: the file can't be read, has no sound, or too little, or is silent.
    """
    return mfcc(read_audio(path, settings.sample_rate, duration=seconds_needed(settings)), settings)


def features_of_file(
    path: Path, settings: MfccSettings, start: float = 0.0, end: float = math.inf
) -> tuple[NDArray[np.float32], NDArray[np.float16] | None]:
    """The features that the stage `mfcc` stores: `mfcc`, and `views` or None without `settings.speeds`.

    Args:
        path: media file.
        settings: section `mfcc`.
        start: of the clip in the file, s.
        end: of the clip in the file, s.

    Raises:
        ClipError: the file can't be read, has no sound, or too little, or is silent.
    """
    audio = read_audio(path, settings.sample_rate, start, min(seconds_needed(settings), end - start))
    return mfcc(audio, settings), views(audio, settings) if settings.speeds else None


def seconds_needed(settings: MfccSettings) -> float:
    """Seconds from the start of a clip that its features may depend on."""
    if settings.kind == "rich":
        return LONGEST
    # A faster view covers more of the clip than its own length.
    return settings.offset + (settings.duration + 2 * settings.shift) * max(settings.speeds, default=1.0)


def _coefficients(window: NDArray[np.float32], settings: MfccSettings) -> NDArray[np.float32]:
    coefficients = _librosa().feature.mfcc(
        y=window,
        sr=settings.sample_rate,
        n_mfcc=settings.coefficients,
        n_fft=settings.n_fft,
        hop_length=settings.hop,
        n_mels=settings.n_mels,
    )
    return np.asarray(coefficients, np.float32)


def read_mfcc(path: Path) -> dict[str, NDArray[np.float32]]:
    """All usable clips of `mfcc.parquet`: clip id to MFCC (C, F).

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        table = pq.read_table(path, columns=["clip_id", "reason", "mfcc"])
    except FileNotFoundError:
        raise InputError(f"{path} is missing; run `dvc repro mfcc` first.") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(f"{path} is not an MFCC file ({error}); run `dvc repro mfcc --force`.") from None
    usable = table.filter(pc.equal(table["reason"], ""))
    if not usable.num_rows:
        return {}
    column = usable["mfcc"].combine_chunks()  # list<list<float>>
    matrices = column.flatten().flatten().to_numpy().reshape(usable.num_rows, len(column[0]), -1)  # (N, C, F)
    return dict(zip(usable["clip_id"].to_pylist(), matrices, strict=True))


def read_views(path: Path, clips: Sequence[str], settings: MfccSettings) -> NDArray[np.float16]:
    """The `views` of clips of `mfcc.parquet`, (clips, V, C, F + 2 J) in the order of `clips`."""
    table = pq.read_table(path, columns=["clip_id", "views"], filters=[("clip_id", "in", list(clips))])
    content = dict(zip(table["clip_id"].to_pylist(), table["views"].to_pylist(), strict=True))
    shape = (len(settings.speeds), settings.channels, settings.frames + 2 * settings.shift_frames)
    return np.stack([np.frombuffer(content[clip], np.float16).reshape(shape) for clip in clips])


@cache
def _librosa() -> Any:
    """Librosa, imported when it is needed because that takes seconds.

    Numba compiles parts of it, and needs a folder for them that it can write to.
    """
    import librosa
    import numba

    try:
        librosa.feature.mfcc  # noqa: B018 - imports what contains it
    except RuntimeError:  # neither librosa's folder nor the home directory can be written to
        numba.config.CACHE_DIR = str(process_folder())  # type: ignore[attr-defined]  # it sets its attributes at run time
    return librosa
