"""docs/reliability.json with the counts of all parts, and docs/reliability.md made from it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from typing import Any

from benchmarks.chaos.project import ROOT

DATA, TEXT = ROOT / "docs/reliability.json", ROOT / "docs/reliability.md"
TITLES = {
    "kills": "Killed steps",
    "disks": "Full disks",
    "media": "Damaged media files",
    "server": "Load on the page and the REST API",
}
"""Parts in their order, with their headings."""
HEAD = "# Reliability\n\nMade by `make chaos`, which counts every figure itself.\n"


def record(part: str, command: str, section: dict[str, Any], seconds: float) -> None:
    """Replace the section of a part, and write both files."""
    content = json.loads(DATA.read_text()) if DATA.exists() else {}
    content[part] = {"command": command, "seconds": round(seconds), **_circumstances(), **section}
    DATA.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    TEXT.write_text(render(content))


def render(content: dict[str, Any]) -> str:
    """The text of docs/reliability.md."""
    return "\n".join([HEAD, *(_section(title, content[part]) for part, title in TITLES.items() if part in content)])


def _section(title: str, section: dict[str, Any]) -> str:
    lines = [
        f"## {title}",
        "",
        f"`{section['command']}`, {section['seconds'] / 60:.0f} minutes, on {section['machine']}; ",
    ]
    lines[-1] += f"commit {section['commit']} of {section['date']}."
    lines += ["", section["about"], "", *_table(["count", "value"], [*section["counts"].items()])]
    if table := section.get("table"):
        lines += ["", *_table(table["head"], table["rows"])]
    if failures := section.get("failures"):
        lines += ["", "What went wrong:", "", *(f"- {each}" for each in failures[:50])]
        lines += [f"- and {len(failures) - 50} more, in the file beside this one"] * (len(failures) > 50)
    return "\n".join(lines) + "\n"


def _table(head: list[str], rows: list[Any]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Any) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _circumstances() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    changed = " with uncommitted changes" if _git("status", "--porcelain", "--untracked-files=no", "--", "*.py") else ""
    return {
        "commit": _git("log", "-1", "--format=%h") + changed,
        "date": _git("log", "-1", "--format=%cs"),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB of memory, {platform.system()}, "
        f"Python {python}",
    }


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True, text=True).stdout.strip()
