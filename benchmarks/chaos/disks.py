"""A disk that is full in the middle of a step; then space is made, and the same command runs again."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.chaos.project import STEPS, Ended, run
from benchmarks.chaos.reference import Reference, compare, keep_failure, make_reference
from benchmarks.chaos.result import COMPARED, IGNORED

ABOUT = f"""A tmpfs of limited size is mounted where the table says, and filled so far that none, or a random share,
of what the step writes there fits. The step must end with code 2 and one sentence, or succeed if it fits after all.
Then space is made, the same command runs again, and its result is compared with that of a run with enough space.
Compared are {COMPARED}. Not compared are {IGNORED}."""


class Case(NamedTuple):
    """A step, and the folder of the project (or beside it) that is on the small disk."""

    step: str
    place: str

    @property
    def words(self) -> str:
        """Where the disk is full."""
        return {"": "the whole project", "../temporary": "the temporary folder"}.get(self.place, self.place)


CASES = (
    *(Case(step, "") for step in STEPS),
    Case("train", "runs"),  # checkpoints and the outbox; MLflow's database has space
    Case("tune", "runs"),
    Case("tune", "studies"),
    Case("evaluate", "mlartifacts"),  # MLflow's files; its database has space
    Case("register", "mlartifacts"),
    Case("register", "../temporary"),
)


def disks(work: Path, number: int, seed: int, steps: Sequence[str] = ()) -> dict[str, Any]:
    """Fill the disk in each case, with no space at first and then with random amounts.

    Args:
        work: folder for the project and for what went wrong.
        number: of times per case.
        seed: of the amounts.
        steps: those whose disk is filled. Empty: all.

    Returns:
        The section of the report.
    """
    cases = [case for case in CASES if not steps or case.step in steps]
    if os.geteuid() != 0:
        counts = {"not run, because only root may mount a tmpfs": number * len(cases)}
        return {"about": ABOUT, "counts": counts, "failures": []}
    reference, rng = make_reference(work), random.Random(seed)
    rows, failures = [], []
    for case in cases:
        full = wrong = 0
        for turn in range(number):
            share = rng.random() if turn else 0.0
            was_full, problem = _fill(reference, case, share)
            full += was_full
            if problem:
                wrong += 1
                folder = keep_failure(reference, f"disks-{seed}-{CASES.index(case)}-{turn}", problem)
                first = problem.splitlines()[0]
                failures.append(f"{case.step}, {case.words}, space for {share:.0%}: {first} ({folder.name})")
            print(f"disks: {case.step}, {case.words}, {share:.0%}: {'WRONG' if problem else 'right'}", flush=True)
        rows.append([case.step, case.words, number, full, wrong])
    return {
        "about": ABOUT,
        "counts": {
            "commands on a small disk": number * len(cases),
            "of them stopped by the full disk": sum(row[3] for row in rows),
            "without one sentence, or with another result once there was space": sum(row[4] for row in rows),
        },
        "table": {"head": ["step", "on the small disk", "times", "stopped", "wrong"], "rows": rows},
        "failures": failures,
    }


def _fill(reference: Reference, case: Case, share: float) -> tuple[bool, str]:
    """Whether the step was stopped by the full disk, and what went wrong then or afterwards."""
    before = dict(zip(list(STEPS)[1:], STEPS, strict=False)).get(case.step)
    reference.restore(before)
    with _small_disk(reference.project / case.place) as mounted:
        ballast = mounted / "ballast"
        space = int(share * reference.bytes_of(case.step)) // 4096 * 4096
        _leave(ballast, space)
        try:
            ended = run(reference.project, case.step)
            sentence = _not_a_sentence(ended)
            ballast.unlink()
            again = run(reference.project, case.step)
        except TimeoutError as error:
            return True, str(error)
        wrong = [sentence] if sentence else []
        if again.code:
            wrong.append(f"after space was made, code {again.code}: {again.output.strip().splitlines()[-1]}")
        else:
            wrong += compare(reference, case.step)
        if wrong:
            wrong.append(f"\nwith the full disk:\n{ended.output}")
        return ended.code != 0, "\n".join(wrong)


def _not_a_sentence(ended: Ended) -> str:
    """What is wrong with how a command ended on a full disk; empty for success and for one sentence about the disk."""
    if ended.code == 0:
        return ""
    lines = [line for line in ended.output.splitlines() if line.startswith("error: ")]
    if ended.code != 2 or len(lines) != 1 or "Traceback" in ended.output:
        return f"code {ended.code} and not one sentence: {ended.output.strip().splitlines()[-1]}"
    return "" if re.search(r"disk|space", lines[0]) else f"the sentence does not name the disk: {lines[0]}"


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system in place of a folder, with its content."""
    aside = folder.with_name(f"{folder.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    shutil.copytree(folder, aside)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(folder)], check=True)
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield folder
    finally:
        kept = folder.with_name(f"{folder.name}.kept")
        shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("ballast"))
        subprocess.run(["umount", str(folder)], check=True)
        shutil.rmtree(folder)
        kept.rename(folder)
        shutil.rmtree(aside)


def _leave(ballast: Path, space: int) -> None:
    """Fill a file system up to some bytes."""
    status = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - space)
