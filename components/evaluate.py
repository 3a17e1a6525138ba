"""Step `evaluate`: from the folds' test predictions to metrics/<profile>.json and plots.

`python -m components.evaluate compare RUN_A RUN_B` compares two runs, see `components.compare`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pandas as pd

from cfnsr.config import Settings
from cfnsr.errors import InputError
from cfnsr.files import atomic_path, write_text
from cfnsr.folds import CLAIM, SELECTION
from cfnsr.outcome import HISTORY, FoldResult
from components.runner import run_step
from components.train import corpus_name, describe_run, fold_folder, read_key

SCORE = "validation/accuracy"
FIGURES = ("accuracy", "uar", "f1", "ece")


def evaluate(settings: Settings) -> dict[str, Any]:
    """Pool the test predictions of all folds and report on them.

    Returns:
        The content of metrics/<profile>.json: what was measured and the figures of `cfnsr.evaluation.report`; below
        `encoders` the same for the encoders alone, where the network was trained from them.

    Raises:
        InputError: a fold has not been trained.
    """
    from cfnsr.evaluation import read_predictions, report

    results = finished_folds(settings)
    every = read_predictions([fold_folder(settings, result.fold) for result in results])
    modality = settings.params.model.modality
    final = "fusion" if modality == "both" else modality
    predictions = every[every["network"] == final]
    encoders = {str(name): report(group, results) for name, group in every.groupby("network") if name != final}
    content = {
        "corpus": corpus_name(settings),
        "profile": settings.profile,
        "protocol": settings.params.train.protocol,
        "claim": CLAIM[settings.params.train.protocol],
        "run": read_key(settings),
        "parameters": results[0].parameters,
        "seconds": sum(result.seconds for result in results),
        "network": final,
        **report(predictions, results),
        "encoders": encoders,
    }
    write_text(settings.layout.metrics, json.dumps(content, indent=2) + "\n")
    _write_tables(settings, predictions)
    _plot(settings, content)
    _log(settings, content)
    return content


def finished_folds(settings: Settings) -> list[FoldResult]:
    """The results of all folds.

    Raises:
        InputError: a fold is not finished.
    """
    results = []
    for index in range(settings.params.train.folds):
        folder = fold_folder(settings, index)
        result = FoldResult.load(folder)
        if result is None:
            raise InputError(f"{folder} holds no finished fold; run `python -m components.train` first.")
        results.append(result)
    return results


def _write_tables(settings: Settings, predictions: pd.DataFrame) -> None:
    """Tables behind the plots, which `dvc plots` can draw again and compare between experiments."""
    mean = _history(settings).groupby(["epoch", "phase"])[SCORE].mean().unstack("phase").reset_index()
    for name, table in (("curves", mean), ("predictions", predictions)):
        with atomic_path(settings.layout.plots / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)


def _history(settings: Settings) -> pd.DataFrame:
    """The epochs of all folds and phases."""
    folds = range(settings.params.train.folds)
    return pd.concat([pd.read_csv(fold_folder(settings, fold) / HISTORY).assign(fold=fold) for fold in folds])


def _plot(settings: Settings, content: dict[str, Any]) -> None:
    from cfnsr.plots import plot_confusion, plot_curves

    plots, protocol = settings.layout.plots, content["protocol"]
    about = f"{content['corpus']}, {protocol} protocol, {settings.params.train.folds} folds by actor"
    plot_curves(_history(settings), plots / "curves.png", f"Training on the {about}", SELECTION[protocol])
    accuracy = content["pooled"]["accuracy"]
    title = f"{accuracy:.1%} of {content['clips']} clips: {about}\n{content['claim']}"
    plot_confusion(np.array(content["confusion"]), plots / "confusion.png", title)


def _log(settings: Settings, content: dict[str, Any]) -> None:
    from cfnsr.data import Features

    tracker = describe_run(settings, Features.load(settings.layout))
    run_id = tracker.parent()
    for fold in content["folds"]["each"]:
        for name in FIGURES:
            tracker.client.log_metric(tracker.fold(fold["fold"]), f"test/{name}", fold[name])
    for path in (settings.layout.metrics, *sorted(settings.layout.plots.iterdir())):
        tracker.client.log_artifact(run_id, str(path), "" if path == settings.layout.metrics else "plots")
    low, high = content["interval"]["accuracy"]
    metrics = {f"test/{name}": content["pooled"][name] for name in FIGURES}
    metrics |= {"test/accuracy_low": low, "test/accuracy_high": high}
    metrics |= {f"test/{name}_alone_accuracy": each["pooled"]["accuracy"] for name, each in content["encoders"].items()}
    metrics |= {"param_count": content["parameters"], "seconds": content["seconds"]}
    for name, value in metrics.items():
        tracker.client.log_metric(run_id, name, value)


def step(settings: Settings) -> None:
    """The step as the command line runs it."""
    from components.results import print_table

    print_table(evaluate(settings))


if __name__ == "__main__":
    if sys.argv[1:2] == ["compare"]:
        from components import compare

        compare.main(sys.argv[2:])
    else:
        run_step(step, __doc__)
