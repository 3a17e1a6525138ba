"""Answers as CSV and JSON."""

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

_TIMELINE = ("clip", "start", "end", "emotion", "confidence", "inputs", "flags", "track", "x", "y", "width", "height")
_RESULTS = ("clip", "emotion", "confidence", "inputs", "flags", "duration", "error")
_DIGITS = 6  # of probabilities and of seconds


@contextmanager
def timeline_file(path: Path, labels: Iterable[str]) -> Iterator[Callable[[Prediction], None]]:
    """A CSV with a row a moment; times in seconds, boxes in pixels of the picture as it is shown.

    Yields what writes a clip's rows.
    """
    with _csv(path, (*_TIMELINE, *labels)) as write:
        yield lambda prediction: write([_moment_row(prediction.clip, moment) for moment in prediction.moments])


@contextmanager
def results_file(path: Path, labels: Iterable[str]) -> Iterator[Callable[[Prediction | Failure], None]]:
    """A CSV with a row a clip; one that could not be used has its reason in `error`.

    Yields what writes a clip's row.
    """
    with _csv(path, (*_RESULTS, *labels)) as write:
        yield lambda outcome: write([_result_row(outcome)])


def as_json(outcome: Prediction | Failure) -> dict[str, Any]:
    """What `cfnsr predict --json` prints of a clip."""
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
    """A moment of the timeline, as `as_json` has it."""
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


# Names of files need not be UTF-8; what a name holds instead is written as it is.
_TEXT: dict[str, Any] = {"mode": "w", "encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


@contextmanager
def _csv(path: Path, columns: tuple[str, ...]) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """What was written is on the disk clip by clip; where the work ends early, it stays, under the name of a part."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file to write.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + PARTIAL)
    if temporary.exists():  # of a run that was stopped; whoever starts it again may want it
        kept = next(name for number in count(1) if not (name := path.with_name(f"{temporary.name}-{number}")).exists())
        temporary.rename(kept)
        print(f"what an earlier run had written is kept in {kept}", file=sys.stderr)
    with temporary.open(**_TEXT) as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()

        def write(rows: list[dict[str, Any]]) -> None:
            writer.writerows(rows)
            file.flush()

        try:
            yield write
        except BaseException:
            print(f"\nnot finished; what is there so far is in {temporary}", file=sys.stderr)
            raise
        os.fsync(file.fileno())
    temporary.replace(path)
