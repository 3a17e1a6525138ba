"""Divides the time axis between the overlapping windows of a timeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cfnsr.predict.answer import Moment


class Cell(NamedTuple):
    """A moment's part of the time axis, in seconds."""

    start: float
    end: float
    moment: Moment


def cells_of(moments: Sequence[Moment]) -> list[Cell]:
    """Give each moment the time around its middle, up to halfway to its neighbours.

    Args:
        moments: of one face, in order of time.
    """
    middles = np.array([(moment.start + moment.end) / 2 for moment in moments])
    hop = float(np.median(np.diff(middles))) if len(middles) > 1 else moments[0].end - moments[0].start
    apart = np.diff(middles)
    reach = np.where(apart > 1.5 * hop, hop, apart) / 2  # an absent face leaves a gap
    starts = [moments[0].start, *(middles[1:] - reach).tolist()]
    ends = [*(middles[:-1] + reach).tolist(), moments[-1].end]
    return [Cell(*cell) for cell in zip(starts, ends, moments, strict=True)]


def stretches(cells: Sequence[Cell]) -> Iterator[tuple[float, float, str]]:
    """Yield start, end and emotion of successive cells with the same emotion, which is "" without a prediction."""
    start = cells[0].start
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        name = cell.moment.answer.emotion if cell.moment.answer else ""
        after = following.moment.answer.emotion if following and following.moment.answer else ""
        if following is None or name != after or following.start > cell.end + 1e-6:
            yield start, cell.end, name
            start = following.start if following else start


def spread_portraits(cells: Sequence[Cell], duration: float, count: int) -> list[tuple[float, bytes]]:
    """Return time and face (JPEG) of at most `count` moments, the first one in each equal part of the duration."""
    chosen: dict[int, tuple[float, bytes]] = {}
    for cell in cells:
        if cell.moment.portraits:
            part = min(int(count * (cell.start + cell.end) / 2 / duration), count - 1)
            chosen.setdefault(part, ((part + 0.5) * duration / count, cell.moment.portraits[0]))
    return list(chosen.values())
