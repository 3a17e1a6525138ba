"""Train and evaluate the experiments of experiments.yaml on a folder of RAVDESS files and write docs/results.*.

    python -m pipelines.experiments FOLDER [--only NAME …]

Goes on where an interrupted run stopped; experiments that are finished are only reported again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cfnsr.config import Settings, load_settings
from cfnsr.errors import InputError, exit_with_sentence
from cfnsr.files import write_text
from cfnsr.outcome import HISTORY
from components import download, evaluate, faces, manifest, mfcc, train

PROFILE = "ravdess"
LAST_EPOCHS = 10
SCORE = "validation/accuracy"  # of the actors that choose the epoch: under the published protocol, the test actors


def run_experiments(root: Path, clips: Path, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Run the data stages, then train and evaluate experiments.

    Args:
        root: the project's root.
        clips: folder of RAVDESS files.
        names: of experiments; all if empty.

    Returns:
        A row an experiment, the content of docs/results.json.

    Raises:
        InputError: an unknown experiment, a wrong setting, or a stage that can't run.
    """
    experiments: dict[str, dict[str, Any]] = yaml.safe_load((root / "experiments.yaml").read_text(encoding="utf-8"))
    unknown = sorted(set(names) - set(experiments))
    if unknown:
        raise InputError(f"there is no experiment {unknown[0]!r}; experiments.yaml has {', '.join(experiments)}.")
    source = {"dataset.source": "local", "dataset.path": str(clips.resolve())}
    variants = {
        name: _settings(root, {**source, **experiment["overrides"]}, name)
        for name, experiment in experiments.items()
        if not names or name in names
    }
    data = _settings(root, source, "")
    for step in (download.download, manifest.manifest, faces.faces, mfcc.mfcc):
        step(data)
    rows = []
    for name, settings in variants.items():
        train.train(settings)
        rows.append({"name": name, "about": experiments[name]["about"], **_row(settings, evaluate.evaluate(settings))})
    return rows


def _settings(root: Path, overrides: Mapping[str, Any], variant: str) -> Settings:
    return load_settings(root / "params.yaml", PROFILE, overrides, variant)


def _row(settings: Settings, content: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one experiment that belong into a table."""
    options = settings.params.train
    curves = [pd.read_csv(train.fold_folder(settings, fold) / HISTORY)[SCORE] for fold in range(options.folds)]
    figures = {
        "protocol": content["protocol"],
        "folds": options.folds,
        "seed": options.seed,
        "clips": content["clips"],
        "parameters": content["parameters"],
        "seconds": content["seconds"],
    }
    if content["protocol"] == "published":
        return figures | {
            "best_test_epoch": _mean([float(curve.max()) for curve in curves]),
            "last_epochs": _mean([float(curve.tail(LAST_EPOCHS).mean()) for curve in curves]),
        }
    return figures | {
        "accuracy": content["pooled"]["accuracy"],
        "interval": content["interval"]["accuracy"],
        "accuracy_std": content["folds"]["std"]["accuracy"],
        "uar": content["pooled"]["uar"],
        "validation_accuracy": _mean([float(curve.max()) for curve in curves]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """docs/results.md."""
    lines = [
        "# Results on real RAVDESS files",
        "",
        "Made by `make results RAVDESS=FOLDER` from experiments.yaml; docs/results.json has the same figures. No video",
        "of more than one actor was at hand, so these are of the audio encoder alone, on the speech soundtracks.",
        "",
        "Folds are of 4 consecutive actors; who is tested is never trained on.",
        "",
        "## Honest protocol",
        "",
        "In each fold 4 further actors choose the epoch; the test actors are used once. The interval resamples actors.",
        "",
        "| experiment | accuracy | 95 % interval | UAR | std over folds | parameters | folds, seed | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row["protocol"] == "honest":
            low, high = row["interval"]
            lines.append(
                f"| {row['about']} | {row['accuracy']:.1%} | {low:.1%} to {high:.1%} | {row['uar']:.1%} "
                f"| {row['accuracy_std']:.1%} | {_made(row)} |"
            )
    lines += [
        "",
        "## Published protocol",
        "",
        "There is no validation set. The published figure is the mean over folds of each fold's *best test epoch*,",
        f"which is optimistic; beside it the mean of the last {LAST_EPOCHS} epochs of the same training.",
        "",
        f"| experiment | best test epoch | last {LAST_EPOCHS} epochs | parameters | folds, seed | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if row["protocol"] == "published":
            lines.append(f"| {row['about']} | {row['best_test_epoch']:.1%} | {row['last_epochs']:.1%} | {_made(row)} |")
    return "\n".join(lines) + "\n"


def _made(row: Mapping[str, Any]) -> str:
    return f"{row['parameters']:,} | {row['folds']}, {row['seed']} | {row['seconds']:.0f}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="RAVDESS files, searched with subfolders")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="experiments to run (default: all)")
    arguments = parser.parse_args()
    root = Path.cwd()
    with exit_with_sentence():
        rows = run_experiments(root, arguments.folder, arguments.only)
        text = page(rows)
        print(text)
        if not arguments.only:
            write_text(root / "docs" / "results.json", json.dumps(rows, indent=2) + "\n")
            write_text(root / "docs" / "results.md", text)


if __name__ == "__main__":
    main()
