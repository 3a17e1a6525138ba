"""Plots of a run, as PNG files a person wants to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cfnsr.files import atomic_path
from cfnsr.ravdess import EMOTIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PHASES = {"audio": "audio encoder", "video": "video encoder", "fusion": "fused network"}
COLOURS = {"audio": "#d97706", "video": "#2563eb", "fusion": "#047857"}


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure  # not pyplot: it keeps global state and picks a window system

    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")


def plot_curves(history: pd.DataFrame, path: Path, title: str, selection: str) -> None:
    """Training loss and selection accuracy by epoch: thin lines are folds, the thick one their mean.

    Args:
        history: columns `fold, phase, epoch, train/loss` and `validation/accuracy`.
        path: PNG to write.
        title: above the plot.
        selection: who chose the epoch, for example `validation actors`.
    """
    phases = [phase for phase in PHASES if phase in set(history["phase"])]
    figure = _figure(10, 4.2)
    panels = figure.subplots(1, 2)
    shown = {"train/loss": "training loss", "validation/accuracy": f"accuracy of the {selection}"}
    for axes, (column, label) in zip(panels, shown.items(), strict=True):
        for phase in phases:
            table = history[history["phase"] == phase].pivot(index="epoch", columns="fold", values=column)
            epochs = table.index.to_numpy() + 1
            axes.plot(epochs, table.to_numpy(), color=COLOURS[phase], alpha=0.25, linewidth=0.9)
            axes.plot(epochs, table.mean(axis=1), color=COLOURS[phase], linewidth=2.2, label=PHASES[phase])
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[1].set_ylim(0, 1.02)
    panels[1].axhline(1 / len(EMOTIONS), color="grey", linestyle=":", linewidth=1, label="chance")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title)
    _save(figure, path)


def plot_confusion(matrix: NDArray[np.integer], path: Path, title: str) -> None:
    """Confusion matrix `(8, 8)` as shares of each true class, with the counts behind them."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    figure = _figure(7, 6.2)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*matrix.shape):
        if matrix[row, column]:
            colour = "white" if shares[row, column] > 0.55 else "#1f2937"
            text = f"{shares[row, column]:.0%}\n{matrix[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=40, ha="right")
    axes.set_yticks(range(len(EMOTIONS)), EMOTIONS)
    axes.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    figure.suptitle(title)
    _save(figure, path)
