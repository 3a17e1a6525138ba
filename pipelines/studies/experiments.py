"""Train and evaluate the experiments of experiments.yaml on a folder of RAVDESS files and write docs/results.*.

    python -m pipelines.studies.experiments FOLDER [--only NAME …]

Goes on where an interrupted run stopped; experiments that are finished are only reported again. Each is written down as
soon as it is finished; those that were not run keep their rows, with the commit that they were measured at.
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
from cfnsr.errors import InputError, exit_with_sentence
from cfnsr.evaluation.metrics import interval_in_words
from cfnsr.files import write_text
from cfnsr.parallel import default_workers
from components import download, evaluate, faces, manifest, mfcc, train
from components.tracking.runs import git

PROFILE = "ravdess"
DATA = "experiments"
"""Folder below `data`."""
COMMIT = "commit.txt"
"""In a run's folder: what it was trained from."""
UNSEEN = (0, 2, 4)
"""Folds whose test actors were scored in no comparison of recipes and features; these folds' validation actors were."""
CHOSEN_WITH = {"folds": 6, "train": 16, "validation": 4, "test": 4}
"""Folds and their actors in those comparisons; of other folds nobody is known to be unseen."""


def run_experiments(root: Path, clips: Path, names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Run the data stages, then train and evaluate experiments, as many folds at a time as there are cores.

    Args:
        root: the project's root.
        clips: folder of RAVDESS files.
        names: of experiments; all if empty.

    Yields:
        A row an experiment as it is finished, for docs/results.json.

    Raises:
        InputError: an unknown experiment, a wrong setting, or a stage that can't run.
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
        for settings in seeds:
            train.train(Run.open(settings))
            if not (settings.layout.run / COMMIT).exists():  # else it was trained before and is only reported again
                write_text(settings.layout.run / COMMIT, commit + "\n")
        contents = [evaluate.evaluate(Run.open(settings)) for settings in seeds]
        commits = sorted({(settings.layout.run / COMMIT).read_text().strip() for settings in seeds})
        yield {"name": name, "about": known[name]["about"], "commit": ", ".join(commits), **_row(seeds, contents)}


def experiments(root: Path) -> dict[str, dict[str, Any]]:
    """The content of experiments.yaml."""
    content: dict[str, dict[str, Any]] = yaml.safe_load((root / "experiments.yaml").read_text(encoding="utf-8"))
    return content


def commit_of(root: Path) -> str:
    """The commit that is checked out, twelve digits of it, and whether files differ from it; empty outside git."""
    commit = (git(root, "rev-parse", "HEAD") or "")[:12]
    # The pages that the figures go to change while they are measured.
    changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
    return f"{commit} and changes" if changed else commit


def write_down(root: Path, row: Mapping[str, Any]) -> str:
    """Put a row into docs/results.json in place of what the experiment had there, and write docs/results.md anew.

    Returns:
        The page.
    """
    path = root / "docs" / "results.json"
    known = {each["name"]: each for each in json.loads(path.read_text())} if path.exists() else {}
    known[row["name"]] = row
    rows = [known[name] for name in experiments(root) if name in known]
    text = page(rows)
    write_text(path, json.dumps(rows, indent=2) + "\n")
    write_text(path.with_suffix(".md"), text)
    return text


def settings_of(root: Path, name: str, overrides: Mapping[str, Any], seed: int) -> Settings:
    """The settings of one experiment with one seed."""
    workers = {"train.seed": seed, "train.fold_workers": default_workers(), "train.loader_workers": 0}
    settings = load_settings(root / "params.yaml", PROFILE, {**overrides, **workers}, f"{name}-{seed}")
    # Experiments with the same feature share its file.
    layout = replace(settings.layout, mfcc_name=f"mfcc-{settings.params.mfcc.kind}.parquet")
    return _with_own_data(replace(settings, layout=layout))


def _with_own_data(settings: Settings) -> Settings:
    """The stages remove what is not of the folder that they are given: the profile's own data must not be there."""
    return replace(settings, layout=replace(settings.layout, data_name=DATA))


def _row(seeds: Sequence[Settings], contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of one experiment that belong into a table: means over its seeds."""
    folds, first = seeds[0].params.train.folds, contents[0]
    figures = {
        "protocol": first["protocol"],
        "folds": folds,
        "seeds": [settings.params.train.seed for settings in seeds],
        "clips": first["clips"],
        "parameters": first["parameters"],
        "actors": actors_of_fold(seeds[0]),
        "seconds": _mean(content["seconds"] for content in contents),
        "best_test_epoch": None,
        "last_epochs": None,
    }
    watched = [content["best_test_epoch"] for content in contents if content["best_test_epoch"] is not None]
    if watched:  # else `train.watch_test` is off
        figures["best_test_epoch"] = _mean(each["best"] for each in watched)
        figures["last_epochs"] = _mean(each["last"] for each in watched)
    if first["protocol"] == "published":
        return figures | {"by_seed": [each["best"] for each in watched]}
    return figures | {
        "accuracy": _mean([content["pooled"]["accuracy"] for content in contents]),
        "uar": _mean([content["pooled"]["uar"] for content in contents]),
        "accuracy_std": _mean([content["folds"]["std"]["accuracy"] for content in contents]) if folds > 1 else None,
        "by_seed": [content["pooled"]["accuracy"] for content in contents],
        "ece": _mean([content["pooled"]["ece"] for content in contents]),
        "ece_calibrated": _mean([content["ece_calibrated"] for content in contents]),
        "unseen": _unseen(figures, contents),
        "validation_accuracy": _mean([_validation_accuracy(settings) for settings in seeds]),
        **_over_seeds(seeds),
    }


def _over_seeds(seeds: Sequence[Settings]) -> dict[str, Any]:
    """The interval of the mean over seeds, and the figures of all seeds' networks voting together."""
    from cfnsr.evaluation.metrics import bootstrap_intervals, scores
    from cfnsr.evaluation.report import final_network, probabilities, read_predictions

    folds = range(seeds[0].params.train.folds)
    tables = [
        final_network(read_predictions([fold_folder(settings, fold) for fold in folds])).sort_values("clip_id")
        for settings in seeds
    ]
    every, one = pd.concat(tables), tables[0]
    label, actor = every["label"].to_numpy(), every["actor"].to_numpy()
    figures: dict[str, Any] = {"interval": bootstrap_intervals(probabilities(every), label, actor).get("accuracy")}
    if len(seeds) > 1:
        voted = np.mean([probabilities(table) for table in tables], axis=0)
        label, actor = one["label"].to_numpy(), one["actor"].to_numpy()
        figures["ensemble"] = scores(voted, label).accuracy
        figures["ensemble_interval"] = bootstrap_intervals(voted, label, actor).get("accuracy")
    return figures


def actors_of_fold(settings: Settings) -> dict[str, int]:
    """How many train, choose the epoch and are tested."""
    fold = evaluate.finished_folds(settings)[0]
    return {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test)}


def _unseen(figures: Mapping[str, Any], contents: Sequence[Mapping[str, Any]]) -> float | None:
    if {"folds": figures["folds"], **figures["actors"]} != CHOSEN_WITH:
        return None
    return _mean([_accuracy_of_folds(content, UNSEEN) for content in contents])


def _accuracy_of_folds(content: Mapping[str, Any], folds: Sequence[int]) -> float:
    each = [fold for fold in content["folds"]["each"] if fold["fold"] in folds]
    return sum(fold["accuracy"] * fold["clips"] for fold in each) / sum(fold["clips"] for fold in each)


def _validation_accuracy(settings: Settings) -> float:
    """Mean over folds, of the epochs that the validation actors chose: by so much they are too good."""
    return _mean([result.selection_accuracy for result in evaluate.finished_folds(settings)])


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    """docs/results.md."""
    honest, published = ([row for row in rows if row["protocol"] == name] for name in ("honest", "published"))
    lines = [
        "# Results on real RAVDESS files",
        *_paragraph(
            "Made by `make results RAVDESS=FOLDER` from experiments.yaml; docs/results.json has the same figures.",
            f"They are of audio encoders alone, on {_amounts(rows)} speech soundtracks; nothing here needs video.",
        ),
        *_paragraph(
            "Folds are of consecutive actors, and who is tested is never trained on. Figures are means over the",
            "seeds. Seconds are of the training of one seed, added up over its folds, which train side by side.",
        ),
        "",
        "## Honest protocol",
        *_paragraph(
            f"In each fold {_sizes(honest, 'train')} actors train, {_sizes(honest, 'validation')} others choose",
            f"the epoch and fit the temperature, and the {_sizes(honest, 'test')} test actors are used once.",
            "Intervals are 95 % and resample actors. Beside it, *not* honest: the best test epoch of the very",
            "same training, and the mean of its last ten epochs. The ensemble is the mean of the seeds'",
            "probabilities.",
        ),
        "",
        "| experiment | accuracy | 95 % | by seed | unseen | UAR | ensemble | ECE, scaled | (best test epoch) "
        "| (last ten) | parameters | seconds | commit |",
        "| --- " * 13 + "|",
        *map(_honest, honest),
        *_paragraph(
            "How choices were made: about seventy recipes, features and encoders were compared by accuracy and",
            "loss at the last epoch on the *validation* actors of folds 0, 2 and 4, in loops that never loaded a",
            "fold's test actors. Those validation actors are the test actors of folds 1, 3 and 5, so the choice",
            "can have adapted a little to them, though to no test result. The test actors of folds 0, 2 and 4",
            "were scored in none of these comparisons, though each trained in two of the three folds: *unseen* is",
            "the accuracy on them alone. Earlier results on test actors were known when the search went on; that",
            "it did is all that they had to do with it.",
        ),
        *_paragraph(
            "Which epoch a fold keeps (`train.smooth_epochs`: the mean validation accuracy of five epochs is",
            "compared) was decided earlier, with the recipes of that time, on the validation actors of all folds,",
            "who are everybody, those of *unseen* too. Test figures had a part in it: that the single best",
            "validation epoch was worse than the last ten epochs had shown in earlier results of the same folds,",
            "and was the reason to look for a better rule. [epoch-choice.md](epoch-choice.md) compares the rules",
            "again with newer recipes: the last epoch does as well there; the rule also serves a training that",
            "gets worse towards its end.",
        ),
        "",
        "## Published protocol",
        *_paragraph(
            f"There is no validation set; {_sizes(published, 'train')} actors train. The published figure is the",
            "mean over folds of each fold's *best test epoch*, which is optimistic; beside it the mean of the",
            "last ten epochs of the same training. A plain loop, written down independently, goes through the",
            "same accuracies epoch by epoch: [benchmarks.md](benchmarks.md).",
        ),
        "",
        "| experiment | best test epoch | by seed | last ten epochs | parameters | seconds | commit |",
        "| --- " * 7 + "|",
        *map(_published, published),
    ]
    return "\n".join(lines) + "\n"


def _paragraph(*parts: str) -> list[str]:
    return ["", *textwrap.wrap(" ".join(parts), 112, break_long_words=False, break_on_hyphens=False)]


def _amounts(rows: Sequence[Mapping[str, Any]]) -> str:
    return " or ".join(map(str, sorted({row["clips"] for row in rows})))


def _sizes(rows: Sequence[Mapping[str, Any]], group: str) -> str:
    """How many actors of a fold are in a group; "some" where nothing was measured yet."""
    return " or ".join(map(str, sorted({row["actors"][group] for row in rows}))) or "some"


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
    with exit_with_sentence():
        for row in run_experiments(root, arguments.folder, arguments.only):
            print(write_down(root, row))


if __name__ == "__main__":
    main()
