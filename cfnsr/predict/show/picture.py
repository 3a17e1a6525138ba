"""A prediction as a picture: faces, probabilities over time, flags."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfnsr.features.faces.crop import decode_jpeg
from cfnsr.files import atomic_path
from cfnsr.predict.answer import Answer, Flag, Moment, Prediction
from cfnsr.predict.show.cells import Cell, cells_of, spread_portraits, stretches
from cfnsr.predict.show.palette import INPUTS, clock, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PAPER = "#1f2937", "#6b7280", "#ffffff"
_WIDTH = 11.0  # inches
_DPI = 140
_FACES = 12  # maximum over a timeline
_PEOPLE = 6  # maximum
_STEPS = (0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # s between ticks
_TICKS = 8  # maximum
_LABEL = 0.06  # share of the duration; shorter stretches of an emotion are not labelled


def draw_prediction(prediction: Prediction, path: Path, note: str) -> None:
    """Write a PNG with one timeline per face, or with bars for a clip with a single window."""
    single = len({moment.start for moment in prediction.moments}) == 1
    people = _people(prediction.moments)
    figure = new_figure(_WIDTH, 0.9 + (3.3 if single else 3.9) * len(people))
    panels = figure.subfigures(len(people), 1, squeeze=False)[:, 0]
    for panel, (name, moments) in zip(panels, people, strict=True):
        if single:
            _single(panel, moments[0], name)
        else:
            _timeline(panel, moments, prediction.duration, name)
    answer = prediction.answer
    title = f"{prediction.clip.name}    {clock(prediction.duration)}    {answer.emotion} {answer.confidence:.0%}"
    finish_figure(figure, path, title, f"from {INPUTS[answer.inputs]}", note)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; sizes in inches."""
    from matplotlib.figure import Figure  # not pyplot, which keeps global state and selects a window system

    return Figure(figsize=(width, height), layout="constrained", dpi=_DPI, facecolor=PAPER)


def finish_figure(figure: Figure, path: Path, title: str, subtitle: str, note: str) -> None:
    """Add title and footer, and write the file."""
    figure.suptitle(f"{_plain(title)}\n", x=0.02, ha="left", fontsize=14, fontweight="bold", color=INK)
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.36 / height, subtitle, ha="left", va="top", fontsize=9.5, color=FAINT)
    figure.supxlabel(note, x=0.98, ha="right", fontsize=8, color=FAINT)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # in a file name; drawn as a box
        figure.savefig(temporary, format="png")


def draw_bars(axes: Axes, answer: Answer) -> None:
    """Draw probabilities as labelled bars, in the network's order."""
    names = list(answer.probabilities)
    shares = [answer.probabilities[name] for name in names]
    axes.barh(names, shares, color=[colour(name) for name in names], height=0.72)
    for index, share in enumerate(shares):
        weight = "bold" if names[index] == answer.emotion else "normal"
        axes.text(share + 0.012, index, f"{share:.0%}", va="center", fontsize=9.5, color=INK, fontweight=weight)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.08), xticks=[])
    axes.tick_params(length=0, labelsize=10, labelcolor=INK)
    _without_frame(axes)


def _people(moments: Sequence[Moment]) -> list[tuple[str, list[Moment]]]:
    """Name and moments of each row: one for whoever is followed, or one for each face, those seen longest first."""
    if all(moment.followed for moment in moments):
        return [("", list(moments))]
    counts = Counter(moment.track for moment in moments if moment.track is not None)
    tracks = [track for track, _ in counts.most_common(_PEOPLE)]
    rows = [(f"face {track}", [moment for moment in moments if moment.track == track]) for track in tracks]
    nobody = [moment for moment in moments if moment.track is None]
    rows[0][1].extend(nobody)
    rows[0][1].sort(key=lambda moment: moment.start)
    return rows


def _single(figure: Any, moment: Moment, name: str) -> None:
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 2))
    _faces(upper, [(index + 0.5, face) for index, face in enumerate(moment.portraits)], len(moment.portraits) or 1)
    upper.set_title(", ".join(filter(None, (name, *moment.flags))), loc="left", fontsize=9.5, color=FAINT)
    if moment.answer:
        draw_bars(lower, moment.answer)


def _timeline(figure: Any, moments: Sequence[Moment], duration: float, name: str) -> None:
    from matplotlib.ticker import MultipleLocator

    flags = [flag for flag in Flag if any(flag in moment.flags for moment in moments)]
    heights = (1.15, 3.0, 0.42, 0.2 * len(flags) + 0.02)
    faces, curves, band, notes = figure.subplots(4, 1, height_ratios=heights)
    cells = cells_of(moments)
    _faces(faces, spread_portraits(cells, duration, _FACES), duration)
    faces.set_title(name, loc="left", fontsize=10, color=INK, fontweight="bold")
    _probabilities(curves, cells)
    _band(band, cells, duration)
    _notes(notes, cells, flags)
    for axes in (faces, curves, band, notes):
        axes.set_xlim(0, duration)
    for axes in (faces, curves, band):
        axes.set_xticks([])
    step = next((step for step in _STEPS if duration / step <= _TICKS), duration)
    notes.xaxis.set_major_locator(MultipleLocator(step))
    notes.xaxis.set_major_formatter(lambda seconds, _: clock(seconds, digits=int(step < 1)))
    notes.tick_params(axis="x", labelsize=8.5, labelcolor=FAINT, color=FAINT)


def _edges(cells: Sequence[Cell]) -> np.ndarray:
    """Start and end of every cell, (2 M,); between two cells is a gap, often of width zero."""
    return np.array([time for cell in cells for time in (cell.start, cell.end)])


def _probabilities(axes: Axes, cells: Sequence[Cell]) -> None:
    """Stacked steps, one colour per emotion; white where there is no prediction."""
    labels = next((list(cell.moment.answer.probabilities) for cell in cells if cell.moment.answer), [])
    low = np.zeros(2 * len(cells) - 1)  # one value per cell, and one per gap between cells
    for label in labels:
        high = low.copy()
        high[::2] += [cell.moment.answer.probabilities[label] if cell.moment.answer else 0.0 for cell in cells]
        axes.stairs(high, _edges(cells), baseline=low, fill=True, color=colour(label), label=label, linewidth=0)
        low = high
    axes.set(ylim=(0, 1), yticks=[0, 0.5, 1])
    axes.set_yticklabels(["0", "50 %", "100 %"], fontsize=8.5, color=FAINT)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="white", linewidth=0.8, alpha=0.6)
    _without_frame(axes)
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9.5,
        handlelength=1, handleheight=1, labelcolor=INK, borderaxespad=0.6,
    )  # fmt: skip


def _band(axes: Axes, cells: Sequence[Cell], duration: float) -> None:
    """The most probable emotion, paler at lower confidence."""
    from matplotlib.colors import to_rgba

    shades = np.zeros((1, 2 * len(cells) - 1, 4))  # RGBA; gaps stay transparent
    for index, cell in enumerate(cells):
        if answer := cell.moment.answer:
            shades[0, 2 * index] = to_rgba(colour(answer.emotion), 0.25 + 0.75 * answer.confidence)
    axes.pcolormesh(_edges(cells), [0, 1], shades, linewidth=0)
    for start, end, name in stretches(cells):
        if end - start >= _LABEL * duration:
            axes.text((start + end) / 2, 0.5, name, ha="center", va="center", fontsize=9, color=INK)
    axes.set(ylim=(0, 1), yticks=[])
    _without_frame(axes)


def _notes(axes: Axes, cells: Sequence[Cell], flags: Sequence[Flag]) -> None:
    """One line per flag, drawn where the flag is raised."""
    for row, flag in enumerate(flags):
        raised = [cell for cell in cells if flag in cell.moment.flags]
        axes.hlines([row] * len(raised), [cell.start for cell in raised], [cell.end for cell in raised], FAINT, lw=5)
    axes.set(ylim=(len(flags) - 0.5, -0.5) if flags else (0, 1), yticks=range(len(flags)))
    axes.set_yticklabels(flags, fontsize=8.5, color=FAINT)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def _faces(axes: Axes, faces: Sequence[tuple[float, bytes]], span: float) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    for time, face in faces:
        image = decode_jpeg(face)
        zoom = 0.82 * 72 / image.shape[0]  # 0.82 inches
        box = OffsetImage(image, zoom=zoom, interpolation="lanczos")
        axes.add_artist(AnnotationBbox(box, (time, 0.5), xycoords=("data", "axes fraction"), frameon=False, pad=0))
    axes.set(xlim=(0, span), ylim=(0, 1), xticks=[], yticks=[])
    _without_frame(axes)


def _plain(text: str) -> str:
    """Escape a file name, which need not be UTF-8, for matplotlib, which would read `$` as a formula."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("$", r"\$")


def _without_frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)
