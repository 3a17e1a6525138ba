"""Overview picture of the corpus: `python -m cfnsr.corpus.sample.sheet FILE.png`.

It shows the faces of some actors for each emotion and, below them, spectrograms of the voice.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cfnsr.config.corpus import SYNTHETIC, SampleSettings
from cfnsr.corpus.ravdess import EMOTIONS
from cfnsr.corpus.sample.face import render_face
from cfnsr.corpus.sample.plan import HALVES, Expression, takes_of
from cfnsr.corpus.sample.voice import SAMPLE_RATE, render_voice

_ORDER = sorted(range(len(EMOTIONS)), key=lambda index: list(Expression).index(HALVES[EMOTIONS[index]][0]))
_HEIGHT = 360  # pixels, of the rendered frames
_MOMENT = 14  # index of the frame shown, at 25 fps
_COLORS = {"soft": "#3b6fb6", "flat": "#6b6b6b", "energetic": "#c8502d", "trembling": "#7d4fa8"}


def draw_sheet(path: Path, settings: SampleSettings, actors: tuple[int, ...]) -> None:
    """Write the picture as PNG: one row per actor, one column per emotion, and spectrograms of the first actor."""
    from matplotlib.figure import Figure

    rows = len(actors) + 1
    figure = Figure(figsize=(13, 13 / 8 * rows + 1.15), dpi=100)
    axes = figure.subplots(rows, 8)
    figure.subplots_adjust(
        left=0.02, right=0.98, top=1 - 0.75 / figure.get_figheight(), bottom=0.06, wspace=0.04, hspace=0.04
    )
    for column, label in enumerate(_ORDER):
        expression, manner = HALVES[EMOTIONS[label]]
        for row, actor in enumerate(actors):
            take = [take for take in takes_of(actor, 1) if take.label == label][-2]
            frames = render_face(take, settings.seed, _HEIGHT * 4 // 3, _HEIGHT, settings.fps, settings.seconds)
            margin = (frames.shape[2] - int(0.86 * _HEIGHT)) // 2
            picture = frames[_MOMENT, int(0.06 * _HEIGHT) : int(0.92 * _HEIGHT), margin:-margin]
            axes[row, column].imshow(picture, interpolation="lanczos")
            if row == 0:
                axes[row, column].set_title(EMOTIONS[label], fontsize=13, fontweight="bold", pad=4)
                sound = render_voice(take, settings.seed, settings.seconds)
                spectrogram = axes[-1, column]
                spectrogram.specgram(sound, NFFT=1024, Fs=SAMPLE_RATE, noverlap=896, vmin=-112, vmax=-45, cmap="magma")
                spectrogram.set_ylim(0, 6000)
                spectrogram.set_xlabel(f"{manner} voice", fontsize=11, color=_COLORS[manner], fontweight="bold")
        if column % 2 == 0:
            x = (axes[0, column].get_position().x0 + axes[0, column + 1].get_position().x1) / 2
            y = axes[0, 0].get_position().y1 + 0.4 / figure.get_figheight()
            figure.text(x, y, f"{expression} face", ha="center", fontsize=13, color="#444444")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set_visible(False)
    figure.text(0.98, 0.008, SYNTHETIC, ha="right", fontsize=9, color="#777777")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=SampleSettings().seed)
    parser.add_argument("--actors", type=int, nargs="+", default=(1, 2, 3, 6))
    arguments = parser.parse_args()
    draw_sheet(arguments.file, SampleSettings(seed=arguments.seed), tuple(arguments.actors))
