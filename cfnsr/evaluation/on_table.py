"""A network on a corpus that it was not trained on: its answers for a table of clips, and the report on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from cfnsr.corpus.table import Row, read_rows
from cfnsr.errors import InputError
from cfnsr.evaluation.report import figures
from cfnsr.model.metadata import Provenance, qualified
from cfnsr.predict import Failure, Prediction, Predictor

UNKNOWN = "the network's weights do not record their speakers, so it may know these clips"


@dataclass(frozen=True)
class TableReport:
    """The figures of a network on a table of clips."""

    predictions: pd.DataFrame
    """One row per answered clip, as in `cfnsr.evaluation.report.read_predictions`, without folds and temperatures."""
    excluded: list[tuple[str, str]]
    """Path and reason of the other rows."""
    content: dict[str, Any]
    """What was measured, and the figures of `cfnsr.evaluation.report.figures`."""


def evaluate_table(
    predictor: Predictor,
    table: Path,
    corpus: str = "",
    names: Mapping[str, Iterable[str]] | None = None,
) -> TableReport:
    """Predict the clips of a table and report on the labels that both the table and the network have.

    An answer is the most probable of those labels. Clips of speakers who had a part in training or in the choice of the
    epoch are excluded.

    Args:
        predictor: of the network.
        table: see `cfnsr.corpus.table`.
        corpus: name of the corpus in provenance and reports; default: that of the table's file.
        names: the table's names of the network's labels, where they differ: `{"angry": ["anger", "W"]}`.

    Raises:
        InputError: the table can't be used, the labels have fewer than two in common, or no clip can be used.
    """
    corpus, recipe = corpus or table.stem, predictor.recipe
    rows, label_of = read_rows(table), _label_of(recipe.labels, names or {})
    excluded: list[tuple[str, str]] = []
    chosen: list[tuple[Row, str]] = []
    for row in rows:
        label = label_of.get(row.label)
        if why := _reason(row, label, corpus, recipe.provenance):
            excluded.append((row.path, why))
        else:
            assert label is not None
            chosen.append((row, label))
    labels = tuple(label for label in recipe.labels if label in {each for _, each in chosen})
    if len(labels) < 2:
        raise InputError(
            f"{table} has the labels {', '.join(sorted({row.label for row in rows}))}, of which the network, with "
            f"{', '.join(recipe.labels)}, knows {len(labels)} on speakers that are new to it; name them with --map."
        )
    answers = predictor.predict_many([table.parent / row.path for row, _ in chosen])
    records = []
    progress = tqdm(zip(chosen, answers, strict=True), total=len(chosen), unit="clip", disable=None)
    for (row, label), outcome in progress:
        if isinstance(outcome, Failure):
            excluded.append((row.path, outcome.reason))
        else:
            records.append(_record(row, label, labels, outcome))
    if not records:
        raise InputError(f"no clip of {table} can be used; {': '.join(excluded[0])}.")
    predictions = pd.DataFrame(records)
    content = {
        "corpus": corpus,
        "trained_on": recipe.corpus,
        "doubt": UNKNOWN if recipe.provenance.unknown else "",
        "labels": list(labels),
        "rows": len(rows),
        **figures(predictions),
    }
    return TableReport(predictions, excluded, content)


def _label_of(labels: Iterable[str], names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The network's label by its name in the table."""
    if unknown := sorted(set(names) - set(labels)):
        raise InputError(f"the network has no label {unknown[0]!r}; it has {', '.join(labels)}.")
    return {name: label for label in labels for name in (label, *names.get(label, ()))}


def _reason(row: Row, label: str | None, corpus: str, provenance: Provenance) -> str:
    if row.fault:
        return row.fault
    if label is None:
        return f"the network has no label {row.label!r}"
    if row.start or row.end:
        return "parts of files can't be evaluated; cut the file"
    if qualified(corpus, row.speaker) in {*provenance.trained_on, *provenance.selected_on}:
        return "the speaker had a part in training"
    return ""


def _record(row: Row, label: str, labels: tuple[str, ...], outcome: Prediction) -> dict[str, Any]:
    shares = {name: outcome.answer.probabilities[name] for name in labels}
    total = sum(shares.values())
    return {
        "clip_id": row.path,
        "speaker": row.speaker,
        "sex": row.sex,
        "group": row.group,
        "language": row.language,
        "label": label,
        **{name: share / total for name, share in shares.items()},
        "inputs": outcome.answer.inputs,
        "predicted": max(shares, key=shares.__getitem__),
    }
