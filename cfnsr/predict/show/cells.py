"""A timeline's windows overlap; on a time axis each gets a part of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cfnsr.predict.answer import Moment


class Cell(NamedTuple):
    """A moment's part of the time axis, in seconds."""

    begin: float
    end: float
    moment: Moment


def cells_of(moments: Sequence[Moment]) -> list[Cell]:
    """The time around each moment's middle, up to its neighbours'; one face's moments, in the order of time."""
    middles = np.array([(moment.start + moment.end) / 2 for moment in moments])
    hop = float(np.median(np.diff(middles))) if len(middles) > 1 else moments[0].end - moments[0].start
    apart = np.diff(middles)
    reach = np.where(apart > 1.5 * hop, hop, apart) / 2  # a face that was away leaves a gap
    begins = [moments[0].start, *(middles[1:] - reach).tolist()]
    ends = [*(middles[:-1] + reach).tolist(), moments[-1].end]
    return [Cell(*cell) for cell in zip(begins, ends, moments, strict=True)]


def stretches(cells: Sequence[Cell]) -> Iterator[tuple[float, float, str]]:
    """Begin, end and emotion of neighbours that have the same; the emotion is "" where there is no answer."""
    begin = cells[0].begin
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        name = cell.moment.answer.emotion if cell.moment.answer else ""
        after = following.moment.answer.emotion if following and following.moment.answer else ""
        if following is None or name != after or following.begin > cell.end + 1e-6:
            yield begin, cell.end, name
            begin = following.begin if following else begin


def spread_portraits(cells: Sequence[Cell], duration: float, count: int) -> list[tuple[float, bytes]]:
    """Time and face (a JPEG file) of at most `count` moments: the first one in each even part of the time."""
    chosen: dict[int, tuple[float, bytes]] = {}
    for cell in cells:
        if cell.moment.portraits:
            part = min(int(count * (cell.begin + cell.end) / 2 / duration), count - 1)
            chosen.setdefault(part, ((part + 0.5) * duration / count, cell.moment.portraits[0]))
    return list(chosen.values())
