"""`python -m components.compare`, on folders as runs leave them."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.paths import PROJECT

from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.errors import InputError
from cfnsr.training.result import PREDICTIONS, FoldResult
from components import compare

CLIPS = 16
"""Of a speaker."""
PAIRS = (("01", "02"), ("03", "04"), ("05", "06"))


def write_run(run: Path, tested: Sequence[tuple[str, ...]] = PAIRS, right: int = 8, **content) -> Path:
    """A run that has tested these groups of speakers, and was right in the first `right` clips of each."""
    labels = np.arange(CLIPS) % len(EMOTIONS)
    said = np.eye(len(EMOTIONS))[np.where(np.arange(CLIPS) < right, labels, (labels + 1) % len(EMOTIONS))]
    for index, test in enumerate(tested):
        folder = run / f"fold-{index}"
        folder.mkdir(parents=True)
        tables = [
            pd.DataFrame(said, columns=list(EMOTIONS)).assign(
                clip_id=[f"{speaker}-{clip}" for clip in range(CLIPS)],
                speaker=speaker,
                label=[EMOTIONS[label] for label in labels],
                network="fusion",
                inputs="both",
                temperature=1.0,
            )
            for speaker in test
        ]
        pd.concat(tables).to_csv(folder / PREDICTIONS, index=False)
        result = {"train": ("07", "08"), "validation": ("09",), "epoch": 3, "selection_score": 0.5, "parameters": 10}
        FoldResult(**{**result, "fold": index, "test": test, "seconds": 1.0, **content}).save(folder)
    return run


def run_compare(*runs: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "components.compare", *map(str, runs)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)


def test_runs_on_the_same_clips_are_compared(tmp_path):
    a, b = write_run(tmp_path / "a", right=12), write_run(tmp_path / "b", right=8)
    done = run_compare(a, b)
    assert done.returncode == 0, done.stderr
    assert f"A {a}: 75.0%" in done.stdout
    assert f"B {b}: 50.0%" in done.stdout
    assert "On 96 clips of 6 speakers, 3 folds" in done.stdout
    assert "A - B: +25.0%, 95 % interval over speakers +25.0% to +25.0%" in done.stdout
    # Six speakers that all favour A: by chance once in 64 times.
    sure = re.search(r"Confidence that A is better: ([\d.]+)%", done.stdout)
    assert 98 < float(sure[1]) < 100
    assert "may have been trained on its test speakers" not in done.stdout
    assert "Confidence that A is better: 50.0%" in run_compare(a, a).stdout


def test_two_finished_folds_are_too_few_speakers_to_be_sure(tmp_path):
    run = write_run(tmp_path / "part", PAIRS[:2])
    done = run_compare(run, run)
    assert done.returncode == 0, done.stderr
    assert "On 64 clips of 4 speakers, 2 folds" in done.stdout
    assert "fewer than 5 speakers" in done.stdout
    assert "Confidence" not in done.stdout


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"tested": [(speaker,) for pair in PAIRS for speaker in pair]}, "the same clips in different folds"),
        ({"tested": PAIRS[:1]}, "the runs have tested 96 and 32 clips, 32 of them the same"),
        ({"validation": ()}, "`published`"),
        ({"tested": ()}, "has no trained fold"),
    ],
)
def test_runs_that_were_not_tested_alike_are_not_compared(tmp_path, other, message):
    with pytest.raises(InputError, match=message):
        compare.compare(write_run(tmp_path / "a"), write_run(tmp_path / "b", **other))


def test_a_run_that_may_know_its_test_is_named(tmp_path):
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", unknown_provenance=True)
    done = run_compare(a, b)
    assert done.returncode == 0, done.stderr
    assert f"{b} started from weights that may have been trained on its test speakers" in done.stdout
    assert f"{a} started" not in done.stdout
