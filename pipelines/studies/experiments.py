"""Train and evaluate the experiments of experiments.yaml on a folder of RAVDESS files and write docs/results.*.

    python -m pipelines.studies.experiments FOLDER [--only NAME …]

Started again after an interruption, it trains only what is missing. Each experiment is reported as soon as it is
finished; experiments that are not run keep their rows, with the commit at which they were measured.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import InputError, exit_with_message
from cfnsr.evaluation.metrics import interval_in_words
from cfnsr.files import write_text
from cfnsr.parallel import default_workers
from components import download, evaluate, faces, manifest, mfcc, train
from components.run import Run
from components.tracking.runs import git

PROFILE = "ravdess"
DATA = "experiments"
"""Folder below `data`."""
COMMIT = "commit.txt"
"""File in a run's folder with the commit that it was trained from."""
UNSEEN = (0, 2, 4)
"""Folds whose validation speakers, but not test speakers, were scored when recipes and features were compared."""
COMPARED_WITH = {"folds": 6, "train": 16, "validation": 4, "test": 4}
"""Folds and their speakers in those comparisons; with other folds, no speaker is known to be unseen."""


def run_experiments(root: Path, clips: Path, names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Run the data stages, then train and evaluate experiments, with as many folds at a time as there are cores.

    Args:
        root: the project's root.
        clips: folder of RAVDESS files.
        names: experiments to run; all if empty.

    Yields:
        The row of each finished experiment, for docs/results.json.

    Raises:
        InputError: an experiment is unknown, a setting is wrong, or a stage fails.
    """
    known = experiments(root)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise InputError(f"there is no experiment {unknown[0]!r}; experiments.yaml has {', '.join(known)}.")
    source = {"dataset.source": "local", "dataset.path": str(clips.resolve())}
    variants = {
        name: [settings_of(root, name, {**source, **experiment["overrides"]}, seed) for seed in experiment["seeds"]]
        for name, experiment in known.items()
        if not names or name in names
    }
    data = _with_own_data(load_settings(root / "params.yaml", PROFILE, source))
    for step in (download.download, manifest.manifest, faces.faces):
        step(data)
    commit = commit_of(root)
    for name, seeds in variants.items():
        mfcc.mfcc(seeds[0])
        runs = [Run.open(settings) for settings in seeds]
        for run in runs:
            train.train(run)
            if not (run.folder / COMMIT).exists():  # otherwise it was trained earlier
                write_text(run.folder / COMMIT, commit + "\n")
        figures = [evaluate.evaluate(run) for run in runs]
        commits = sorted({(run.folder / COMMIT).read_text().strip() for run in runs})
        yield {"name": name, "about": known[name]["about"], "commit": ", ".join(commits), **_row(runs, figures)}


def experiments(root: Path) -> dict[str, dict[str, Any]]:
    """Return the content of experiments.yaml."""
    content: dict[str, dict[str, Any]] = yaml.safe_load((root / "experiments.yaml").read_text(encoding="utf-8"))
    return content


def commit_of(root: Path) -> str:
    """Return the commit that is checked out, and whether tracked files differ from it; empty outside git."""
    commit = (git(root, "rev-parse", "HEAD") or "")[:12]
    # Except for docs/, which this program writes.
    changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{commit} and changes" if changed else commit


def save_row(root: Path, row: Mapping[str, Any]) -> str:
    """Insert or replace a row of docs/results.json and write docs/results.md, whose text is returned."""
    path = root / "docs" / "results.json"
    known = {each["name"]: each for each in json.loads(path.read_text())} if path.exists() else {}
    known[row["name"]] = row
    rows = [known[name] for name in experiments(root) if name in known]
    text = page(rows)
    write_text(path, json.dumps(rows, indent=2) + "\n")
    write_text(path.with_suffix(".md"), text)
    return text


def settings_of(root: Path, name: str, overrides: Mapping[str, Any], seed: int) -> Settings:
    """Return the settings of one experiment with one seed."""
    workers = {"train.seed": seed, "train.fold_workers": default_workers(), "train.loader_workers": 0}
    settings = load_settings(root / "params.yaml", PROFILE, {**overrides, **workers}, f"{name}-{seed}")
    # Experiments with the same features share a file.
    layout = replace(settings.layout, mfcc_name=f"mfcc-{settings.params.mfcc.kind}.parquet")
    return _with_own_data(replace(settings, layout=layout))


def _with_own_data(settings: Settings) -> Settings:
    """The stages remove clips that are not in the given folder, so the profile's own data is kept elsewhere."""
    return replace(settings, layout=replace(settings.layout, data_name=DATA))


def _row(runs: Sequence[Run], contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of one experiment for the table: means over its seeds."""
    first, fold = contents[0], runs[0].folds[0]
    figures = {
        "protocol": first["protocol"],
        "folds": len(runs[0].folds),
        "seeds": [run.settings.params.train.seed for run in runs],
        "clips": first["clips"],
        "parameters": first["parameters"],
        "speakers": {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)},
        "seconds": _mean(content["seconds"] for content in contents),
        "best_test_epoch": None,
        "last_epochs": None,
    }
    watched = [content["best_test_epoch"] for content in contents if content["best_test_epoch"] is not None]
    if watched:  # otherwise `train.watch_test` is off
        figures["best_test_epoch"] = _mean(each["best"] for each in watched)
        figures["last_epochs"] = _mean(each["last"] for each in watched)
    if first["protocol"] == "published":
        return figures | {"by_seed": [each["best"] for each in watched]}
    return figures | {
        "accuracy": _mean(content["pooled"]["accuracy"] for content in contents),
        "uar": _mean(content["pooled"]["uar"] for content in contents),
        "accuracy_std": _mean(content["folds"]["std"]["accuracy"] for content in contents)
        if figures["folds"] > 1
        else None,
        "by_seed": [content["pooled"]["accuracy"] for content in contents],
        "ece": _mean(content["pooled"]["ece"] for content in contents),
        "ece_calibrated": _mean(content["ece_calibrated"] for content in contents),
        "unseen": _unseen(figures, contents),
        # Optimistic, because these speakers chose the epochs.
        "validation_accuracy": _mean(result.selection_score for run in runs for result in run.results()),
        **_over_seeds(runs),
    }


def _over_seeds(runs: Sequence[Run]) -> dict[str, Any]:
    """The interval of the mean over seeds, and the figures of the ensemble of all seeds' networks."""
    from cfnsr.evaluation.metrics import bootstrap_intervals, scores
    from cfnsr.evaluation.report import final_network, probabilities, read_predictions, targets

    folders = [[run.fold_folder(fold.index) for fold in run.folds] for run in runs]
    tables = [final_network(read_predictions(each)).sort_values("clip_id") for each in folders]
    every, one = pd.concat(tables), tables[0]
    label, speaker = targets(every), every["speaker"].to_numpy()
    figures: dict[str, Any] = {"interval": bootstrap_intervals(probabilities(every), label, speaker).get("accuracy")}
    if len(runs) > 1:
        voted = np.mean([probabilities(table) for table in tables], axis=0)
        label, speaker = targets(one), one["speaker"].to_numpy()
        figures["ensemble"] = scores(voted, label).accuracy
        figures["ensemble_interval"] = bootstrap_intervals(voted, label, speaker).get("accuracy")
    return figures


def _unseen(figures: Mapping[str, Any], contents: Sequence[Mapping[str, Any]]) -> float | None:
    if {"folds": figures["folds"], **figures["speakers"]} != COMPARED_WITH:
        return None
    return _mean(_accuracy_of_folds(content, UNSEEN) for content in contents)


def _accuracy_of_folds(content: Mapping[str, Any], folds: Sequence[int]) -> float:
    each = [fold for fold in content["folds"]["each"] if fold["fold"] in folds]
    return sum(fold["accuracy"] * fold["clips"] for fold in each) / sum(fold["clips"] for fold in each)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of docs/results.md."""
    honest, published = ([row for row in rows if row["protocol"] == name] for name in ("honest", "published"))
    lines = [
        "# Results on real RAVDESS files",
        *paragraph(
            "Made by `make results RAVDESS=FOLDER` from experiments.yaml; docs/results.json has the same figures.",
            f"They are for audio encoders alone, on {_amounts(rows)} speech soundtracks; no video is needed.",
        ),
        *paragraph(
            "Folds consist of consecutive speakers, and test speakers are never trained on. Figures are means over the",
            "seeds. Seconds are the training time of one seed, summed over its folds, which train side by side.",
        ),
        "",
        "## Honest protocol",
        *paragraph(
            f"In each fold {_sizes(honest, 'train')} speakers are for training, {_sizes(honest, 'validation')} others",
            f"choose the epoch and fit the temperature, and the {_sizes(honest, 'test')} test speakers are used once.",
            "Intervals are 95 % and resample speakers. The columns in parentheses are *not* honest: the best test",
            "epoch of the same training, and the mean of its last ten epochs. The ensemble averages the probabilities",
            "of the seeds' networks.",
        ),
        "",
        "| experiment | accuracy | 95 % | by seed | unseen | UAR | ensemble | ECE, scaled | (best test epoch) "
        "| (last ten) | parameters | seconds | commit |",
        "| --- " * 13 + "|",
        *map(_honest, honest),
        *paragraph(
            "How choices were made: about seventy recipes, features and encoders were compared by the accuracy and",
            "loss of the last epoch on the *validation* speakers of folds 0, 2 and 4, with code that never loaded a",
            "fold's test speakers. Those validation speakers are the test speakers of folds 1, 3 and 5, so the choice",
            "may have adapted to them slightly, though to no test result. The test speakers of folds 0, 2 and 4 were",
            "scored in none of these comparisons, though each was trained on in two of the three folds: *unseen* is",
            "the accuracy on them alone. Earlier results on test speakers were known when the search continued; they",
            "influenced only the decision to continue.",
        ),
        *paragraph(
            "The rule for the epoch that a fold keeps (`train.smooth_epochs`: the best mean validation accuracy of",
            "five epochs) was chosen earlier, with the recipes of that time, on the validation speakers of all folds,",
            "which are all speakers, including those of *unseen*. Test figures played a part: earlier results of the",
            "same folds had shown that the single best validation epoch was worse on the test speakers than the last",
            "ten epochs, which was the reason to look for a better rule. [epoch-choice.md](epoch-choice.md) compares",
            "the rules again with newer recipes: there the last epoch does as well; the rule also helps when a",
            "training deteriorates towards its end.",
        ),
        "",
        "## Published protocol",
        *paragraph(
            f"There is no validation set; {_sizes(published, 'train')} speakers are for training. The published figure",
            "is the mean over folds of each fold's *best test epoch*, which is optimistic; next to it is the mean of",
            "the last ten epochs of the same training. An independently written plain training loop reaches the same",
            "accuracy in every epoch: [benchmarks.md](benchmarks.md).",
        ),
        "",
        "| experiment | best test epoch | by seed | last ten epochs | parameters | seconds | commit |",
        "| --- " * 7 + "|",
        *map(_published, published),
    ]
    return "\n".join(lines) + "\n"


def paragraph(*parts: str) -> list[str]:
    """Return an empty line and the wrapped lines of a paragraph of Markdown."""
    return ["", *textwrap.wrap(" ".join(parts), 112, break_long_words=False, break_on_hyphens=False)]


def _amounts(rows: Sequence[Mapping[str, Any]]) -> str:
    return " or ".join(map(str, sorted({row["clips"] for row in rows})))


def _sizes(rows: Sequence[Mapping[str, Any]], group: str) -> str:
    """Number of speakers of a fold in a group; "some" if no experiment has been run."""
    return " or ".join(map(str, sorted({row["speakers"][group] for row in rows}))) or "some"


def _honest(row: Mapping[str, Any]) -> str:
    ensemble = "-"
    if "ensemble" in row:
        ensemble = f"{row['ensemble']:.1%} ({interval_in_words(row['ensemble_interval'])})"
    cells = [
        row["about"],
        f"**{row['accuracy']:.1%}**",
        interval_in_words(row["interval"]),
        _seeds(row),
        _share(row["unseen"]),
        f"{row['uar']:.1%}",
        ensemble,
        f"{row['ece']:.3f}, {row['ece_calibrated']:.3f}",
        _share(row["best_test_epoch"]),
        _share(row["last_epochs"]),
        _made(row),
    ]
    return f"| {' | '.join(cells)} |"


def _published(row: Mapping[str, Any]) -> str:
    return (
        f"| {row['about']} | {row['best_test_epoch']:.1%} | {_seeds(row)} | {row['last_epochs']:.1%} | {_made(row)} |"
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _seeds(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{seed}: {share:.1%}" for seed, share in zip(row["seeds"], row["by_seed"], strict=True))


def _made(row: Mapping[str, Any]) -> str:
    return f"{row['parameters']:,} | {row['seconds']:.0f} | {row['commit']}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="RAVDESS files, searched with subfolders")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="experiments to run (default: all)")
    arguments = parser.parse_args()
    root = Path.cwd()
    with exit_with_message():
        for row in run_experiments(root, arguments.folder, arguments.only):
            print(save_row(root, row))


if __name__ == "__main__":
    main()
