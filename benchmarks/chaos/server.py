"""Load on the page and the REST API, which `benchmarks/server_load.py` makes and measures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.chaos.project import ROOT

ABOUT = "`python -m benchmarks.server_load` starts both servers, sends requests and opens pages at once, and counts."


def server(work: Path) -> dict[str, Any]:
    """Run the measurement and return its counts as a section of the report."""
    if not (ROOT / "benchmarks/server_load.py").exists():
        return {"about": ABOUT, "counts": {"not run, because benchmarks/server_load.py is missing": 1}, "failures": []}
    target = work / "server_load.json"
    command = [sys.executable, "-m", "benchmarks.server_load", "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, check=False)
    counts = json.loads(target.read_text()) if target.exists() else {}
    failures = [f"{' '.join(command[1:])} ended with code {done.returncode}"] if done.returncode else []
    return {"about": ABOUT, "counts": counts, "failures": failures}
