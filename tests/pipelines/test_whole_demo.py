"""The figures that the README shows, by `make demo` with all folds."""

import json
import re

import pytest
from helpers.paths import PROJECT
from helpers.project_copy import copy_project, run

pytestmark = [pytest.mark.proof, pytest.mark.timeout(2400)]


def test_the_readme_shows_the_figures_of_the_demo(tmp_path):
    """Training is not equal to the last bit from one kind of processor to another."""
    project = copy_project(tmp_path / "cfnsr")
    done = run(project, "make -o .venv/.installed demo", timeout=2400)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads((project / "metrics/sample.json").read_text())
    readme = (PROJECT / "README.md").read_text()
    shown = {"face and voice": figures} | {f"given {name} only": each for name, each in figures["inputs"].items()}
    assert len(shown) == 3
    for name, each in shown.items():
        row = re.search(rf"\| {name} \| ([\d.]+) \|", readme)
        assert row is not None, name
        assert each["pooled"]["accuracy"] == pytest.approx(float(row[1]), abs=0.1)
    for encoder in ("audio", "video"):
        assert 0.3 < figures["encoders"][encoder]["pooled"]["accuracy"] <= 0.6
