"""Runs the data stages on a folder of real RAVDESS files and reports the results.

    python -m benchmarks.real_run FOLDER --write docs/real-run.md

Works in a temporary clone of the last commit, through `dvc repro`, so the working tree does not change.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from cfnsr.config.load import load_settings
from cfnsr.corpus.manifest import read_manifest, row_name
from cfnsr.features.faces.store import read_faces
from cfnsr.features.packed import excluded
from cfnsr.parallel import default_workers

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("download", "manifest", "faces", "mfcc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of RAVDESS files, searched recursively")
    parser.add_argument("--write", type=Path, help="Markdown file to write (default: only printed)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = copy_project(Path(folder) / "cfnsr", arguments.folder.resolve())
        seconds = {stage: repro(project, stage) for stage in STAGES}
        again = repro(project, *STAGES)
        page = report(project, arguments.folder, seconds, again)
    print(page)
    if arguments.write:
        arguments.write.write_text(page)


def copy_project(project: Path, clips: Path) -> Path:
    """Clone the last commit of the project, and set its ravdess profile to a local folder."""
    subprocess.run(["git", "clone", "-q", ROOT, project], check=True)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["profile"] = "ravdess"
    params["ravdess"]["dataset"] |= {"source": "local", "path": str(clips)}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    return project


def repro(project: Path, *stages: str) -> float:
    """Bring stages up to date and return the seconds, including DVC."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    started = time.monotonic()
    subprocess.run(["dvc", "repro", "--quiet", *stages], cwd=project, env=environment, check=True)
    return time.monotonic() - started


def report(project: Path, folder: Path, seconds: dict[str, float], again: float) -> str:
    """Return the report in Markdown."""
    layout = load_settings(project / "params.yaml").layout
    clips = read_manifest(layout.manifest)
    usable = clips[clips["reason"] == ""]
    files = [path for path in folder.rglob("*") if path.suffix in (".mp4", ".wav", ".flac")]
    faces = sorted(layout.faces.glob("*.parquet"))
    reasons = {row_name(row): row.reason for row in clips[clips["reason"] != ""].itertuples()}
    reasons |= {f"{clip} (faces)": reason for clip, reason in excluded(faces).items()}
    reasons |= {f"{clip} (mfcc)": reason for clip, reason in excluded([layout.mfcc]).items()}
    flags = [
        flag.value
        for clip in usable[usable["has_video"]]["clip_id"]
        if f"{clip} (faces)" not in reasons
        for flag in read_faces(layout.faces, clip).flags
    ]
    both = usable["has_audio"] & usable["has_video"]
    rows = {
        "files found": _counted([path.suffix for path in files]),
        "takes in the manifest": len(usable),
        "with audio, with video, with both": (
            f"{usable['has_audio'].sum()}, {usable['has_video'].sum()}, {both.sum()}"
        ),
        "actors with video": usable[usable["has_video"]]["actor"].nunique(),
        "face crops": _counted(flags),
        "takes and files left out": len(reasons),
        **{f"`dvc repro {stage}`": f"{value:.1f} s" for stage, value in seconds.items()},
        "all four again, up to date": f"{again:.1f} s",
    }
    lines = [
        "# The data stages on real RAVDESS files",
        "",
        "Made by `python -m benchmarks.real_run FOLDER --write docs/real-run.md`: the `ravdess` profile with",
        "`dataset.source: local`, each stage through `dvc repro`, in a copy of the project.",
        "",
        "| what | came out |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
        "Left out, and why: " + ("; ".join(f"{name}: {why}" for name, why in reasons.items()) or "nothing."),
        "",
        f"Machine: {default_workers()} cores, {platform.machine()}, Python {platform.python_version()}.",
        "Seconds include DVC's own start, hashing and caching.",
    ]
    return "\n".join(lines) + "\n"


def _counted(values: list[str]) -> str:
    counts = [f"{values.count(value)} {value}" for value in sorted(set(values), key=values.count, reverse=True)]
    return f"{len(values)}: {', '.join(counts)}" if counts else "none"


if __name__ == "__main__":
    main()
