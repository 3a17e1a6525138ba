"""What the answers for damaged files are worth, and how many of them there are of each kind."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.chaos.decoder import LONG
from benchmarks.chaos.isolated import Outcome
from benchmarks.chaos.mutate import MUTATIONS, Task

SECONDS = 60  # limit of a call
GROWTH = 2 << 30  # bytes
LOST = ("cut off", "no audio", "no video")
"""Flags that report damage, where the undamaged file does not have them."""
FLAGS = ", ".join(LOST)

CRASH, HANG, MEMORY = "crashes", f"hangs over {SECONDS} s", "growths over 2 GB"
ERROR = "errors that are not a sentence"
UNREPORTED = "damage that FFmpeg sees and `predict` does not report"
DAMAGED = "damaged, as the independent decoder sees it"
SHORTER = "only shorter than the undamaged file, with no sign of it in the file, and not reported"
LATER = "damage that the probe leaves to later stages"
UNSEEN = "reported although the independent decoder saw nothing"

ABOUT = f"""Files are damaged by replaced bytes, by truncation, by exchanged parts or by numbers written over their
header, all drawn from a seed. Each goes through the manifest's probe and `predict` (a network with random weights), in
processes with limits of {SECONDS} s and of address space, and through an independent decoder: PyAV, which reads all
packets and decodes the first video and the first audio track. It counts a file as damaged if FFmpeg fails, reports an
error or marks a packet or frame as corrupt, or if the tracks end over {LONG} s before the header says. `predict`
reports damage by an error in one sentence, or by a flag of {FLAGS} that the undamaged file does not have. Bytes that
decode to something else without any error are damage that nobody can see, and are not counted. A file that is only
shorter than the undamaged one (a cut transport stream, say) is counted, but not as a failure. The probe reads packets
without decoding them; what it passes is seen by the stages that decode."""

Outcomes = dict[str, Outcome]
"""Of the functions `decode`, `probe` and `predict` for a file."""


def section(work: Path, results: list[tuple[Task, Outcomes]], undamaged: dict[Path, Outcomes]) -> dict[str, Any]:
    """The section of the report; the files of what went wrong are kept in `failures/media`."""
    counts: Counter[str] = Counter()
    rows = {name: Counter[str]() for name in MUTATIONS}
    failures, folder = [], work / "failures" / "media"
    shutil.rmtree(folder, ignore_errors=True)
    for task, outcomes in results:
        found = _found(outcomes, undamaged[task.source])
        counts.update(found.keys())
        texts = [text for kind, text in found.items() if kind in (CRASH, HANG, MEMORY, ERROR, UNREPORTED)]
        rows[task.mutation].update(files=1, damaged=DAMAGED in found, wrong=bool(texts))
        if texts:
            folder.mkdir(parents=True, exist_ok=True)
            task.write(folder)
            failures.append(f"{task.name}: {'; '.join(texts)}")
    growth = max(outcomes[name].growth for _, outcomes in results for name in ("probe", "predict"))
    kinds = (CRASH, HANG, MEMORY, ERROR, DAMAGED, UNREPORTED, SHORTER, LATER, UNSEEN)
    columns = ("files", "damaged", "wrong")
    return {
        "about": ABOUT,
        "counts": {
            "damaged files": len(results),
            "undamaged files that they were made from": len(undamaged),
            **{kind: counts[kind] for kind in kinds},
            "largest growth of memory during a call, in MB": round(growth / 1e6),
        },
        "table": {
            "head": ["damage by", *columns],
            "rows": [[name, *(counted[column] for column in columns)] for name, counted in rows.items()],
        },
        "failures": failures,
    }


def _found(outcomes: Outcomes, intact: Outcomes) -> dict[str, str]:
    """What happened to a file: by kind, in words."""
    found = {}
    for name in ("probe", "predict"):
        outcome = outcomes[name]
        if outcome.ending:
            found[CRASH if outcome.ending == "crash" else HANG] = f"{outcome.ending} of {name}"
        elif outcome.growth > GROWTH or outcome.error.startswith("MemoryError"):
            found[MEMORY] = f"{name} grew by {outcome.growth / 1e6:.0f} MB {outcome.error}"
        elif outcome.error:
            found[ERROR] = f"{name} raised {outcome.error}"
    problem, shorter = _damage(outcomes["decode"], intact["decode"])
    answered = isinstance(outcomes["predict"].value, list)
    flags = {flag for flag in outcomes["predict"].value if flag in LOST} if answered else set()
    reported = not answered or bool(flags.difference(intact["predict"].value or ()))
    if problem:
        found[DAMAGED] = problem
        if not outcomes["probe"].value:
            found[LATER] = problem
        if not reported:
            found[UNREPORTED] = f"answered without a flag for it, but {problem}"
    elif reported and answered:
        found[UNSEEN] = ", ".join(flags)
    elif shorter and not reported:
        found[SHORTER] = shorter
    return found


def _damage(found: Outcome, intact: Outcome) -> tuple[str, str]:
    """What FFmpeg says against a file, and in what it is shorter than the undamaged one; empty for nothing."""
    if found.value is None:
        return found.error or f"the independent decoder had a {found.ending}", ""
    problem = found.value["problem"] if found.value["problem"] != intact.value["problem"] else ""
    lost = [
        f"its {track} has {found.value['seconds'].get(track, 0.0):.2f} of {seconds:.2f} s"
        for track, seconds in intact.value["seconds"].items()
        if found.value["seconds"].get(track, 0.0) < seconds - LONG
    ]
    return problem, "; ".join(lost)
