"""Predictions on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cfnsr.predict.answer import Answer, Moment, Prediction
from cfnsr.predict.show.palette import INPUTS, clock, colour
from cfnsr.text import printable

_BAR = 24  # characters
_ROWS = 30  # of a timeline; --timeline writes all of them


@dataclass
class _Stretch:
    """Successive moments with the same prediction."""

    first: Moment
    last: Moment
    confidences: list[float]


def print_prediction(prediction: Prediction, note: str) -> None:
    """Print a prediction, and its timeline if there are several windows."""
    console = Console()
    console.print(_headline(prediction), soft_wrap=True)
    console.print(_bars(prediction.answer))
    if len(prediction.moments) > 1:
        console.print(_timeline(prediction.moments))
    console.print(Text(note, style="dim"))


def live_line(moment: Moment) -> RenderableType:
    """Return one moment of a camera as text."""
    if moment.answer is None:
        return Text(f"{clock(moment.end)}  {', '.join(moment.flags) or 'no input'}", style="dim")
    line = Text(f"{clock(moment.end)}  {', '.join(moment.flags)}")
    return Group(line, _bars(moment.answer))


def _headline(prediction: Prediction) -> Text:
    answer = prediction.answer
    flags = f", {', '.join(prediction.flags)}" if prediction.flags else ""
    return Text.assemble(
        (printable(prediction.clip), "bold"),
        f"  {clock(prediction.duration)}  ",
        (answer.emotion, f"bold {colour(answer.emotion)}"),
        f" {answer.confidence:.0%}, from {INPUTS[answer.inputs]}{flags}",
    )


def _bars(answer: Answer) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for emotion, share in sorted(answer.probabilities.items(), key=lambda item: -item[1]):
        bar = Text("█" * round(_BAR * share), style=colour(emotion))
        table.add_row(emotion, f"{share:6.1%}", bar)
    return table


def _timeline(moments: Sequence[Moment]) -> Table:
    several = len({moment.track for moment in moments if moment.track}) > 1
    table = Table(header_style="bold")
    for name in ("from", "to", *(["face"] if several else []), "emotion", "confidence", "inputs", "flags"):
        table.add_column(name, justify="right" if name in {"from", "to", "confidence"} else "left")
    stretches = _stretches(moments)
    for stretch in stretches[:_ROWS]:
        moment = stretch.first
        cells = [clock(moment.start), clock(stretch.last.end)]
        if several:
            cells.append("" if moment.track is None else str(moment.track))
        if moment.answer:
            emotion = Text(moment.answer.emotion, style=f"bold {colour(moment.answer.emotion)}")
            confidence = f"{sum(stretch.confidences) / len(stretch.confidences):.0%}"
            table.add_row(*cells, emotion, confidence, INPUTS[moment.answer.inputs], ", ".join(moment.flags))
        else:
            table.add_row(*cells, Text("none", style="dim"), "", "", ", ".join(moment.flags))
    if len(stretches) > _ROWS:
        table.caption = f"{len(stretches) - _ROWS} more rows; --timeline FILE writes all windows"
    return table


def _stretches(moments: Sequence[Moment]) -> list[_Stretch]:
    """Join successive moments of a face with the same emotion, inputs and flags."""
    latest: dict[int | None, _Stretch] = {}
    stretches = []
    for moment in moments:
        confidence = [moment.answer.confidence] if moment.answer else []
        stretch = latest.get(moment.track)
        if stretch and _kind(stretch.first) == _kind(moment) and moment.start <= stretch.last.end:
            stretch.last = moment
            stretch.confidences += confidence
        else:
            latest[moment.track] = _Stretch(moment, moment, confidence)
            stretches.append(latest[moment.track])
    return stretches


def _kind(moment: Moment) -> tuple[object, ...]:
    answer = moment.answer
    return moment.flags, answer and answer.emotion, answer and answer.inputs
