"""Step `evaluate`: from the folds' test predictions to metrics/<profile>.json and plots."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cfnsr.config.load import Settings
from cfnsr.corpus.folds import CLAIM, SELECTION, TUNED, UNKNOWN
from cfnsr.files import atomic_path, write_text
from cfnsr.training.result import HISTORY, PHASES, SCORE, WEIGHTS, FoldResult
from components.results import print_table
from components.run import Run
from components.step import run_step

FIGURES = ("accuracy", "uar", "f1", "ece")


def evaluate(run: Run) -> dict[str, Any]:
    """Pool the test predictions of all folds and report on them.

    Returns:
        The content of metrics/<profile>.json: what was measured and the figures of `cfnsr.evaluation.report`. `inputs`
        has the same figures for the one network given only the face or only the voice (after modality dropout),
        `encoders` those of the encoders alone, where the network was trained from them; `best_test_epoch` reports the
        same training as the published protocol would.

    Raises:
        InputError: a fold has not been trained, or not with the present settings, data and code.
    """
    from cfnsr.evaluation.report import best_test_epoch, final_network, read_predictions, report

    results, settings = run.results(), run.settings
    with run.tracker.running(run.tracker.parent()):
        every = read_predictions([run.fold_folder(result.fold) for result in results])
        predictions = final_network(every)
        network, inputs = predictions[["network", "inputs"]].iloc[0]
        others = {key: report(group, results) for key, group in every.groupby(["network", "inputs"])}
        history = pd.concat(
            pd.read_csv(run.fold_folder(result.fold) / HISTORY).assign(fold=result.fold) for result in results
        )
        content = {
            "corpus": settings.params.dataset.corpus,
            "profile": settings.profile,
            "protocol": settings.params.train.protocol,
            "claim": _claim(run, results),
            "run": run.key,
            "parameters": results[0].parameters,
            "seconds": sum(result.seconds for result in results),
            "seed": settings.params.train.seed,
            "network": network,
            **others.pop((network, inputs)),
            "best_test_epoch": best_test_epoch(history, network),
            "inputs": {given: figures for (name, given), figures in others.items() if name == network},
            "encoders": {name: figures for (name, _), figures in others.items() if name != network},
        }
        write_text(settings.layout.metrics, json.dumps(content, indent=2) + "\n")
        _write_tables(settings, history, predictions)
        _plot(run, results, content, history, predictions)
        _log(run, content)
    return content


def _claim(run: Run, results: Sequence[FoldResult]) -> str:
    """What the figures mean; it stands beside them wherever they are shown."""
    unknown = any(result.unknown_provenance for result in results)
    train = run.settings.params.train
    return CLAIM[train.protocol] + (UNKNOWN if unknown else "") + (TUNED if train.tuned else "")


def _write_tables(settings: Settings, history: pd.DataFrame, predictions: pd.DataFrame) -> None:
    """Tables behind the plots, which `dvc plots` can draw again and compare between experiments."""
    mean = history.groupby(["epoch", "phase"])[SCORE].mean().unstack("phase")
    mean = mean.reindex(columns=PHASES).reset_index()  # dvc.yaml names them all, whichever were trained
    for name, table in (("curves", mean), ("predictions", predictions)):
        with atomic_path(settings.layout.plots / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)


def _plot(
    run: Run, results: Sequence[FoldResult], content: dict[str, Any], history: pd.DataFrame, predictions: pd.DataFrame
) -> None:
    from cfnsr.evaluation.plots import plot_confusion, plot_curves, plot_reliability, plot_speakers
    from cfnsr.evaluation.report import calibrated, probabilities, targets

    labels, plots, protocol = run.features.labels, run.settings.layout.plots, content["protocol"]
    about = f"{content['corpus']}, {protocol} protocol, {len(run.folds)} folds by speaker"
    if len(history):
        title = f"Training curves: {about}"
        plot_curves(history, plots / "curves.png", title, SELECTION[protocol], len(labels))
    title = f"{content['pooled']['accuracy']:.1%} of {content['clips']} clips: {about}\n{content['claim']}"
    plot_confusion(np.array(content["confusion"]), labels, plots / "confusion.png", title)
    by_speaker = f"Accuracy by test speaker: {about}\n{content['claim']}"
    plot_speakers(predictions, plots / "speakers.png", by_speaker, len(labels))
    outputs, scaled = {"network output": probabilities(predictions)}, calibrated(predictions)
    if scaled is not None:
        outputs["after temperature scaling"] = scaled
    plot_reliability(
        outputs, targets(predictions), plots / "reliability.png", f"Reliability: {about}\n{content['claim']}"
    )
    _plot_attention(run, results[0], about)


def _plot_attention(run: Run, first: FoldResult, about: str) -> None:
    from cfnsr.evaluation.attention import attention_maps
    from cfnsr.evaluation.plots import plot_attention

    speaker, path = first.test[0], run.settings.layout.plots / "attention.png"
    shown = attention_maps(run.fold_folder(first.fold) / WEIGHTS, run.features, speaker)
    if shown:
        plot_attention(shown, path, f"Attention of fold {first.fold} on its test speaker {speaker}\n{about}")
    else:
        path.unlink(missing_ok=True)  # of an earlier run whose network had a cross-modal block


def _log(run: Run, content: dict[str, Any]) -> None:
    tracker, layout = run.tracker, run.settings.layout
    run_id = tracker.parent()
    for fold in content["folds"]["each"]:
        for name in FIGURES:
            tracker.client.log_metric(tracker.fold(fold["fold"]), f"test/{name}", fold[name])
    for path in (layout.metrics, *sorted(layout.plots.iterdir())):
        tracker.client.log_artifact(run_id, str(path), "" if path == layout.metrics else "plots")
    figures = {f"test/{name}": content["pooled"][name] for name in FIGURES}
    if "accuracy" in content["interval"]:
        figures["test/accuracy_low"], figures["test/accuracy_high"] = content["interval"]["accuracy"]
    figures |= {f"test/{name}_alone_accuracy": each["pooled"]["accuracy"] for name, each in content["encoders"].items()}
    figures |= {f"test/{name}_only_accuracy": each["pooled"]["accuracy"] for name, each in content["inputs"].items()}
    figures |= {f"test/recall_{name}": share for name, share in content["recall"].items() if share is not None}
    figures |= {"param_count": content["parameters"], "seconds": content["seconds"]}
    if content["ece_calibrated"] is not None:
        figures["test/ece_calibrated"] = content["ece_calibrated"]
    if content["best_test_epoch"] is not None:
        figures["best_test_epoch/accuracy"] = content["best_test_epoch"]["best"]
    for name, value in figures.items():
        tracker.client.log_metric(run_id, name, value)


def step(settings: Settings) -> None:
    """The step as the command line runs it."""
    print_table(evaluate(Run.open(settings)))


if __name__ == "__main__":
    run_step(step, __doc__)
