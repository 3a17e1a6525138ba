"""Stage `faces`: crop the face from frames evenly spaced over each clip, and pack the crops in one file per speaker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cfnsr.config.load import Settings
from cfnsr.config.sections import FacesSettings
from cfnsr.corpus.manifest import part_of, read_manifest
from cfnsr.errors import InputError
from cfnsr.features.faces.detect import load_detector
from cfnsr.features.faces.extract import FaceTask, extract_faces
from cfnsr.features.faces.store import SCHEMA
from cfnsr.features.packed import check_bad_share, excluded, extract_by_speaker, files_by_speaker
from cfnsr.files import file_digest
from cfnsr.parallel import default_workers
from components.step import code_of, output_lock, run_step


def faces(settings: Settings) -> None:
    """Write `data/<profile>/faces/<speaker>.parquet` for all clips that have a video.

    Speakers that an earlier run with the same settings and clips has finished are skipped.

    Raises:
        InputError: the raw folder, the manifest or the detector's file is missing, another process is writing the same
            files, or more clips than `faces.max_bad_share` had to be excluded (the files are written all the same).
    """
    layout = settings.layout
    if not layout.raw.is_dir():
        raise InputError(f"{layout.raw} is missing: run `dvc repro download` first.")
    with output_lock(settings, layout.faces):
        options = _options(settings)
        tasks = _tasks(settings, options)
        layout.faces.mkdir(parents=True, exist_ok=True)
        paths = extract_by_speaker(
            extract_faces,
            tasks,
            folder=layout.faces,
            schema=SCHEMA,
            settings=_dependencies(options),
            workers=default_workers(),
            description="faces",
        )
        reasons = excluded(paths)
    if not tasks:
        print(
            f"faces: no clip of {layout.manifest} has a video; {layout.faces} stays empty, and audio can be used alone"
        )
    check_bad_share("faces", reasons, len(tasks), options.max_bad_share)


def keys(settings: Settings) -> dict[Path, str]:
    """The key of each file that the stage makes from the present settings, clips and code.

    Raises:
        InputError: the manifest or the detector's file is missing.
    """
    options = _options(settings)
    files = files_by_speaker(_tasks(settings, options), settings.layout.faces, _dependencies(options))
    return {path: key for path, (key, _) in files.items()}


def _options(settings: Settings) -> FacesSettings:
    """The section `faces` with the full path of the detector's file."""
    options = settings.params.faces
    options = options.model_copy(update={"yunet": options.yunet and settings.layout.root / options.yunet})
    load_detector(options.yunet)  # fail now, not once per clip
    return options


def _tasks(settings: Settings, options: FacesSettings) -> list[FaceTask]:
    raw = settings.layout.raw
    table = read_manifest(settings.layout.manifest)
    return [
        FaceTask(
            clip_id=row["clip_id"],
            speaker=row["speaker"],
            digest=f"{row['video_digest']} {row['landmarks_digest']}",
            video=raw / row["video_path"],
            landmarks=raw / row["landmarks_path"] if row["landmarks_path"] else None,
            settings=options,
            **part_of(row),
        )
        for row in table[(table["reason"] == "") & table["has_video"]].to_dict("records")
    ]


def _dependencies(options: FacesSettings) -> dict[str, Any]:
    """What the crops depend on, besides the clips."""
    chosen = options.model_dump(exclude={"max_bad_share", "yunet"})
    return chosen | {"yunet": options.yunet and file_digest(Path(options.yunet)), "code": code_of("faces")}


if __name__ == "__main__":
    run_step(faces, __doc__)
