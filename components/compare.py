"""Compare two training runs: is A better than B, and how sure is that.

    python -m components.evaluate compare runs/A runs/B

Takes the test predictions that the folds left; both runs must have tested the same clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from cfnsr.errors import InputError, exit_with_sentence
from cfnsr.metrics import Comparison
from cfnsr.outcome import FoldResult


def compare(run_a: Path, run_b: Path) -> Comparison:
    """Paired bootstrap over actors between the final networks of two runs.

    Args:
        run_a: folder of a run, for example `runs/ravdess`.
        run_b: folder of another.

    Raises:
        InputError: a folder has no finished folds, or the runs have not the same protocol or test clips.
    """
    from cfnsr.evaluation import compare_runs, final_network, read_predictions

    tables, protocols = [], set()
    for run in (run_a, run_b):
        results = {path: result for path in sorted(run.glob("fold-*")) if (result := FoldResult.load(path))}
        folders = list(results)
        protocols |= {bool(result.validation) for result in results.values()}
        if not folders:
            raise InputError(
                f"{run} has no finished fold in it; name the folder of a training run, such as runs/sample."
            )
        tables.append(final_network(read_predictions(folders)))
    if len(protocols) > 1:
        raise InputError(
            "one of the runs chose its epochs on the test actors (protocol `published`), the other did not: such "
            "figures can't be compared; train both with the same protocol."
        )
    return compare_runs(*tables)


def main(words: Sequence[str]) -> None:
    """Command line: the words behind `compare`."""
    parser = argparse.ArgumentParser(
        "python -m components.evaluate compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_a", type=Path)
    parser.add_argument("run_b", type=Path)
    arguments = parser.parse_args(words)
    with exit_with_sentence():
        result = compare(arguments.run_a, arguments.run_b)
        low, high = result.interval
        print(f"A {arguments.run_a}: {result.accuracy_a:.1%}")
        print(f"B {arguments.run_b}: {result.accuracy_b:.1%}")
        print(f"A - B: {result.difference:+.1%}, 95 % interval over actors {low:+.1%} to {high:+.1%}")
        print(f"A is better in {result.confidence:.1%} of the resamplings of actors")
        print("This is of these trained networks; other seeds (`train.seed`) of the same settings give others.")
