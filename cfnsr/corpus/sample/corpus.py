"""Writing the corpus as mp4 files (H.264 and AAC) in the layout of RAVDESS; can be interrupted and resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import av
import numpy as np

from cfnsr.config.corpus import SYNTHETIC, SampleSettings
from cfnsr.corpus.ravdess import FileModality, Take, actor_folder
from cfnsr.corpus.sample.face import render_face
from cfnsr.corpus.sample.plan import takes_of
from cfnsr.corpus.sample.voice import SAMPLE_RATE, render_voice
from cfnsr.errors import ClipError, InputError
from cfnsr.files import PARTIAL, atomic_path, code_digest, write_text
from cfnsr.parallel import map_clips

RECORD = "sample.json"
"""File in the corpus folder with the settings and the code version of the clips."""

_NOTE = f"""{SYNTHETIC}

These clips are drawn and synthesised by cfnsr from a random seed. They show no person and no recording. They borrow the
file names and folders of RAVDESS so that the same program reads both; figures measured on them say that the program
works, and nothing about people.
"""
# For reproducible files: the macroblock tree of x264 depends on uninitialized memory.
_X264 = {"preset": "veryfast", "crf": "20", "x264-params": "mbtree=0"}
_AUDIO_BLOCK = 1024  # samples per AAC packet


def generate(folder: Path, settings: SampleSettings, actors: Sequence[int], workers: int) -> None:
    """Fill a folder with the clips of `actors`, `Actor_NN/01-01-EE-II-SS-RR-NN.mp4`, and no other clips.

    Clips from an earlier, interrupted call with the same settings are kept. Clips of other settings or of another
    version of this package are replaced.

    Args:
        folder: target folder, created if missing.
        settings: seed, frame size, frame rate and length of the clips.
        actors: numbers from 1 to 24.
        workers: number of processes.

    Raises:
        InputError: the folder contains clips that are not part of a synthetic corpus, or a clip could not be encoded.
    """
    _prepare(folder, settings)
    clips = {clip_path(folder, take): take for actor in actors for take in takes_of(actor, settings.repetitions)}
    for stray in set(folder.glob(f"Actor_*/*.mp4{PARTIAL}")) | (_clips_in(folder) - set(clips)):
        stray.unlink()
    missing = [take for path, take in clips.items() if not path.exists()]
    make = partial(write_clip, folder, settings)
    done = len(clips) - len(missing)
    for take, outcome in map_clips(make, missing, workers=workers, description="sample", done=done):
        if isinstance(outcome, ClipError):
            raise InputError(f"sample: {take.clip_id} could not be encoded: {outcome}")


def clip_path(folder: Path, take: Take) -> Path:
    """Path of a take's clip."""
    return folder / actor_folder(take.actor) / take.file_name(FileModality.AUDIO_VIDEO, ".mp4")


def write_clip(folder: Path, settings: SampleSettings, take: Take) -> None:
    """Render and encode one take; the file gets its final name only when it is complete."""
    frames = render_face(take, settings.seed, settings.width, settings.height, settings.fps, settings.seconds)
    sound = render_voice(take, settings.seed, settings.seconds)
    with atomic_path(clip_path(folder, take)) as path:
        _encode(path, frames, sound, settings.fps)


def _prepare(folder: Path, settings: SampleSettings) -> None:
    """Write the folder's record, and remove clips of other settings or versions."""
    if "libx264" not in av.codecs_available:
        raise InputError("This build of PyAV has no libx264 encoder: install the av wheel from the package index.")
    wanted = json.dumps(
        {"title": SYNTHETIC, "settings": settings.model_dump(), "program": code_digest(["cfnsr/corpus/sample"])},
        indent=2,
    )
    record = folder / RECORD
    found = record.read_text(encoding="utf-8") if record.exists() else None
    clips = _clips_in(folder)
    if found is None and clips:
        raise InputError(
            f"{folder} holds {len(clips)} clips that are not part of the synthetic sample: choose another folder, or "
            "move them elsewhere."
        )
    if found != wanted:
        for clip in clips:
            clip.unlink()
        write_text(record, wanted)
    write_text(folder / "README.txt", _NOTE)


def _clips_in(folder: Path) -> set[Path]:
    return set(folder.glob("Actor_*/*.mp4"))


def _encode(path: Path, frames: np.ndarray, sound: np.ndarray, fps: int) -> None:
    """Write RGB frames (T, H, W, 3) and sound (S,) at 48 kHz as mp4; the sound is made stereo, as in RAVDESS."""
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["title"] = SYNTHETIC
        container.metadata["comment"] = SYNTHETIC
        video = container.add_stream("libx264", rate=fps, options=_X264)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        video.thread_count = 1  # there is one process per core
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo", bit_rate=128_000)
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        stereo = np.stack([sound, sound])  # (2, S)
        for start in range(0, len(sound), _AUDIO_BLOCK):
            block = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(stereo[:, start : start + _AUDIO_BLOCK]), format="fltp", layout="stereo"
            )
            block.sample_rate = SAMPLE_RATE
            block.pts = start
            container.mux(audio.encode(block))
        container.mux(audio.encode())
