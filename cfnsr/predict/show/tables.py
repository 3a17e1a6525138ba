"""Predictions as CSV files and as JSON."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from cfnsr.errors import InputError
from cfnsr.files import PARTIAL
from cfnsr.predict.answer import Answer, Failure, Moment, Prediction
from cfnsr.text import spreadsheet_cell

_TIMELINE = ("clip", "start", "end", "emotion", "confidence", "inputs", "flags", "track", "x", "y", "width", "height")
_RESULTS = ("clip", "emotion", "confidence", "inputs", "flags", "duration", "error")
_DIGITS = 6  # of probabilities and of seconds


@contextmanager
def timeline_csv(path: Path, labels: Iterable[str]) -> Iterator[Callable[[Prediction], None]]:
    """Open a CSV file with one row per moment: times in seconds, boxes in pixels of the displayed frame.

    Yields a function that writes the rows of a clip.
    """
    with _csv(path, (*_TIMELINE, *labels)) as write:
        yield lambda prediction: write([_moment_row(prediction.clip, moment) for moment in prediction.moments])


@contextmanager
def results_csv(path: Path, labels: Iterable[str]) -> Iterator[Callable[[Prediction | Failure], None]]:
    """Open a CSV file with one row per clip; for a clip without a prediction, the column `error` has the reason.

    Yields a function that writes the row of a clip.
    """
    with _csv(path, (*_RESULTS, *labels)) as write:
        yield lambda outcome: write([_result_row(outcome)])


def prediction_json(outcome: Prediction | Failure) -> dict[str, Any]:
    """Return the JSON object that `cfnsr predict --json` prints for a clip."""
    if isinstance(outcome, Failure):
        return {"clip": str(outcome.clip), "error": outcome.reason}
    return {
        "clip": str(outcome.clip),
        "duration": round(outcome.duration, _DIGITS),
        **_answer(outcome.answer),
        "flags": list(outcome.flags),
        "timeline": [moment_json(moment) for moment in outcome.moments],
    }


def moment_json(moment: Moment) -> dict[str, Any]:
    """Return the JSON object of a moment in the timeline."""
    return {
        "start": round(moment.start, _DIGITS),
        "end": round(moment.end, _DIGITS),
        **(_answer(moment.answer) if moment.answer else {"emotion": None}),
        "flags": list(moment.flags),
        "track": moment.track,
        "box": moment.box,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "emotion": answer.emotion,
        "confidence": round(answer.confidence, _DIGITS),
        "inputs": answer.inputs,
        "probabilities": {emotion: round(share, _DIGITS) for emotion, share in answer.probabilities.items()},
    }


def _moment_row(clip: Path, moment: Moment) -> dict[str, Any]:
    times = {"start": round(moment.start, _DIGITS), "end": round(moment.end, _DIGITS)}
    box = dict(zip(("x", "y", "width", "height"), moment.box or (), strict=False))
    return {"clip": str(clip), **times, **_columns(moment.answer, moment.flags), "track": moment.track, **box}


def _result_row(outcome: Prediction | Failure) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"clip": str(outcome.clip), "error": outcome.reason}
    columns = _columns(outcome.answer, outcome.flags)
    return {"clip": str(outcome.clip), "duration": round(outcome.duration, _DIGITS), **columns}


def _columns(answer: Answer | None, flags: Iterable[str]) -> dict[str, Any]:
    columns: dict[str, Any] = {"flags": "; ".join(flags)}
    if answer:
        values = _answer(answer)
        columns |= values.pop("probabilities") | values
    return columns


# File names that are not UTF-8 are written byte for byte.
_TEXT: dict[str, Any] = {"mode": "w", "encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


@contextmanager
def _csv(path: Path, columns: tuple[str, ...]) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Write rows clip by clip to a temporary file, which is kept if the work is interrupted."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + PARTIAL)
    if temporary.exists():  # of an interrupted run; its rows may still be wanted
        backup = next(
            name for number in count(1) if not (name := path.with_name(f"{temporary.name}-{number}")).exists()
        )
        temporary.rename(backup)
        print(f"the rows of an interrupted run are kept in {backup}", file=sys.stderr)
    with temporary.open(**_TEXT) as file:
        writer = csv.DictWriter(file, columns, restval="")

        def write(rows: list[dict[str, Any]]) -> None:
            for row in rows:
                writer.writerow(
                    {name: spreadsheet_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
                )
            file.flush()

        write([dict(zip(columns, columns, strict=True))])
        try:
            yield write
        except BaseException:
            print(f"\ninterrupted; the rows so far are in {temporary}", file=sys.stderr)
            raise
        os.fsync(file.fileno())
    temporary.replace(path)
