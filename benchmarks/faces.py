"""Measures the speed of face extraction relative to plain decoding of the same files, and its memory use.

    python -m benchmarks.faces FOLDER [--repeats 10] [--copies 2] [--processes 2]

Plain decoding decodes every frame and discards it. Both run in the same processes with one decoder thread each, in
alternating rounds, so that other load on the machine affects both equally.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2

import components.faces  # noqa: F401  the stage's imports count towards its memory
from cfnsr.config.sections import FacesSettings
from cfnsr.features.faces.extract import FaceTask, extract_faces
from cfnsr.media.video import read_frames


def bare(video: Path) -> None:
    for _ in read_frames(video):
        pass


def faces(video: Path) -> None:
    extract_faces(FaceTask(video.stem, 1, "", video, None, FacesSettings()))


def measured(work: Callable[[Path], None], video: Path) -> tuple[int, int, float]:
    """Return the process id, its peak memory so far, and the CPU seconds for the clip."""
    started = time.process_time()
    work(video)
    return os.getpid(), _peak(), time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of mp4 files, searched recursively")
    parser.add_argument("--repeats", type=int, default=10, help="rounds (default: 10)")
    parser.add_argument("--copies", type=int, default=2, help="times that a round processes each clip (default: 2)")
    parser.add_argument("--processes", type=int, default=2, help="worker processes (default: 2)")
    arguments = parser.parse_args()
    clips = sorted(arguments.folder.rglob("*.mp4"))
    if not clips:
        sys.exit(f"error: {arguments.folder} has no mp4 files; name another folder")

    peaks: dict[int, int] = {}
    speeds: dict[Callable, list[float]] = {bare: [], faces: []}
    cpu: dict[Callable, list[float]] = {bare: [], faces: []}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, context, cv2.setNumThreads, (1,)) as pool:

        def run(work: Callable, videos: list[Path]) -> float:
            started = time.perf_counter()
            for process, peak, seconds in pool.map(partial(measured, work), videos):
                peaks[process] = peak
                cpu[work].append(seconds)
            return len(videos) / (time.perf_counter() - started)

        run(faces, clips)  # warm-up: processes started, libraries loaded, files in memory
        for number in range(arguments.repeats):
            order = (bare, faces) if number % 2 == 0 else (faces, bare)
            for work in order:
                speeds[work].append(run(work, clips * arguments.copies))
            print(f"round {number + 1}: bare {speeds[bare][-1]:.2f}, faces {speeds[faces][-1]:.2f} clips/s", flush=True)

    ratios = [cut / decoded for decoded, cut in zip(speeds[bare], speeds[faces], strict=True)]
    print(f"clips:         {len(clips)}, each {arguments.copies} times per round, {arguments.processes} processes")
    print(f"bare decoding: {statistics.median(speeds[bare]):.2f} clips/s (median of {arguments.repeats} rounds)")
    print(f"faces:         {statistics.median(speeds[faces]):.2f} clips/s")
    print(f"ratio:         {statistics.median(ratios):.0%} (lowest round {min(ratios):.0%})")
    seconds = {work: statistics.median(cpu[work]) for work in cpu}
    print(f"CPU time:      bare {seconds[bare]:.3f} s, faces {seconds[faces]:.3f} s per clip (medians)")
    print(f"peak memory:   {(_peak() + sum(peaks.values())) / 1024:.0f} MB, parent and workers in total")


def _peak() -> int:
    """Peak memory of this process in KiB, the unit on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
