"""Hard ways to end: killed steps, full disks, damaged media files, a loaded server. Counts what goes wrong.

    python -m benchmarks.chaos [all]                            everything, as `make chaos` does, in about an hour
    python -m benchmarks.chaos kills [--number 100] [--step train --step tune]
    python -m benchmarks.chaos disks [--number 3]
    python -m benchmarks.chaos media [--number 1000] [--folder FOLDER ...]
    python -m benchmarks.chaos server

Each part writes its counts to docs/reliability.json, from which docs/reliability.md is made, and leaves those of the
other parts alone, so that an interrupted run can go on part by part. Logs and files of what went wrong are kept in
`tmp/chaos/failures`. The exit code is 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos.disks import disks
from benchmarks.chaos.kills import kills
from benchmarks.chaos.media import media
from benchmarks.chaos.project import ROOT, STEPS
from benchmarks.chaos.report import TITLES, record
from benchmarks.chaos.server import server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["all", *TITLES], default="all")
    parser.add_argument("--number", type=int, help="of kills, of full disks per case, or of damaged files")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    parser.add_argument("--step", action="append", choices=list(STEPS), help="kill or fill only this one (repeatable)")
    parser.add_argument("--folder", type=Path, action="append", help="of media files to damage (default: sample clips)")
    parser.add_argument("--work", type=Path, default=ROOT / "tmp/chaos", help="folder to work in (default: tmp/chaos)")
    given = parser.parse_args()
    work, steps = given.work.resolve(), given.step or ()
    work.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what runs, and unmounts
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "kills": lambda: kills(work, given.number or 100, given.seed, steps),
        "disks": lambda: disks(work, given.number or 3, given.seed, steps),
        "media": lambda: media(work, given.number or 1000, given.seed, given.folder or ()),
        "server": lambda: server(work),
    }
    wrong = 0
    for part in TITLES if given.part == "all" else [given.part]:
        started = time.monotonic()
        section = parts[part]()
        record(
            part, f"python -m benchmarks.chaos {shlex.join(sys.argv[1:])}".strip(), section, time.monotonic() - started
        )
        wrong += len(section["failures"])
        for count, value in section["counts"].items():
            print(f"{part}: {count}: {value}")
    print(f"{wrong} failures" + f"; {work / 'failures'} has their logs and files" * bool(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
