"""Why the network says what it says, as a picture: where it looked, and what face and voice say alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cfnsr.predict.answer import Answer
from cfnsr.predict.palette import INPUTS, clock
from cfnsr.predict.picture import FAINT, INK, draw_bars, finish_figure, new_figure
from cfnsr.predict.predictor import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 6  # faces side by side
_BARS = 2.6  # inches
_HEAT = "inferno"
_OPACITY = 0.7  # of the strongest attention over the face
_SPAN = 2.0  # the least that the scale reaches to, in shares of an even attention: nearly even looks nearly even


def draw_explanation(explanation: Explanation, path: Path, synthetic: bool) -> None:
    """Write `path` (PNG): the faces of the surest moment with the attention over them, and bars by what was used."""
    frames, kinds = explanation.frames, list(explanation.contributions)
    faces = 2.0 if explanation.attention is None else 3.8  # inches
    heights = [_BARS] if frames is None else [faces, _BARS]
    figure = new_figure(11.0, 0.7 + sum(heights))
    panels = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if frames is not None:
        _gaze(panels[0], frames, explanation.attention)
    bars = panels[-1].subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(bars, kinds, strict=True):
        draw_bars(axes, Answer.of(explanation.contributions[kind], kind))
        axes.set_title(INPUTS[kind], loc="left", fontsize=10.5, color=INK, fontweight="bold")
    answer, moment = explanation.moment.answer, explanation.moment
    assert answer is not None
    title = f"{explanation.prediction.clip.name}    why {answer.emotion} {answer.confidence:.0%}"
    subtitle = f"{clock(moment.start)} to {clock(moment.end)}, said from {INPUTS[answer.inputs]}"
    finish_figure(figure, path, title, subtitle, synthetic)


def _gaze(panel: Any, frames: NDArray[np.uint8], attention: NDArray[np.float32] | None) -> None:
    shown = np.linspace(0, len(frames) - 1, min(_COLUMNS, len(frames))).round().astype(int)
    rows = 1 if attention is None else 2
    heat = None if attention is None else attention * attention[0].size  # 1: as much as everywhere else
    grid = panel.subplots(rows, len(shown), squeeze=False)
    for column, index in enumerate(shown):
        grid[0, column].imshow(frames[index], interpolation="lanczos")
        if heat is not None:
            step = index * len(heat) // len(frames)
            _overlay(grid[1, column], frames[index], heat[step] / max(heat.max(), _SPAN))
    if heat is not None:
        grid[1, 0].set_ylabel("where it looked", fontsize=9.5, color=FAINT)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)


def _overlay(axes: Axes, face: NDArray[np.uint8], weights: NDArray[np.float32]) -> None:
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    heat = cv2.resize(weights, face.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)  # (H, W)
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
    axes.imshow(heat, cmap=_HEAT, alpha=_OPACITY * heat, vmin=0, vmax=1, interpolation="bilinear")
