"""Plots of a search: its history, the importance of each setting, and how settings combine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import optuna
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState

WIDTH, HEIGHT, DPI = 9, 5, 120


def plot_study(study: optuna.Study, folder: Path) -> list[Path]:
    """Write history.png, parallel.png and, from the second completed trial on, importance.png."""
    draw = optuna.visualization.matplotlib
    plots: dict[str, Callable[[], object]] = {
        "history": lambda: draw.plot_optimization_history(study),
        "parallel": lambda: draw.plot_parallel_coordinate(study),
    }
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) > 1:
        plots["importance"] = lambda: draw.plot_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    with matplotlib.rc_context():  # Optuna changes the style of all later plots
        for name, plot in plots.items():
            plot()
            figure = plt.gcf()
            figure.set_size_inches(WIDTH, HEIGHT)
            figure.savefig(folder / f"{name}.png", dpi=DPI, bbox_inches="tight")
            plt.close(figure)
    return [folder / f"{name}.png" for name in plots]
