"""The published audio recipe as a plain training loop, independent of this project, to verify `audio-published`.

    python -m benchmarks.published_recipe FOLDER [--seeds 1 2 3] [--both-mfcc] [--beside-runs]

It reads sound with soundfile and librosa and has its own network and loop, with 6 folds of 4 consecutive actors and no
validation set. If its figures agree with docs/results.md, they do not depend on how this project decodes, cuts,
shuffles, trains or counts.

Seeds differ by more than a bug might. Two options help. `--both-mfcc` also trains each seed on this project's MFCC:
over many seeds, chance averages out. `--beside-runs`, after `make results`, removes chance: the loop repeats each run
of `audio-published` with the initial weights, shuffles and dropout of that run, once with the run's MFCC and once with
its own, and is compared with the run epoch by epoch.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import librosa
import numpy as np
import pandas as pd
import soundfile
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from cfnsr.config.load import Settings

RATE, OFFSET, SECONDS = 44_100, 0.5, 2.45
EPOCHS, BATCH, LAST, FOLDS = 150, 16, 10, 6


class Clips(NamedTuple):
    """All N clips."""

    mfcc: NDArray[np.float32]
    """(N, 13, 212)"""
    label: NDArray[np.int64]
    actor: NDArray[np.int64]


Draws = Callable[[int, int], tuple[nn.Sequential, Iterator[torch.Tensor]]]
"""Maps a fold and its number of training clips N to a network with initial weights and to the order (N,) of the clips
in each epoch; taking the next order may also seed the dropout of that epoch."""


def mfcc(path: Path) -> NDArray[np.float32]:
    """(13, 212)"""
    sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    sound = librosa.resample(sound.mean(axis=1), orig_sr=rate, target_sr=RATE)
    length = int(SECONDS * RATE)
    window = sound[int(OFFSET * RATE) :][:length]
    return librosa.feature.mfcc(y=np.pad(window, (0, length - len(window))), sr=RATE, n_mfcc=13)


def network() -> nn.Sequential:
    """Return the published audio encoder with its head."""
    return nn.Sequential(
        *(nn.Conv1d(13, 32, 7, padding=2), nn.ReLU(), nn.BatchNorm1d(32)),
        *(nn.Conv1d(32, 32, 7, padding=2), nn.ReLU(), nn.MaxPool1d(8), nn.BatchNorm1d(32), nn.Dropout(0.2)),
        *(nn.Conv1d(32, 64, 5, padding=2), nn.ReLU(), nn.BatchNorm1d(64), nn.Flatten(), nn.Dropout(0.4)),
        nn.Linear(26 * 64, 8),
    )


def own_draws(seed: int, fold: int, clips: int) -> tuple[nn.Sequential, Iterator[torch.Tensor]]:
    """See `Draws`."""
    torch.manual_seed(1000 * seed + fold)
    return network(), (torch.randperm(clips) for _ in range(EPOCHS))


def train(clips: Clips, draws: Draws, fold: int) -> list[float]:
    """Train a fold and return the accuracy on its test actors after each epoch."""
    torch.set_num_threads(1)
    tested = (clips.actor - 1) // 4 == fold
    x, y = torch.from_numpy(clips.mfcc), torch.from_numpy(clips.label)
    x_test, y_test, x, y = x[tested], y[tested], x[~tested], y[~tested]
    model, orders = draws(fold, len(y))
    optimizer, curve = torch.optim.Adam(model.parameters(), lr=1e-3), []
    for order in orders:
        model.train()
        for batch in order.split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            curve.append((model(x_test).argmax(dim=1) == y_test).float().mean().item())
    return curve


def main(folder: Path, seeds: Sequence[int], both_mfcc: bool, runs: Mapping[int, Run]) -> None:
    """Print the mean over folds of the best test epoch and of the last ten epochs, for each seed and overall.

    Args:
        folder: folder of the sound files.
        seeds: seeds of the loop.
        both_mfcc: also train each seed on this project's MFCC.
        runs: runs to repeat, by seed.
    """
    # In the project's order of clips, so that its shuffles apply.
    files = [path for path in folder.rglob("03-01-*") if path.suffix in {".wav", ".flac"}]
    files.sort(key=lambda path: path.name)
    names = np.array([path.stem.split("-") for path in files], dtype=np.int64)
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:

        def clips_with(features: Callable[[Path], NDArray[np.float32]]) -> Clips:
            return Clips(np.stack(list(pool.map(features, files, chunksize=20))), names[:, 2] - 1, names[:, 6])

        clips = clips_with(mfcc)
        by_mfcc = {"its own MFCC": clips} | ({"this project's MFCC": clips_with(_mfcc_of_project)} if both_mfcc else {})
        print(f"{len(files)} clips, {sum(each.numel() for each in network().parameters()):,} parameters")

        def curves(clips: Clips, draws: Draws) -> NDArray[np.float64]:
            return np.array(list(pool.map(partial(train, clips, draws), range(FOLDS))))

        figures = []
        for name, inputs in by_mfcc.items():
            if both_mfcc:
                print(f"{name}:")
            figures.append(np.empty((len(seeds), 2)))
            for index, seed in enumerate(seeds):
                figures[-1][index] = _figures(curves(inputs, partial(own_draws, seed)))
                print(f"seed {seed}: {_in_words(figures[-1][index])}", flush=True)
            _summarise("mean", figures[-1])
        if both_mfcc:
            difference = figures[1] - figures[0]
            _summarise("this project's minus its own", difference)
            if len(seeds) > 1:
                print(f"standard error: {_in_words(difference.std(axis=0, ddof=1) / np.sqrt(len(seeds)))}")
        for seed, run in runs.items():
            again = curves(clips._replace(mfcc=run.mfcc), run.draws)
            same = np.isclose(again, run.curves, rtol=0, atol=1e-6).sum()
            print(f"run with seed {seed}: {_in_words(_figures(run.curves))}")
            print(f"  the loop, its draws and MFCC: the same accuracy after {same} of {again.size} epochs")
            own = _figures(curves(clips, run.draws))
            print(f"  the loop, its draws, own MFCC: {_in_words(own)}", flush=True)


class Run(NamedTuple):
    """A run of `audio-published` from `make results`."""

    curves: NDArray[np.float64]
    """(folds, epochs): accuracy of the test actors."""
    mfcc: NDArray[np.float32]
    """(N, 13, 212)"""
    draws: Draws


def _mfcc_of_project(path: Path) -> NDArray[np.float32]:
    from cfnsr.config.sections import MfccSettings
    from cfnsr.features.mfcc import mfcc_of_file

    return mfcc_of_file(path, MfccSettings())


def _runs() -> dict[int, Run]:
    """Return the runs by seed.

    Raises:
        FileNotFoundError: `make results` has not finished them.
    """
    from cfnsr.features.mfcc import read_mfcc
    from components.run import fold_folder
    from pipelines.studies.experiments import experiments, settings_of

    found, name = {}, "audio-published"
    for seed in experiments(Path())[name]["seeds"]:
        settings = settings_of(Path(), name, experiments(Path())[name]["overrides"], seed)
        tables = [pd.read_csv(fold_folder(settings, fold) / "history.csv") for fold in range(FOLDS)]
        stored = read_mfcc(settings.layout.mfcc)
        found[seed] = Run(
            np.array([table["validation/accuracy"] for table in tables]),
            np.stack([stored[clip] for clip in sorted(stored)]),
            partial(draws_of_run, settings, EPOCHS),
        )
    return found


def draws_of_run(
    settings: Settings, epochs: int, fold: int, clips: int
) -> tuple[nn.Sequential, Iterator[torch.Tensor]]:
    """See `Draws`; those of this project's run with these settings."""
    from cfnsr.corpus.folds import Fold
    from cfnsr.model.network import CFNSR
    from cfnsr.training.callbacks import epoch_seed
    from cfnsr.training.loaders import EpochSampler

    params = settings.params
    seed = Fold(fold, (), (), ()).seed(params.train.seed)
    torch.manual_seed(seed)
    first = CFNSR.from_settings(params.model, params.mfcc, 8, "audio").state_dict().values()
    model = network()
    model.load_state_dict(dict(zip(model.state_dict(), first, strict=True)))

    def orders() -> Iterator[torch.Tensor]:
        sampler = EpochSampler(clips, seed)
        for epoch in range(epochs):
            torch.manual_seed(epoch_seed(seed, epoch))
            sampler.set_epoch(epoch)
            yield torch.tensor([draw.clip for draw in sampler])

    return model, orders()


def _figures(curves: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean over folds of the best epoch and of the last ten, from (folds, epochs)."""
    return curves.max(axis=1).mean(), curves[:, -LAST:].mean()


def _in_words(figures: Sequence[float] | NDArray[np.float64]) -> str:
    return f"best test epoch {figures[0]:.1%}, last ten epochs {figures[1]:.1%}"


def _summarise(name: str, figures: NDArray[np.float64]) -> None:
    """Print mean and standard deviation of (seeds, 2)."""
    print(f"{name + ':':<7} {_in_words(figures.mean(axis=0))}")
    if len(figures) > 1:
        print(f"standard deviation of a seed: {_in_words(figures.std(axis=0, ddof=1))}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of RAVDESS sound files, searched recursively")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--both-mfcc", action="store_true", help="also train each seed on this project's MFCC")
    parser.add_argument("--beside-runs", action="store_true", help="also repeat the runs of `make results`")
    arguments = parser.parse_args()
    if not any(arguments.folder.rglob("03-01-*")):
        parser.error(f"{arguments.folder} has no RAVDESS speech (03-01-*.wav or .flac); name another folder")
    try:
        found = _runs() if arguments.beside_runs else {}
    except FileNotFoundError as error:
        parser.error(f"{error.filename} is missing; `make results RAVDESS={arguments.folder}` makes the runs first")
    main(arguments.folder, arguments.seeds, arguments.both_mfcc, found)
