"""Small archives with the names and the layout of RAVDESS's."""

from __future__ import annotations

import io
import random
import zipfile
from dataclasses import replace
from pathlib import Path

from cfnsr.config.corpus import DatasetSettings
from cfnsr.config.layout import Layout
from cfnsr.config.load import Settings
from cfnsr.config.sections import ProfileSettings
from cfnsr.corpus.download.transfer import RetryPolicy
from cfnsr.corpus.ravdess import FileModality, Take

HASTY = RetryPolicy(
    attempts=3,
    first_delay=0.01,
    longest_delay=0.05,
    longest_retry_after=0.05,
    connect_timeout=2.0,
    read_timeout=20.0,
)
IMPATIENT = replace(HASTY, read_timeout=0.4)
"""For servers that stall; others may be slow on a busy machine."""
STEADY = replace(HASTY, read_timeout=3.0)
"""For servers that stall once: this machine must not stall as long in between."""


def takes(actor: int, count: int = 3) -> list[Take]:
    return [Take(actor, 1, emotion, 1, 1, 1) for emotion in range(1, count + 1)]


def noise(seed: int | str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def make_zip(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as zipped:
        for name, content in entries.items():
            zipped.writestr(name, content)
    return buffer.getvalue()


def video_zip(actor: int, size: int = 100_000, count: int = 3) -> bytes:
    """`Video_Speech_Actor_NN.zip` with `count` files of `size` bytes."""
    names = [take.file_name(FileModality.AUDIO_VIDEO, ".mp4") for take in takes(actor, count)]
    return make_zip({f"Actor_{actor:02d}/{name}": noise(name, size) for name in names})


def all_actors_zip(actors: list[int], modality: FileModality, suffix: str, size: int = 2000) -> bytes:
    """An archive of all actors, such as the sound tracks or the landmarks."""
    names = {take.file_name(modality, suffix): take.actor for actor in actors for take in takes(actor)}
    return make_zip({f"Actor_{actor:02d}/{name}": noise(name, size) for name, actor in names.items()})


def settings_for(root: Path, **dataset: object) -> Settings:
    params = ProfileSettings(dataset=DatasetSettings.model_validate(dataset))
    return Settings("test", params, Layout(root, "test"), root / "params.yaml")


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
