"""An explanation as a picture: the network's attention, and the predictions from face and voice alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cfnsr.predict.answer import Answer
from cfnsr.predict.predictor import Explanation
from cfnsr.predict.show.attention import Faces, faces_with_attention
from cfnsr.predict.show.palette import INPUTS, clock
from cfnsr.predict.show.picture import FAINT, INK, draw_bars, finish_figure, new_figure

_COLUMNS = 6  # faces per row
_BARS = 2.6  # inches


def draw_explanation(explanation: Explanation, path: Path, note: str) -> None:
    """Write a PNG of the most confident moment: faces, attention over them, and probabilities for each input."""
    faces, kinds = faces_with_attention(explanation, _COLUMNS), list(explanation.contributions)
    height = 2.0 if explanation.attention is None else 3.8  # inches
    heights = [height, _BARS] if faces else [_BARS]
    figure = new_figure(11.0, 0.7 + sum(heights))
    panels = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if faces:
        _attention(panels[0], faces)
    bars = panels[-1].subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(bars, kinds, strict=True):
        draw_bars(axes, Answer.of(explanation.contributions[kind], kind))
        axes.set_title(INPUTS[kind], loc="left", fontsize=10.5, color=INK, fontweight="bold")
    answer, moment = explanation.moment.answer, explanation.moment
    assert answer is not None
    title = f"{explanation.prediction.clip.name}    why {answer.emotion} {answer.confidence:.0%}"
    subtitle = f"{clock(moment.start)} to {clock(moment.end)}, from {INPUTS[answer.inputs]}"
    finish_figure(figure, path, title, subtitle, note)


def _attention(panel: Any, faces: Faces) -> None:
    rows = 1 if faces[0][1] is None else 2
    grid = panel.subplots(rows, len(faces), squeeze=False)
    for column, pair in enumerate(faces):
        for axes, image in zip(grid[:, column], pair, strict=False):
            axes.imshow(image, interpolation="lanczos")
    if rows == 2:
        grid[1, 0].set_ylabel("attention", fontsize=9.5, color=FAINT)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
