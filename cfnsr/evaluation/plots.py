"""Plots of a run, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cfnsr.evaluation.metrics import ECE_BINS, reliability, scores
from cfnsr.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PHASE_NAMES = {"audio": "audio encoder", "video": "video encoder", "fusion": "fused network"}
COLOURS = {"audio": "#d97706", "video": "#2563eb", "fusion": "#047857"}
SEX_COLOURS = {"female": "#7c3aed", "male": "#0891b2"}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # not pyplot, which has global state and selects a window system

    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")


def _set_title(figure: Figure, title: str) -> None:
    """Set a title, wrapped to the width of the figure: an inch holds about 11.4 characters."""
    lines = [fill(line, int(11.4 * figure.get_figwidth())) for line in title.splitlines()]
    figure.suptitle("\n".join(lines))


def plot_curves(history: pd.DataFrame, path: Path, title: str, selection: str, classes: int) -> None:
    """Plot training loss and selection accuracy by epoch: thin lines are folds, thick lines their means.

    Args:
        history: columns `fold, phase, epoch, train/loss` and `validation/accuracy`.
        path: PNG to write.
        title: above the plot.
        selection: the speakers that chose the epoch, for example `validation speakers`.
        classes: K.
    """
    phases = [phase for phase in PHASE_NAMES if phase in set(history["phase"])]
    figure = _figure(10, 4.2)
    panels = figure.subplots(1, 2)
    shown = {"train/loss": "training loss", "validation/accuracy": f"accuracy of the {selection}"}
    for axes, (column, label) in zip(panels, shown.items(), strict=True):
        for phase in phases:
            table = history[history["phase"] == phase].pivot(index="epoch", columns="fold", values=column)
            epochs = table.index.to_numpy() + 1
            axes.plot(epochs, table.to_numpy(), color=COLOURS[phase], alpha=0.25, linewidth=0.9)
            axes.plot(epochs, table.mean(axis=1), color=COLOURS[phase], linewidth=2.2, label=PHASE_NAMES[phase])
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].set_ylim(0, 1.02)
    panels[1].axhline(1 / classes, color="grey", linestyle=":", linewidth=1, label="chance")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    _set_title(figure, title)
    _save(figure, path)


def plot_confusion(matrix: NDArray[np.integer], labels: Sequence[str], path: Path, title: str) -> None:
    """Plot a confusion matrix `(K, K)` as shares of each true class, with the counts."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    side = max(6.2, 0.55 * len(labels) + 1.8)  # inches
    figure = _figure(side + 0.8, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        if matrix[row, column]:
            colour = "white" if shares[row, column] > 0.55 else "#1f2937"
            text = f"{shares[row, column]:.0%}\n{matrix[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    _set_title(figure, title)
    _save(figure, path)


def plot_reliability(
    probabilities: Mapping[str, NDArray[np.floating]], labels: NDArray[np.integer], path: Path, title: str
) -> None:
    """Plot a reliability diagram: accuracy by confidence, and the distribution of the confidence.

    The area of a point is proportional to its bin's share of the clips.

    Args:
        probabilities: (N, K) of the same clips, by label of the plot.
        labels: (N,)
        path: PNG to write.
        title: above the plot.
    """
    figure = _figure(7.5, 6.8)
    diagram, counts = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    diagram.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1, label="perfect calibration")
    for (name, values), colour in zip(probabilities.items(), ("#b45309", "#047857"), strict=False):
        ece = scores(values, labels).ece
        confidence, right, clips = reliability(values, labels)
        areas = 6 + 700 * clips / len(labels)  # points²; a single clip stays visible
        diagram.scatter(confidence, right, areas, color=colour, alpha=0.6, linewidths=0, clip_on=False, zorder=3)
        diagram.plot([], [], "o", color=colour, alpha=0.6, label=f"{name}, ECE {ece:.3f}")
        counts.stairs(*np.histogram(values.max(axis=1), ECE_BINS, range=(0, 1)), color=colour, linewidth=1.4)
    diagram.set(ylabel="accuracy (area: clips)", xlim=(0, 1), ylim=(0, 1.02))
    counts.set(xlabel="confidence", ylabel="clips", ylim=(0, None))
    for axes in (diagram, counts):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*diagram.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    _set_title(figure, title)
    _save(figure, path)


def plot_speakers(predictions: pd.DataFrame, path: Path, title: str, classes: int) -> None:
    """Plot the accuracy of each test speaker; the line is the accuracy over all clips.

    Args:
        predictions: columns `speaker`, `sex`, `label`, `predicted`.
        path: PNG to write.
        title: above the plot.
        classes: K.
    """
    table = predictions.assign(right=predictions["label"] == predictions["predicted"])
    speakers = table.groupby(["speaker", "sex"])["right"].mean().reset_index()
    figure = _figure(max(8.5, 0.42 * len(speakers) + 2), 4)
    axes = figure.subplots()
    for sex, group in speakers.groupby("sex"):
        name = f"{sex} speakers" if sex else "speakers"
        axes.bar(group.index, group["right"], color=SEX_COLOURS.get(str(sex), "#64748b"), label=name)
    axes.set_xticks(speakers.index, speakers["speaker"], rotation=90 if speakers["speaker"].str.len().max() > 3 else 0)
    mean = float(table["right"].mean())
    axes.axhline(mean, color="#1f2937", linewidth=1, label=f"all clips, {mean:.1%}")
    axes.axhline(1 / classes, color="grey", linestyle=":", linewidth=1, label="chance")
    axes.set(xlabel="test speaker", ylabel="accuracy", ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    _set_title(figure, title)
    _save(figure, path)


@dataclass(frozen=True)
class AttentionMap:
    """The attention of a network over the face of one clip."""

    caption: str
    face: NDArray[np.uint8]
    """(H, W, 3) RGB"""
    attention: NDArray[np.floating]
    """(H', W') weights that sum to 1"""


def plot_attention(maps: Sequence[AttentionMap], path: Path, title: str) -> None:
    """Plot faces, and below each the same face overlaid with its attention, relative to uniform attention, one
    cell for each position of the video map."""
    figure = _figure(max(7.0, 1.7 * len(maps) + 0.9), 4.4)
    panels = figure.subplots(2, len(maps), squeeze=False)
    relative = [shown.attention * shown.attention.size for shown in maps]
    highest = max(float(weights.max()) for weights in relative)
    for column, (shown, weights) in enumerate(zip(maps, relative, strict=True)):
        height, width = shown.face.shape[:2]
        for axes in panels[:, column]:
            axes.imshow(shown.face, extent=(0, width, height, 0))
            axes.set(xticks=[], yticks=[])
        overlay = panels[1, column].imshow(
            weights, cmap="inferno", alpha=0.55, vmin=0, vmax=highest, extent=(0, width, height, 0),
            interpolation="nearest",
        )  # fmt: skip
        panels[0, column].set_title(shown.caption, fontsize=9)
    figure.colorbar(overlay, ax=panels, shrink=0.8, label="attention, 1 = uniform")
    _set_title(figure, title)
    _save(figure, path)
