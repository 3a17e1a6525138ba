"""Which rule picks the better epoch: the study behind `train.smooth_epochs`, on real RAVDESS files.

    python -m pipelines.studies.epoch_choice FOLDER

Trains the audio encoder as experiments.yaml does, with other seeds and without loading clips of test actors, and
records its logits for every validation clip after every epoch. For each validation actor, the other three of the fold
then choose the epoch by each rule, and the accuracy on that actor measures the choice. Writes docs/epoch-choice.md and
.json. Started again after an interruption, it trains only the missing folds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from cfnsr.errors import exit_with_message
from cfnsr.files import atomic_path, write_text
from cfnsr.parallel import default_workers, end_with_parent
from components import download, faces, manifest, mfcc
from components.run import Run
from pipelines.studies.experiments import commit_of, experiments, paragraph, settings_of

if TYPE_CHECKING:
    from cfnsr.corpus.folds import Fold

NAMES = ("audio-honest", "audio-rich")
SEEDS = (10, 11)
"""Seeds that experiments.yaml does not use."""

Curve = NDArray[np.float64]
"""(E,): one value per epoch."""


def _smoothed(values: Curve, width: int) -> Curve:
    """Means of the last `width` epochs, or of all epochs so far if there are fewer."""
    return np.array([values[max(0, end - width) : end].mean() for end in range(1, len(values) + 1)])


RULES: Mapping[str, Callable[[Curve, Curve], int]] = {
    "highest accuracy, the first of them": lambda accuracy, loss: int(accuracy.argmax()),
    "highest accuracy, the last of them": lambda accuracy, loss: len(accuracy) - 1 - int(accuracy[::-1].argmax()),
    "lowest loss": lambda accuracy, loss: int(loss.argmin()),
    "highest mean accuracy of 5 epochs": lambda accuracy, loss: int(_smoothed(accuracy, 5).argmax()),
    "highest mean accuracy of 10 epochs": lambda accuracy, loss: int(_smoothed(accuracy, 10).argmax()),
    "the last epoch": lambda accuracy, loss: len(accuracy) - 1,
}
"""Each maps the accuracy and the loss of the choosing actors after each epoch to an epoch."""


def measure(logits: NDArray[np.float32], labels: NDArray[np.integer], actors: NDArray[np.integer]) -> dict[str, float]:
    """Count the clips of each actor that are classified correctly at the epoch that the other actors choose.

    Args:
        logits: (E, N, K), for each epoch and clip.
        labels: (N,).
        actors: (N,).

    Returns:
        Correct clips of all actors, by rule.
    """
    log_shares = log_softmax(logits.astype(np.float64), axis=-1)
    losses = -np.take_along_axis(log_shares, labels[None, :, None], axis=-1)[..., 0]  # (E, N)
    correct = logits.argmax(axis=-1) == labels  # (E, N)
    found = dict.fromkeys(RULES, 0.0)
    for actor in np.unique(actors):
        others = actors != actor
        accuracy, loss = correct[:, others].mean(axis=1), losses[:, others].mean(axis=1)
        for name, rule in RULES.items():
            found[name] += float(correct[rule(accuracy, loss), ~others].sum())
    return found


def record(run: Run, folder: Path, commit: str, fold: Fold) -> Path:
    """Train a fold's audio encoder and record its logits for the validation clips after every epoch.

    Args:
        run: of the experiment.
        folder: for the results with these settings, data and code; a fold that is already there is not trained again.
        commit: the commit that is checked out.
        fold: one of the run's folds.

    Returns:
        An npz file with `logits` (E, N, K), `labels` and `actors` (N,), and `commit`.
    """
    import lightning
    import torch
    from lightning.pytorch.loggers.logger import DummyLogger

    from cfnsr.model.network import CFNSR
    from cfnsr.training.fold import normalization_of
    from cfnsr.training.loaders import FoldData
    from cfnsr.training.phase import fit

    path = folder / f"fold-{fold.index}.npz"
    if path.exists():
        return path
    torch.set_num_threads(1)  # one core per fold
    params, seed = run.settings.params, fold.seed(run.settings.params.train.seed)
    phase = params.train.pretrain.audio
    logits: list[list[NDArray[np.float32]]] = []

    class LogitRecorder(lightning.Callback):
        def on_validation_epoch_start(self, *_: Any) -> None:
            logits.append([])

        def on_validation_batch_end(
            self,
            trainer: lightning.Trainer,
            pl_module: lightning.LightningModule,
            outputs: Any,
            batch: Any,
            batch_idx: int,
            dataloader_idx: int = 0,
        ) -> None:
            with torch.no_grad():
                logits[-1].append(network(None, batch["mfcc"]).float().cpu().numpy())

    torch.manual_seed(seed)
    network = CFNSR.from_settings(params.model, params.mfcc, "audio")
    normalization = normalization_of(run.features, fold, run.settings)
    data = FoldData(run.features, fold, run.settings, "audio", phase, normalization)
    training = folder / f"fold-{fold.index}"
    for old in training.glob("*"):  # a killed training has lost its logits, so the fold starts again
        old.unlink()
    fit(network, data, training, params.train, DummyLogger(), [LogitRecorder()])
    clips = data.selection.clips
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            logits=np.stack([np.concatenate(epoch) for epoch in logits]),
            labels=clips["label"].to_numpy(),
            actors=clips["actor"].to_numpy(),
            commit=commit,
        )
    return path


def study(root: Path, clips: Path) -> dict[str, Any]:
    """Run the missing parts of the study.

    Args:
        root: the project's root.
        clips: folder of RAVDESS files.

    Returns:
        The content of docs/epoch-choice.json.
    """
    commit, commits, known = commit_of(root), set(), experiments(root)
    source = {"dataset.source": "local", "dataset.path": str(clips.resolve()), "train.watch_test": False}
    shares: dict[str, dict[str, float]] = {}
    amounts: dict[str, int] = {}
    with ProcessPoolExecutor(default_workers(), get_context("spawn"), initializer=end_with_parent) as pool:
        for name in NAMES:
            totals, amount = dict.fromkeys(RULES, 0.0), 0
            for seed in SEEDS:
                settings = settings_of(root, name, {**known[name]["overrides"], **source}, seed)
                for step in (download.download, manifest.manifest, faces.faces, mfcc.mfcc):
                    step(settings)
                run = Run.open(settings)
                folder = root / "runs" / "epoch-choice" / f"{name}-{seed}-{run.key[:8]}"
                folder.mkdir(parents=True, exist_ok=True)
                for path in pool.map(partial(record, run, folder, commit), run.folds):
                    with np.load(path) as content:
                        found = measure(content["logits"], content["labels"], content["actors"])
                        amount += len(content["labels"])
                        commits.add(content["commit"].item())
                    totals = {rule: totals[rule] + found[rule] for rule in RULES}
            shares[name] = {rule: total / amount for rule, total in totals.items()}
            amounts[name] = amount
    about = {name: known[name]["about"] for name in NAMES}
    return {"seeds": SEEDS, "commit": ", ".join(sorted(commits)), "about": about, "clips": amounts, "accuracy": shares}


def page(content: Mapping[str, Any]) -> str:
    """Return the text of docs/epoch-choice.md."""
    names: Sequence[str] = list(content["accuracy"])
    lines = [
        "# Which rule picks the better epoch",
        *paragraph(
            "Made by `python -m pipelines.studies.epoch_choice FOLDER`; epoch-choice.json has the same figures. Three",
            "of a fold's four validation actors choose the epoch, and the fourth measures the choice, each in turn; no",
            "clip of a fold's test actors is loaded. All folds of the honest protocol, seeds",
            f"{', '.join(map(str, content['seeds']))}, with the recipes of commit {content['commit']}.",
        ),
        "",
        *(f"- {name}: {content['about'][name]}; {content['clips'][name]} predictions" for name in names),
        "",
        f"| the epoch with the | {' | '.join(names)} |",
        "| --- " * (len(names) + 1) + "|",
    ]
    for rule in content["accuracy"][names[0]]:
        shown = [f"{content['accuracy'][name][rule]:.1%}" for name in names]
        lines.append(f"| {rule} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="RAVDESS files, searched with subfolders")
    arguments = parser.parse_args()
    root = Path.cwd()
    with exit_with_message():
        content = study(root, arguments.folder)
        write_text(root / "docs" / "epoch-choice.json", json.dumps(content, indent=2) + "\n")
        text = page(json.loads(json.dumps(content)))
        write_text(root / "docs" / "epoch-choice.md", text)
        print(text)


if __name__ == "__main__":
    main()
