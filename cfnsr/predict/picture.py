"""A clip's answer as a picture: faces, probabilities over time, flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfnsr.faces.crop import decode_jpeg
from cfnsr.files import atomic_path
from cfnsr.predict.answer import Answer, Flag, Moment, Prediction
from cfnsr.predict.palette import INPUTS, NOTE, SYNTHETIC_NOTE, clock, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PAPER = "#1f2937", "#6b7280", "#ffffff"
_WIDTH = 11.0  # inches
_DPI = 140
_FACES = 12  # at most, over a timeline
_LABEL = 0.06  # of the time; a stretch of one emotion that is shorter has no name written on it


def draw_prediction(prediction: Prediction, path: Path, synthetic: bool) -> None:
    """Write `path` (PNG): a timeline for each face, or bars for a clip with one answer."""
    people: dict[int | None, list[Moment]] = {}
    single = len({moment.start for moment in prediction.moments}) == 1
    for moment in prediction.moments:
        people.setdefault(_person(moment, prediction), []).append(moment)
    figure = new_figure(_WIDTH, 0.9 + (3.3 if single else 3.9) * len(people))
    rows = figure.subfigures(len(people), 1, squeeze=False)[:, 0]
    for row, (number, moments) in zip(rows, people.items(), strict=True):
        name = f"face {number}" if len(people) > 1 and number else ""
        if single:
            _single(row, moments[0], name)
        else:
            _timeline(row, moments, prediction.duration, name)
    answer = prediction.answer
    title = f"{prediction.clip.name}    {clock(prediction.duration)}    {answer.emotion} {answer.confidence:.0%}"
    finish_figure(figure, path, title, f"said from {INPUTS[answer.inputs]}", synthetic)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in inches."""
    from matplotlib.figure import Figure  # not pyplot: it keeps global state and picks a window system

    return Figure(figsize=(width, height), layout="constrained", dpi=_DPI, facecolor=PAPER)


def finish_figure(figure: Figure, path: Path, title: str, subtitle: str, synthetic: bool) -> None:
    """Title, footer, and the file."""
    figure.suptitle(f"{_plain(title)}\n", x=0.02, ha="left", fontsize=14, fontweight="bold", color=INK)
    height = figure.get_figheight()
    figure.text(0.02, 1 - 0.36 / height, subtitle, ha="left", va="top", fontsize=9.5, color=FAINT)
    figure.supxlabel(SYNTHETIC_NOTE if synthetic else NOTE, x=0.98, ha="right", fontsize=8, color=FAINT)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def draw_bars(axes: Axes, answer: Answer) -> None:
    """Probabilities as bars with their values, in the network's order."""
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


def _person(moment: Moment, prediction: Prediction) -> int | None:
    """Whose row a moment belongs to: one row for whoever is followed, one for each of the others."""
    if len({(other.start, other.followed) for other in prediction.moments}) == len(prediction.moments) and all(
        other.followed for other in prediction.moments
    ):
        return None
    return moment.track


def _single(figure: Any, moment: Moment, name: str) -> None:
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 2))
    _faces(upper, [(index + 0.5, face) for index, face in enumerate(moment.portraits)], len(moment.portraits) or 1)
    upper.set_title(_with_flags(name, moment.flags), loc="left", fontsize=9.5, color=FAINT)
    if moment.answer:
        draw_bars(lower, moment.answer)


def _timeline(figure: Any, moments: Sequence[Moment], duration: float, name: str) -> None:
    flags = [flag for flag in Flag if any(flag in moment.flags for moment in moments)]
    heights = (1.15, 3.0, 0.42, 0.2 * len(flags) + 0.02)
    faces, curves, band, notes = figure.subplots(4, 1, height_ratios=heights)
    edges = _edges(moments, duration)
    shown = zip((edges[1:] + edges[:-1]) / 2, moments, strict=True)
    portraits = [(time, moment.portraits[0]) for time, moment in shown if moment.portraits]
    _faces(faces, _spread(portraits, duration), duration)
    faces.set_title(name, loc="left", fontsize=10, color=INK, fontweight="bold")
    _probabilities(curves, moments, edges)
    _band(band, moments, edges, duration)
    _notes(notes, moments, edges, flags)
    for axes in (faces, curves, band, notes):
        axes.set_xlim(0, duration)
    for axes in (faces, curves, band):
        axes.set_xticks([])
    notes.xaxis.set_major_formatter(lambda seconds, _: clock(seconds))
    notes.tick_params(axis="x", labelsize=8.5, labelcolor=FAINT, color=FAINT)


def _edges(moments: Sequence[Moment], duration: float) -> np.ndarray:
    """Where each moment's part of the time axis begins, and the end: between the windows' middles (M + 1)."""
    middles = np.array([(moment.start + moment.end) / 2 for moment in moments])
    return np.concatenate([[min(moments[0].start, middles[0])], (middles[1:] + middles[:-1]) / 2, [moments[-1].end]])


def _probabilities(axes: Axes, moments: Sequence[Moment], edges: np.ndarray) -> None:
    """Stacked steps, one colour an emotion; white where there is no answer."""
    labels = next(list(moment.answer.probabilities) for moment in moments if moment.answer)
    table = np.array(
        [[moment.answer.probabilities[label] if moment.answer else 0.0 for label in labels] for moment in moments]
    )  # (M, K)
    tops = np.cumsum(table, axis=1)
    for index, label in enumerate(labels):
        low = tops[:, index] - table[:, index]
        axes.stairs(tops[:, index], edges, baseline=low, fill=True, color=colour(label), label=label, linewidth=0)
    axes.set(ylim=(0, 1), yticks=[0, 0.5, 1])
    axes.set_yticklabels(["0", "50 %", "100 %"], fontsize=8.5, color=FAINT)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="white", linewidth=0.8, alpha=0.6)
    _without_frame(axes)
    handles, names = axes.get_legend_handles_labels()
    legend = axes.legend(
        handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9.5,
        handlelength=1, handleheight=1, labelcolor=INK, borderaxespad=0.6,
    )  # fmt: skip
    legend.set_in_layout(True)


def _band(axes: Axes, moments: Sequence[Moment], edges: np.ndarray, duration: float) -> None:
    """The most probable emotion, paler where the network is less sure."""
    begin = 0
    for index, moment in enumerate(moments):
        if moment.answer:
            shade = 0.25 + 0.75 * moment.answer.confidence
            axes.axvspan(edges[index], edges[index + 1], color=colour(moment.answer.emotion), alpha=shade, linewidth=0)
        following = moments[index + 1] if index + 1 < len(moments) else None
        if following is None or _name(following) != _name(moment):
            if edges[index + 1] - edges[begin] >= _LABEL * duration:
                middle = (edges[begin] + edges[index + 1]) / 2
                axes.text(middle, 0.5, _name(moment), ha="center", va="center", fontsize=9, color=INK)
            begin = index + 1
    axes.set(ylim=(0, 1), yticks=[])
    _without_frame(axes)


def _notes(axes: Axes, moments: Sequence[Moment], edges: np.ndarray, flags: Sequence[Flag]) -> None:
    """A line for each flag, drawn where it holds."""
    for row, flag in enumerate(flags):
        for index, moment in enumerate(moments):
            if flag in moment.flags:
                axes.hlines(row, edges[index], edges[index + 1], color=FAINT, linewidth=5)
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


def _spread(faces: Sequence[tuple[float, bytes]], duration: float) -> list[tuple[float, bytes]]:
    """At most as many as stand side by side: the first in each even part of the time."""
    chosen: dict[int, tuple[float, bytes]] = {}
    for time, face in faces:
        part = min(int(_FACES * time / duration), _FACES - 1)
        chosen.setdefault(part, ((part + 0.5) * duration / _FACES, face))
    return list(chosen.values())


def _name(moment: Moment) -> str:
    return moment.answer.emotion if moment.answer else ""


def _with_flags(name: str, flags: Sequence[Flag]) -> str:
    return ", ".join([name, *flags] if name else flags)


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # file names are no formulas


def _without_frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)
