"""SIGKILL to a step and all its processes; then the same command again, until it ends by itself."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.chaos.project import STEPS, run, run_and_kill
from benchmarks.chaos.reference import Reference, compare, keep_failure, make_reference
from benchmarks.chaos.result import COMPARED, IGNORED

IN_A_ROW = (1, 2, 1, 3)
"""Kills before the command may end, in turn."""
ABOUT = f"""Each step runs as `python -m components.<step>` with tiny settings on one project, in the order of the
table; the clips are those of the sample corpus. SIGKILL ends the whole process group: half of the times at a random
moment of the step's usual time, half of the times within 40 ms after a change of its files. Then the same command is
started again, and killed again where kills come in a row, until it ends by itself with code 0. Its result is compared
with that of a run without kills. Compared are {COMPARED}. Not compared are {IGNORED}."""


def kills(work: Path, number: int, seed: int, steps: Sequence[str] = ()) -> dict[str, Any]:
    """Kill the steps, in as many rounds as needed; see the top of this module.

    Args:
        work: folder for the project and for what went wrong.
        number: of kills.
        seed: of the moments.
        steps: those that are killed; the others are left alone. Empty: all.

    Returns:
        The section of the report.
    """
    reference, rng = make_reference(work), random.Random(seed)
    shutil.rmtree(work / "temporary", ignore_errors=True)
    usual = dict(reference.steps)
    done, wrong, failures, commands = Counter[str](), Counter[str](), [], 0
    for turn in count():
        reference.restore(None)
        for place, step in enumerate(STEPS):
            if done.total() >= number:
                break
            if steps and step not in steps:
                reference.restore(step)
                continue
            wanted = min(IN_A_ROW[(turn + place) % len(IN_A_ROW)], number - done.total())
            killed = 0
            while killed < wanted and run_and_kill(reference.project, step, usual[step], rng):
                killed += 1
            if killed < wanted:  # it was faster: there is less load on the machine than there was
                seconds, changes = 0.8 * usual[step].seconds, round(0.8 * usual[step].changes)
                usual[step] = replace(usual[step], seconds=seconds, changes=changes)
            done[step] += killed
            commands += killed > 0
            problem = _problem(reference, step)
            if problem:
                wrong[step] += 1
                folder = keep_failure(reference, f"kills-{seed}-{turn}-{place}", problem)
                failures.append(f"{step}, killed {killed} times: {problem.splitlines()[0]} ({folder.name})")
                reference.restore(step)
            print(f"kills: {done.total()} of {number}; {step} {'WRONG' if problem else 'equal'}", flush=True)
        if done.total() >= number:
            break
    left = [path for path in (work / "temporary").rglob("*") if path.is_file()]
    return {
        "about": ABOUT,
        "counts": {
            "kills": done.total(),
            "commands that were killed at least once and then run to their end": commands,
            "of them with another result than without kills, or with an error": wrong.total(),
            "temporary files that the kills have left": len(left),
            "their size in MB": round(sum(path.stat().st_size for path in left) / 1e6, 1),
        },
        "table": {"head": ["step", "kills", "wrong"], "rows": [[step, done[step], wrong[step]] for step in STEPS]},
        "failures": failures,
    }


def _problem(reference: Reference, step: str) -> str:
    """What is wrong with the step's result when it is run to its end; empty if nothing is."""
    try:
        ended = run(reference.project, step)
    except TimeoutError as error:
        return str(error)
    if ended.code:
        return f"code {ended.code}: {ended.output.strip().splitlines()[-1]}"
    return "\n".join(compare(reference, step))
