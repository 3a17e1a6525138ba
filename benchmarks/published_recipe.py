"""The published audio recipe as a plain loop that uses nothing of this project: a check on `audio-published`.

    python -m benchmarks.published_recipe FOLDER [--seeds 1 2 3]

Sound by soundfile and librosa, the network and the loop written down once more, 6 folds of 4 consecutive actors, no
validation set. If these figures and those of docs/results.md agree, neither comes from how this project decodes, cuts,
shuffles, trains or counts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

RATE, OFFSET, SECONDS = 44_100, 0.5, 2.45
EPOCHS, BATCH, LAST, FOLDS = 150, 16, 10, 6


class Clips(NamedTuple):
    """All clips; N of them."""

    mfcc: NDArray[np.float32]
    """(N, 13, 212)"""
    label: NDArray[np.int64]
    actor: NDArray[np.int64]


def mfcc(path: Path) -> NDArray[np.float32]:
    """(13, 212)"""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    sound = librosa.resample(sound.mean(axis=1), orig_sr=rate, target_sr=RATE)
    length = int(SECONDS * RATE)
    window = sound[int(OFFSET * RATE) :][:length]
    return librosa.feature.mfcc(y=np.pad(window, (0, length - len(window))), sr=RATE, n_mfcc=13)


def network() -> nn.Sequential:
    """The published audio encoder with its head."""
    return nn.Sequential(
        *(nn.Conv1d(13, 32, 7, padding=2), nn.ReLU(), nn.BatchNorm1d(32)),
        *(nn.Conv1d(32, 32, 7, padding=2), nn.ReLU(), nn.MaxPool1d(8), nn.BatchNorm1d(32), nn.Dropout(0.2)),
        *(nn.Conv1d(32, 64, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(64), nn.Flatten(), nn.Dropout(0.4)),
        nn.Linear(26 * 64, 8),
    )


def train(clips: Clips, seed: int, fold: int) -> list[float]:
    """Accuracy of a fold's test actors after each epoch."""
    torch.set_num_threads(1)
    torch.manual_seed(1000 * seed + fold)
    tested = (clips.actor - 1) // 4 == fold
    x, y = torch.from_numpy(clips.mfcc), torch.from_numpy(clips.label)
    x_test, y_test, x, y = x[tested], y[tested], x[~tested], y[~tested]
    model, curve = network(), []
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        model.train()
        for batch in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            curve.append((model(x_test).argmax(dim=1) == y_test).float().mean().item())
    return curve


def main(folder: Path, seeds: Sequence[int]) -> None:
    """Print the mean over folds of the best test epoch and of the last ten epochs, for each seed and for all."""
    files = sorted(path for path in folder.rglob("03-01-*") if path.suffix in {".wav", ".flac"})
    names = np.array([path.stem.split("-") for path in files], dtype=np.int64)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        clips = Clips(np.stack(list(pool.map(mfcc, files, chunksize=20))), names[:, 2] - 1, names[:, 6])
        print(f"{len(files)} clips, {sum(each.numel() for each in network().parameters()):,} parameters")
        figures = []
        for seed in seeds:
            curves = np.array(list(pool.map(partial(train, clips, seed), range(FOLDS))))  # (folds, epochs)
            figures.append([curves.max(axis=1).mean(), curves[:, -LAST:].mean()])
            print(f"seed {seed}: {_sentence(figures[-1])}", flush=True)
    print(f"mean:   {_sentence(np.mean(figures, axis=0))}")


def _sentence(figures: Sequence[float]) -> str:
    return f"best test epoch {figures[0]:.1%}, last ten epochs {figures[1]:.1%}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="RAVDESS sound files, searched with subfolders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    if not any(arguments.folder.rglob("03-01-*")):
        parser.error(f"{arguments.folder} holds no RAVDESS speech (03-01-*.wav or .flac); name the folder that does")
    main(arguments.folder, arguments.seeds)
