"""Compare two training runs: is A better than B, and how certain is that?

    python -m components.compare runs/A runs/B

Uses the test predictions of the folds; both runs must have tested the same clips in the same folds.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from cfnsr.errors import InputError, exit_with_message
from cfnsr.evaluation.metrics import MIN_SPEAKERS, Comparison, interval_in_words
from cfnsr.training.result import FoldResult


class Compared(NamedTuple):
    """Two runs side by side."""

    result: Comparison
    folds: int
    doubtful: tuple[Path, ...]
    """Runs that started from weights which may have been trained on their own test speakers."""


def compare(run_a: Path, run_b: Path) -> Compared:
    """Paired bootstrap over speakers between the final networks of two runs.

    Args:
        run_a: folder of a run, for example `runs/ravdess`.
        run_b: folder of another.

    Raises:
        InputError: a folder has no trained folds, or the runs differ in protocol, test clips or folds.
    """
    from cfnsr.evaluation.report import compare_runs, final_network, read_predictions

    runs = {run: _finished(run) for run in (run_a, run_b)}
    if len({bool(fold.validation) for folds in runs.values() for fold in folds.values()}) > 1:
        raise InputError(
            "one of the runs chose its epochs on the test speakers (protocol `published`) and the other did not; train "
            "both with the same protocol to compare them."
        )
    result = compare_runs(*(final_network(read_predictions(list(runs[run]))) for run in (run_a, run_b)))
    tested = [{fold.test for fold in folds.values()} for folds in (runs[run_a], runs[run_b])]
    if tested[0] != tested[1]:
        raise InputError(
            "the runs tested the same clips in different folds, so their networks were trained on different speakers; "
            "compare runs with the same folds."
        )
    doubtful = tuple(run for run, folds in runs.items() if any(fold.unknown_provenance for fold in folds.values()))
    return Compared(result, len(tested[0]), doubtful)


def _finished(run: Path) -> dict[Path, FoldResult]:
    folds = {path: result for path in sorted(run.glob("fold-*")) if (result := FoldResult.load(path))}
    if not folds:
        raise InputError(f"{run} has no trained fold; name the folder of a training run, such as runs/sample.")
    return folds


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_a", type=Path)
    parser.add_argument("run_b", type=Path)
    arguments = parser.parse_args()
    with exit_with_message():
        result, folds, doubtful = compare(arguments.run_a, arguments.run_b)
        print(f"A {arguments.run_a}: {result.accuracy_a:.1%}")
        print(f"B {arguments.run_b}: {result.accuracy_b:.1%}")
        print(f"On {result.clips} clips of {result.speakers} speakers, {folds} fold{'s' * (folds > 1)}")
        if result.confidence is None:
            print(f"A - B: {result.difference:+.1%}; fewer than {MIN_SPEAKERS} speakers are too few for an interval")
        else:
            interval = interval_in_words(result.interval, "+.1%")
            print(f"A - B: {result.difference:+.1%}, 95 % interval over speakers {interval}")
            print(f"Confidence that A is better: {result.confidence:.1%} (50 %: no evidence for either)")
        for run in doubtful:
            print(
                f"{run} started from weights that may have been trained on its test speakers, so it may look too good"
            )
        print("This compares these trained networks; other seeds (`train.seed`) of the same settings give others.")


if __name__ == "__main__":
    main()
