"""The web page as a program, and what a visitor does on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.running_programs import running
from playwright.sync_api import Page, expect

DEADLINE = 120_000  # ms
SECONDS, MEGABYTES = 6, 5
"""Limits of the server."""
DESKTOP, PHONE = (1280, 900), (390, 844)
"""Sizes of windows, pixels."""


@contextmanager
def served(home: Path, temporary: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """`cfnsr serve`, once it has printed its address."""
    limits = ["--max-seconds", str(SECONDS), "--max-megabytes", str(MEGABYTES)]
    command = ["serve", "--model", str(home / "model.safetensors"), "--port", str(port), *limits]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    with running([sys.executable, "-m", "cfnsr.cli", *command], env=environment) as program:
        line = program.stdout.readline()
        assert f"open http://127.0.0.1:{port} in a browser" in line, line + program.stdout.read()
        yield program


def send(page: Page, clip: Path) -> None:
    page.set_input_files("#player input[type=file]", clip)


def answered(page: Page, clip: Path) -> str:
    """Upload a clip and wait for its result. Returns the emotion."""
    send(page, clip)
    expect(page.locator("#answer .name")).to_contain_text(clip.name, timeout=DEADLINE)
    return page.locator("#answer .emotion").inner_text().split()[0]


def kept(folder: Path, pattern: str) -> list[Path]:
    """The files below a folder, while the server may be removing some."""
    while True:
        try:
            return list(folder.rglob(pattern))
        except FileNotFoundError:
            continue


def top(page: Page, selector: str) -> float:
    return page.locator(selector).bounding_box()["y"]
