"""The run that nobody disturbs: what each step leaves, and how long it takes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.project import PROFILE, STEPS, Ended, copy_code, copy_outputs, run
from benchmarks.chaos.result import Result, differences, result_of


@dataclass(frozen=True)
class Reference:
    """The undisturbed run, which later calls with the same code use again.

    MLflow records absolute paths, so all runs, this one too, take place in the same folder, one after the other.
    """

    work: Path
    steps: dict[str, Ended]
    results: dict[str, Result]

    @property
    def project(self) -> Path:
        """The folder in which steps run."""
        return self.work / "project"

    def restore(self, step: str | None) -> None:
        """Bring the project to the state after a step of the undisturbed run; None: before the first step."""
        copy_outputs(self.work / "states" / (step or "nothing"), self.project)

    def bytes_of(self, step: str) -> int:
        """How much a step adds to the project's files."""
        before = dict(zip(list(STEPS)[1:], STEPS, strict=False)).get(step)
        return max(_size(self.work / "states" / step) - _size(self.work / "states" / str(before)), 1 << 16)


def make_reference(work: Path) -> Reference:
    """Run all steps once, or read what an earlier call has kept of that.

    Raises:
        RuntimeError: a step fails without being disturbed, or leaves another result when it is run again.
    """
    project, record = work / "project", work / "reference.json"
    for mounted in [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]:
        if Path(mounted).is_relative_to(work):  # left by a call that was killed
            subprocess.run(["umount", mounted], check=True)
    shutil.rmtree(project, ignore_errors=True)
    copy_code(project)
    key = _digest(project)
    kept = json.loads(record.read_text()) if record.exists() else {}
    if kept.get("key") != key:
        shutil.rmtree(work / "states", ignore_errors=True)
        (work / "states/nothing").mkdir(parents=True)
        steps = {}
        for step in STEPS:
            ended = run(project, step)
            if ended.code:
                raise RuntimeError(f"{step} fails without being disturbed:\n{ended.output}")
            copy_outputs(project, _made(work / "states" / step))
            steps[step] = dataclasses.asdict(ended)
            print(f"undisturbed: {step}, {ended.seconds:.1f} s", flush=True)
        record.write_text(json.dumps({"key": key, "steps": steps}))
        kept = {"steps": steps}
    reference = Reference(work, {name: Ended(**ended) for name, ended in kept["steps"].items()}, {})
    for step in STEPS:  # in the project's folder, which is the one that MLflow has recorded
        reference.restore(step)
        reference.results[step] = result_of(project)
    return reference


def compare(reference: Reference, step: str) -> list[str]:
    """How the project differs from the undisturbed run's after the same step."""
    return differences(reference.results[step], result_of(reference.project))


def keep_failure(reference: Reference, name: str, text: str) -> Path:
    """Keep the log and the files of a project whose result is wrong. Returns their folder."""
    folder = reference.work / "failures" / name
    shutil.rmtree(folder, ignore_errors=True)
    copy_outputs(reference.project, _made(folder / "project"))
    (folder / "failure.txt").write_text(text)
    log = reference.work / "output.log"
    if log.exists():
        shutil.copy2(log, folder)
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _digest(project: Path) -> str:
    """Digest of the code and the settings of the reference."""
    digest = hashlib.sha256(json.dumps(PROFILE).encode())
    for path in sorted(project.rglob("*")):
        if path.is_file() and path.parts[len(project.parts)] in ("cfnsr", "components", "dvc.yaml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
