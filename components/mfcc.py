"""Stage `mfcc`: the MFCC of every clip with sound, in one Parquet file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfnsr.config.load import Settings
from cfnsr.config.sections import MfccSettings
from cfnsr.corpus.manifest import part_of, read_manifest
from cfnsr.features.mfcc import SCHEMA, features_of_file
from cfnsr.features.packed import (
    ClipTask,
    check_bad_share,
    excluded,
    extract_by_speaker,
    features_key,
    merge_packed,
    read_key,
)
from cfnsr.parallel import default_workers
from components.step import code_of, output_lock, run_step


@dataclass(frozen=True)
class MfccTask(ClipTask):
    """One clip, and what its MFCC depends on."""

    path: Path
    settings: MfccSettings


def mfcc(settings: Settings) -> None:
    """Write `data/<profile>/mfcc.parquet`; an interrupted run continues after its last finished speaker.

    Raises:
        InputError: there is no manifest, another process is writing the same file, or more clips than
            `mfcc.max_bad_share` can't be used.
    """
    params, layout = settings.params.mfcc, settings.layout
    with output_lock(settings, layout.mfcc):
        tasks, depends_on = _tasks(settings), _dependencies(params)
        key = features_key(depends_on, tasks)
        folder = layout.mfcc.with_name(f".{layout.mfcc.stem}")  # finished speakers of an unfinished run
        if read_key(layout.mfcc) != key:
            parts = extract_by_speaker(
                extract,
                tasks,
                folder=folder,
                schema=SCHEMA,
                settings=depends_on,
                workers=default_workers(),
                description="mfcc",
            )
            merge_packed(parts, layout.mfcc, SCHEMA, key)
        shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed after merging them
        reasons = excluded([layout.mfcc])
    check_bad_share("mfcc", reasons, len(tasks), params.max_bad_share)


def keys(settings: Settings) -> dict[Path, str]:
    """The key of the file that the stage makes from the present settings, clips and code.

    Raises:
        InputError: there is no manifest.
    """
    return {settings.layout.mfcc: features_key(_dependencies(settings.params.mfcc), _tasks(settings))}


def _tasks(settings: Settings) -> list[MfccTask]:
    params, layout = settings.params.mfcc, settings.layout
    clips = read_manifest(layout.manifest)
    clips = clips[(clips["reason"] == "") & clips["has_audio"]]
    return [
        MfccTask(
            clip["clip_id"],
            clip["speaker"],
            clip["audio_digest"],
            path=layout.raw / clip["audio_path"],
            settings=params,
            **part_of(clip),
        )
        for clip in clips.to_dict("records")
    ]


def _dependencies(params: MfccSettings) -> dict[str, Any]:
    """What the features depend on, besides the clips."""
    return params.model_dump(exclude={"max_bad_share"}) | {"code": code_of("mfcc")}


def extract(task: MfccTask) -> dict[str, Any]:
    """Columns of one clip; runs in a worker process."""
    matrix, training = features_of_file(task.path, task.settings, task.start, task.end)
    return {
        "source": task.path.suffix[1:].lower(),
        "mfcc": list(matrix),
        "views": None if training is None else training.tobytes(),
    }


if __name__ == "__main__":
    run_step(mfcc, __doc__)
