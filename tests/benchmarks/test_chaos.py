"""The harness behind `make chaos`: what it blames, what it compares, what it writes."""

import os
import time
from pathlib import Path

from benchmarks.chaos.isolated import Isolated
from benchmarks.chaos.mutate import MUTATIONS, Task
from benchmarks.chaos.report import render
from benchmarks.chaos.result import differences, result_of


def functions() -> dict:
    return {"end": os._exit, "sleep": time.sleep, "grow": lambda size: len(bytearray(size)), "number": int}


def test_a_call_that_crashes_hangs_or_grows_is_told_from_its_neighbours():
    process = Isolated(functions, seconds=5, growth=1 << 30)
    try:
        calls = [("number", "3"), ("end", 1), ("number", "4"), ("sleep", 60), ("number", "x"), ("grow", 200_000_000)]
        found = [process.call(*call) for call in calls]
        assert [outcome.ending for outcome in found] == ["", "crash", "", "hang", "", ""]
        assert [outcome.value for outcome in found] == [3, None, 4, None, None, 200_000_000]
        assert found[4].error.startswith("ValueError")
        assert 150_000_000 < found[5].growth < 250_000_000
        assert process.call("grow", 4 << 30).error.startswith("MemoryError")
    finally:
        process.close()


def test_damage_depends_on_the_seed_and_the_number_only(tmp_path):
    source = tmp_path / "clip.mp4"
    source.write_bytes(bytes(range(256)) * 20)
    for name in MUTATIONS:
        same, again, other = (Task(number, source, name, 7).write(tmp_path).read_bytes() for number in (1, 1, 2))
        assert same == again != other
        assert same != source.read_bytes()


def test_a_result_leaves_out_times_and_shows_everything_else(tmp_path):
    def project(name: str, accuracy: str, seconds: int) -> Path:
        folder = tmp_path / name
        (folder / "runs").mkdir(parents=True)
        (folder / "runs/history.csv").write_text(f"epoch,seconds,accuracy\n0,{seconds},{accuracy}\n")
        (folder / "runs/fold.json").write_text(f'{{"fold": 0, "seconds": {seconds}}}')
        (folder / "runs/tiny.lock").touch()
        return folder

    usual, slower = (result_of(project(name, "0.5", seconds)) for name, seconds in (("usual", 1), ("slower", 2)))
    assert differences(usual, slower) == []
    worse = project("worse", "0.4", 1)
    (worse / "runs/fold.json.part").touch()
    assert [line.split(":")[0] for line in differences(usual, result_of(worse))] == [
        "file runs/fold.json.part",
        "file runs/history.csv",
    ]


def test_the_report_shows_every_count():
    section = {
        **{"command": "python -m benchmarks.chaos kills", "seconds": 60, "machine": "2 cores", "commit": "abc"},
        **{"date": "2026-01-01", "about": "Kills.", "counts": {"kills": 20, "wrong": 1}},
        "table": {"head": ["step", "kills"], "rows": [["train", 20]]},
        "failures": ["train: another result"],
    }
    text = render({"kills": section})
    for part in ("| kills | 20 |", "| wrong | 1 |", "| train | 20 |", "- train: another result", "2026-01-01"):
        assert part in text
