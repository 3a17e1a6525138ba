"""Damaged media files, given to the manifest's probe and to `predict` in processes with limits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.chaos.isolated import Isolated
from benchmarks.chaos.mutate import MUTATIONS, Task
from benchmarks.chaos.verdict import GROWTH, SECONDS, Outcomes, section

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".ts", ".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus"}
SMALLEST = 64  # bytes, of a file that is damaged
SAMPLES = (".mp4", ".mov", ".mkv", ".ts", ".wav")
"""Formats of the sample clips, if no folder is given."""


def media(work: Path, number: int, seed: int, folders: Sequence[Path], lanes: int = 2) -> dict[str, Any]:
    """Damage files and look at what becomes of them.

    Args:
        work: folder for the files of failures.
        number: of damaged files.
        seed: of the damage.
        folders: of media files, searched recursively; none: clips of the sample corpus in several formats.
        lanes: processes at once.

    Returns:
        The section of the report.
    """
    from benchmarks.predict import SMALL_NETWORK, random_network

    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        sources = _media_in(folders) if folders else write_samples(scratch / "samples")
        load = partial(functions, random_network(scratch / "model.safetensors", **SMALL_NETWORK))
        tasks = [
            Task(place, sources[place % len(sources)], list(MUTATIONS)[place // len(sources) % len(MUTATIONS)], seed)
            for place in range(number)
        ]
        with ThreadPoolExecutor(lanes) as pool:
            undamaged = dict(zip(sources, _in_lanes(pool, lanes, load, sources), strict=True))

            def damaged(task: Task) -> Path:
                return task.write(scratch)

            outcomes = _in_lanes(pool, lanes, load, tasks, damaged)
        return section(work, list(zip(tasks, outcomes, strict=True)), undamaged)


def functions(model: Path) -> dict[str, Callable[[Path], Any]]:
    """What each file goes through; called in the process that does it."""
    import torch

    from benchmarks.chaos.decoder import decode
    from cfnsr import Predictor
    from cfnsr.errors import ClipError
    from cfnsr.media.probe import probe_media

    torch.set_num_threads(1)
    predictor = Predictor.from_pretrained(model)

    def probe(path: Path) -> str | None:
        try:
            probe_media(path)
        except ClipError as error:
            return str(error)
        return None

    def predict(path: Path) -> str | list[str]:
        try:
            return list(predictor(path).flags)
        except ClipError as error:
            return str(error)

    return {"decode": decode, "probe": probe, "predict": predict}


def write_samples(folder: Path) -> list[Path]:
    """Two clips of the sample corpus in each of the formats, the same packets in another container where that holds."""
    import av

    from cfnsr.config.corpus import SampleSettings
    from cfnsr.corpus.sample.corpus import clip_path, write_clip
    from cfnsr.corpus.sample.plan import takes_of

    settings, files = SampleSettings(), []
    for actor in (1, 2):
        take = takes_of(actor, 1)[0]
        write_clip(folder, settings, take)
        clip = clip_path(folder, take)
        for suffix in SAMPLES:
            path = folder / f"{take.clip_id}{suffix}"
            with av.open(str(clip)) as source, av.open(str(path), "w") as target:
                if suffix == ".wav":
                    track = target.add_stream("pcm_s16le", rate=48_000, layout="stereo")
                    for frame in source.decode(audio=0):
                        target.mux(track.encode(frame))
                    target.mux(track.encode())
                else:
                    tracks = {each.index: target.add_stream_from_template(each) for each in source.streams}
                    for packet in source.demux():
                        if packet.dts is not None:
                            packet.stream = tracks[packet.stream.index]
                            target.mux(packet)
            files.append(path)
    return files


def _media_in(folders: Sequence[Path]) -> list[Path]:
    files = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    found = [path for path in files if path.is_file() and path.stat().st_size >= SMALLEST]
    if not found:
        raise SystemExit(f"error: no media files in {', '.join(map(str, folders))}; name another folder")
    return found


def _in_lanes(
    pool: ThreadPoolExecutor,
    lanes: int,
    load: Callable[[], dict[str, Callable[[Path], Any]]],
    items: Sequence[Any],
    file_of: Callable[[Any], Path] | None = None,
) -> list[Outcomes]:
    """Call all functions on every file; a file that `file_of` has made is removed. Keeps the order."""
    found: list[Outcomes] = [{} for _ in items]

    def lane(first: int) -> None:
        process = Isolated(load, SECONDS, GROWTH + (1 << 30))
        try:
            for place in range(first, len(items), lanes):
                path = file_of(items[place]) if file_of else items[place]
                found[place] = {name: process.call(name, path) for name in ("decode", "probe", "predict")}
                if file_of:
                    path.unlink()
                if place % 50 == 0:
                    print(f"media: {place} of {len(items)}", flush=True)
        finally:
            process.close()

    list(pool.map(lane, range(lanes)))
    return found
