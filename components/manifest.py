"""Stage `manifest`: examine every raw file and write one row per clip, with the reason for every exclusion."""

from __future__ import annotations

import logging

import pandas as pd

from cfnsr.config.load import Settings
from cfnsr.corpus.manifest import faults, selected, write_manifest
from cfnsr.corpus.ravdess_manifest import ravdess_manifest
from cfnsr.corpus.table_manifest import table_manifest
from cfnsr.errors import InputError
from cfnsr.media.probe import is_synthetic
from cfnsr.parallel import default_workers
from components.step import output_lock, run_step

logger = logging.getLogger(__name__)


def manifest(settings: Settings) -> None:
    """Write `data/<profile>/clips.csv`.

    Raises:
        InputError: the raw folder is missing or empty, another process is writing the same file, there is no usable
            clip, synthetic clips pass for real ones, or more rows than `manifest.max_bad_share` have a file that can't
            be used (the table is written all the same).
    """
    with output_lock(settings, settings.layout.manifest):
        build = table_manifest if settings.params.dataset.source == "table" else ravdess_manifest
        table = build(settings.layout.raw, settings.params.dataset, default_workers())
        write_manifest(table, settings.layout.manifest)
    _report(table)
    _check(table, settings)
    _check_origin(table, settings)


def _report(table: pd.DataFrame) -> None:
    clips = table[table["reason"] == ""]
    both = clips["has_video"] & clips["has_audio"]
    print(
        f"manifest: {len(clips)} clips of {clips['speaker'].nunique()} speakers: "
        f"{clips['has_video'].sum()} with video, {clips['has_audio'].sum()} with audio, {both.sum()} with both"
    )
    others = len(table) - len(selected(table))
    if others:
        print(f"manifest: not selected by dataset.vocal or dataset.labels: {others}")
    for name, fault in faults(table).items():
        logger.warning("manifest: %s: %s", name, fault)


def _check(table: pd.DataFrame, settings: Settings) -> None:
    limit = settings.params.manifest.max_bad_share
    path = settings.layout.manifest
    found, total = faults(table), len(selected(table))
    if total and len(found) / total > limit:
        name, fault = next(iter(found.items()))
        raise InputError(
            f"manifest: {len(found)} of {total} clips and files can't be used ({name}: {fault}), more than the "
            f"{limit:.0%} that manifest.max_bad_share allows; {path} lists them all: repair them or raise the limit."
        )
    if not (table["reason"] == "").any():
        raise InputError(f"manifest: there is no usable clip below {settings.layout.raw}; {path} says why.")


def _check_origin(table: pd.DataFrame, settings: Settings) -> None:
    """Synthetic clips are accepted from the source `sample` only, so that all figures on them are called synthetic."""
    if settings.params.dataset.synthetic:
        return
    videos = table[(table["reason"] == "") & table["has_video"]]
    for path in videos.groupby("speaker")["video_path"].first():
        if is_synthetic(settings.layout.raw / path):
            raise InputError(
                f"manifest: {path} is a clip of the synthetic sample corpus, whose figures must be called synthetic: "
                "set dataset.source to sample."
            )


if __name__ == "__main__":
    run_step(manifest, __doc__)
