"""The report of a run from its folds' predictions: metrics, spread over folds, intervals over speakers, and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cfnsr.config.corpus import RESERVED
from cfnsr.errors import InputError
from cfnsr.evaluation.metrics import Comparison, bootstrap_intervals, class_recall, compare, confusion_matrix, scores
from cfnsr.model.calibration import recalibrated
from cfnsr.training.result import GROUPS, PREDICTIONS, TEST_SCORE, FoldResult

LAST_EPOCHS = 10
"""Number of epochs whose mean is the result of a training run without a choice of the epoch."""


def read_predictions(folders: Sequence[Path]) -> pd.DataFrame:
    """Read the predictions of the test speakers of all folds.

    Returns:
        `clip_id`, `speaker`, `sex`, `group`, `language`, `label`, one probability per label, `network`, `inputs`,
        `temperature` (see `cfnsr.training.result.PREDICTIONS`), `fold` and the label `predicted`.
    """
    tables = [read_table(folder / PREDICTIONS).assign(fold=index) for index, folder in enumerate(folders)]
    predictions = pd.concat(tables, ignore_index=True)
    labels = labels_of(predictions)
    predictions["predicted"] = [labels[index] for index in probabilities(predictions).argmax(axis=1)]
    return predictions


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of predictions: speakers, labels and groups are text, whatever they look like."""
    text = dict.fromkeys(("clip_id", "speaker", *GROUPS, "label", "predicted", "network", "inputs"), "str")
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"temperature": [""]})


def labels_of(predictions: pd.DataFrame) -> tuple[str, ...]:
    """The labels of a table of predictions, in the order of the network's outputs: its columns with other names."""
    return tuple(name for name in predictions.columns if name not in RESERVED)


def targets(predictions: pd.DataFrame) -> NDArray[np.int64]:
    """The true classes, (N,)."""
    labels = labels_of(predictions)
    return np.array([labels.index(label) for label in predictions["label"]], np.int64)


def of_network(predictions: pd.DataFrame, network: str, inputs: str) -> pd.DataFrame:
    """Select the predictions of one network from these inputs: each clip once."""
    return predictions[(predictions["network"] == network) & (predictions["inputs"] == inputs)]


def final_network(predictions: pd.DataFrame) -> pd.DataFrame:
    """Select the predictions of the run's last network from all of its inputs: the result of the run."""
    networks = set(predictions["network"])
    name = "fusion" if "fusion" in networks else networks.pop()
    return of_network(predictions, name, "both" if name == "fusion" else name)


def probabilities(predictions: pd.DataFrame) -> NDArray[np.float64]:
    """Return the uncalibrated probabilities, (N, K)."""
    return predictions[list(labels_of(predictions))].to_numpy(dtype=float)


def calibrated(predictions: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return the probabilities after temperature scaling; None if there were no validation speakers to fit it on."""
    if predictions["temperature"].isna().any():
        return None
    return recalibrated(probabilities(predictions), predictions["temperature"].to_numpy())


def report(predictions: pd.DataFrame, results: Sequence[FoldResult]) -> dict[str, Any]:
    """Compute all figures of a run, as JSON-compatible values.

    Args:
        predictions: of the test speakers of all folds, by one network, each clip once.
        results: one per fold.

    Returns:
        `figures`, and `ece_calibrated` (ECE after temperature scaling; None without validation speakers) and `folds`
        (mean and standard deviation over folds, and each fold).
    """
    by_fold = []
    for result, (_, group) in zip(results, predictions.groupby("fold"), strict=True):
        of_fold = asdict(scores(probabilities(group), targets(group)))
        by_fold.append({"fold": result.fold, "test_speakers": list(result.test), "clips": len(group), **of_fold})
    pooled, scaled = figures(predictions), calibrated(predictions)
    spread = {name: np.array([fold[name] for fold in by_fold]) for name in pooled["pooled"]}
    return {
        **pooled,
        "ece_calibrated": None if scaled is None else scores(scaled, targets(predictions)).ece,
        "folds": {
            "mean": {name: float(values.mean()) for name, values in spread.items()},
            "std": {name: float(values.std(ddof=1)) if len(values) > 1 else None for name, values in spread.items()},
            "each": by_fold,
        },
    }


def figures(predictions: pd.DataFrame) -> dict[str, Any]:
    """Compute the figures of predictions as one set, as JSON-compatible values.

    Returns:
        `clips`, `pooled` (the metrics), `interval` (95 %, resampling speakers; empty with fewer than
        `cfnsr.evaluation.metrics.MIN_SPEAKERS`), `recall` by class, `speakers` (accuracy of each), `groups` (by `sex`,
        `group` and `language` where they differ: accuracy, its interval, clips and speakers) and `confusion` (rows
        true, columns predicted).
    """
    probability, label = probabilities(predictions), targets(predictions)
    matrix, right = confusion_matrix(probability, label), predictions["label"] == predictions["predicted"]
    return {
        "clips": len(predictions),
        "pooled": asdict(scores(probability, label)),
        "interval": {
            name: list(bounds)
            for name, bounds in bootstrap_intervals(probability, label, predictions["speaker"].to_numpy()).items()
        },
        "recall": dict(zip(labels_of(predictions), class_recall(matrix), strict=True)),
        "speakers": {
            str(speaker): float(share) for speaker, share in right.groupby(predictions["speaker"]).mean().items()
        },
        "groups": {
            column: {str(name): _group(group) for name, group in predictions.groupby(column)}
            for column in GROUPS
            if predictions[column].nunique() > 1
        },
        "confusion": matrix.tolist(),
    }


def best_test_epoch(history: pd.DataFrame, phase: str) -> dict[str, float] | None:
    """Compute the figures of the published protocol, to be shown beside the honest figure.

    Args:
        history: epochs of all folds, columns `fold`, `phase`, `epoch` and `test/accuracy`.
        phase: to report.

    Returns:
        `best`: mean over folds of the best test epoch (chosen on the test speakers, so optimistic); `last`: mean over
        folds of the accuracy of the last ten epochs. None if the test speakers were not watched.
    """
    epochs = history[history["phase"] == phase]
    if TEST_SCORE not in epochs or not len(epochs) or epochs[TEST_SCORE].isna().any():
        return None
    curves = [curve.sort_values("epoch")[TEST_SCORE] for _, curve in epochs.groupby("fold")]
    return {
        "best": float(np.mean([curve.max() for curve in curves])),
        "last": float(np.mean([curve.tail(LAST_EPOCHS).mean() for curve in curves])),
    }


def compare_runs(a: pd.DataFrame, b: pd.DataFrame) -> Comparison:
    """Compare the predictions of two runs on the same clips.

    Args:
        a: from `read_predictions`, of one network.
        b: the same for another run.

    Raises:
        InputError: the runs tested different clips.
    """
    a, b = a.sort_values("clip_id"), b.sort_values("clip_id")
    if a["clip_id"].tolist() != b["clip_id"].tolist():
        both = len(set(a["clip_id"]) & set(b["clip_id"]))
        raise InputError(
            f"the runs have tested {len(a)} and {len(b)} clips, {both} of them the same; compare runs with the same "
            "data and folds."
        )
    right = [(table["label"] == table["predicted"]).to_numpy() for table in (a, b)]
    return compare(right[0], right[1], a["speaker"].to_numpy())


def _group(predictions: pd.DataFrame) -> dict[str, Any]:
    probability, label = probabilities(predictions), targets(predictions)
    speakers = predictions["speaker"].to_numpy()
    return {
        "accuracy": scores(probability, label).accuracy,
        "interval": bootstrap_intervals(probability, label, speakers).get("accuracy"),
        "clips": len(predictions),
        "speakers": len(set(speakers)),
    }
