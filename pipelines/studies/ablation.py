"""Ablation: what each part of the network contributes, with the same data, folds and seeds.

    python -m pipelines.studies.ablation [--profile NAME] [--seeds 0 1 2]

Trains the network with every `fusion`, all of a seed from the same pretrained encoders, and writes
docs/ablation-<profile>.md and .json, which also report both encoders alone. Started again after an interruption, it
trains only what is missing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from cfnsr.config.corpus import RAVDESS
from cfnsr.config.load import Settings
from cfnsr.config.sections import Fusion
from cfnsr.errors import InputError, exit_with_message
from cfnsr.evaluation.metrics import interval_in_words
from cfnsr.files import write_text
from cfnsr.training.result import ENCODERS, HISTORY
from components import evaluate, train
from components.request import requested_settings
from components.run import Run, read_figures
from pipelines.studies.experiments import paragraph

REFERENCE = "cfn_sr"
"""The paper's fusion, with which the others are compared."""
SEEDS = (0, 1, 2)
"""More than one, because networks that differ only in their seed differ too."""


def ablate(params_file: Path, profile: str | None = None, seeds: Sequence[int] = SEEDS) -> list[dict[str, Any]]:
    """Train all variants of a profile's network and compare them.

    Args:
        params_file: the settings; its folder is the project's root.
        profile: None for the one that params.yaml names.
        seeds: every variant is trained once with each.

    Returns:
        One row per encoder and per fusion, for docs/ablation-<profile>.json.

    Raises:
        InputError: the profile's network lacks a modality or a pretrained encoder, or a training fails.
    """
    params = requested_settings(params_file, profile).params
    if params.model.modality != "both":
        raise InputError("an ablation needs both modalities; set model.modality to both in params.yaml.")
    for name, phase in (("audio", params.train.pretrain.audio), ("video", params.train.pretrain.video)):
        if not phase.epochs:
            raise InputError(
                f"an ablation also reports the encoders alone, and train.pretrain.{name}.epochs is 0; set it to at "
                "least 1."
            )
    variants: dict[str, list[Settings]] = {}
    for seed in seeds:
        reference = {"model.fusion": REFERENCE, "train.seed": seed}
        variants.setdefault(REFERENCE, []).append(requested_settings(params_file, profile, reference))
        encoders = _encoders_of(variants[REFERENCE][-1])
        for fusion in (name for name in get_args(Fusion) if name != REFERENCE):
            overrides = {**reference, **encoders, "model.fusion": fusion}
            variants.setdefault(fusion, []).append(requested_settings(params_file, profile, overrides))
    # The reference comes first, because the others start from its encoders.
    runs = {fusion: [_trained(settings) for settings in each] for fusion, each in variants.items()}
    references = runs[REFERENCE]
    return [
        *(_row(f"{name} encoder alone", name, references, references) for name in ("audio", "video")),
        *(_row(fusion, "fusion", each, references) for fusion, each in runs.items()),
    ]


def _encoders_of(reference: Settings) -> dict[str, Any]:
    """Overrides that load the encoders of another run instead of training the same ones again."""
    overrides: dict[str, Any] = {}
    for name in ENCODERS:
        phase = f"train.pretrain.{Path(name).stem}"
        overrides |= {f"{phase}.epochs": 0, f"{phase}.checkpoint": str(reference.layout.run / "fold-{fold}" / name)}
    return overrides


def _trained(settings: Settings) -> Run:
    run = Run.open(settings)
    train.train(run)
    evaluate.evaluate(run)
    return run


def _row(name: str, network: str, runs: Sequence[Run], references: Sequence[Run]) -> dict[str, Any]:
    """The figures of one network over its seeds, and its difference from the reference on the same clips."""
    from cfnsr.evaluation.metrics import bootstrap_intervals
    from cfnsr.evaluation.report import compare_runs, probabilities, targets
    from cfnsr.model.checkpoint import load_model

    figures = [read_figures(run.settings) for run in runs]
    predictions = _predictions(runs, network)
    correct = predictions["actual"] == predictions["predicted"]
    by_fold = correct.groupby([predictions["seed"], predictions["fold"]]).mean()
    difference = compare_runs(predictions, _predictions(references, "fusion"))
    label, speaker = targets(predictions), predictions["speaker"].to_numpy()
    return {
        "name": name,
        "corpus": figures[0]["corpus"],
        "protocol": figures[0]["protocol"],
        "claim": "; or ".join(sorted({each["claim"] for each in figures})),
        "folds": len(runs[0].folds),
        "seeds": [run.settings.params.train.seed for run in runs],
        "clips": figures[0]["clips"],
        "accuracy": float(correct.mean()),
        "interval": bootstrap_intervals(probabilities(predictions), label, speaker).get("accuracy"),
        "accuracy_std": float(by_fold.std(ddof=1)) if len(by_fold) > 1 else None,
        "by_seed": correct.groupby(predictions["seed"]).mean().tolist(),
        "difference": difference.difference,
        "difference_interval": difference.interval,
        "seconds": sum(_seconds(run, network) for run in runs) / len(runs),
        "parameters": figures[0]["parameters"]
        if network == "fusion"
        else load_model(runs[0].fold_folder(0) / f"{network}.safetensors")[0].parameter_count,
    }


def _predictions(runs: Sequence[Run], network: str) -> pd.DataFrame:
    """A network's test predictions with each seed, which becomes part of the clip ids."""
    from cfnsr.evaluation.report import of_network, read_predictions

    tables = []
    for run in runs:
        seed = run.settings.params.train.seed
        table = read_predictions([run.fold_folder(fold.index) for fold in run.folds])
        table = of_network(table, network, "both" if network == "fusion" else network)
        tables.append(table.assign(seed=seed, clip_id=[f"{seed}/{clip}" for clip in table["clip_id"]]))
    return pd.concat(tables, ignore_index=True)


def _seconds(run: Run, phase: str) -> float:
    histories = [pd.read_csv(run.fold_folder(fold.index) / HISTORY) for fold in run.folds]
    return float(sum(history[history["phase"] == phase]["seconds"].sum() for history in histories))


def page(rows: Sequence[Mapping[str, Any]], profile: str) -> str:
    """Return the text of docs/ablation-<profile>.md."""
    first, claims = rows[0], "; or ".join(dict.fromkeys(row["claim"] for row in rows))
    lines = [
        f"# What each part of the network contributes: {first['corpus']}",
        "",
        f"Made by `python -m pipelines.studies.ablation`; ablation-{profile}.json has the same figures.",
        "",
        f"Figures: {claims}.",
        *paragraph(
            f"{first['protocol'].capitalize()} protocol, {first['folds']} folds by speaker,",
            f"{first['clips']} test clips,",
            f"seeds {', '.join(map(str, first['seeds']))}. All fused networks of a seed start from the same",
            "pretrained encoders. Accuracy is the mean over seeds, with the standard deviation over folds and seeds.",
            "Intervals are 95 % and resample speakers; they do not cover the variation between seeds, which the column",
            f"*by seed* shows. The difference is from the paper's fusion, `{REFERENCE}`, with the same seeds on the",
            "same speakers. Seconds are the training time of a network's own phase, summed over the folds of one seed;",
            "they depend on the load of the machine.",
        ),
        "",
        "| network | accuracy | 95 % | by seed | difference | parameters | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in rows:
        difference = f"{each['difference']:+.1%} ({interval_in_words(each['difference_interval'], '+.1%')})"
        spread = "" if each["accuracy_std"] is None else f" ± {each['accuracy_std']:.1%}"
        cells = [
            each["name"],
            f"{each['accuracy']:.1%}{spread}",
            interval_in_words(each["interval"]),
            ", ".join(f"{share:.1%}" for share in each["by_seed"]),
            "-" if each["name"] == REFERENCE else difference,
            f"{each['parameters']:,}",
            f"{each['seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if first["corpus"] != RAVDESS:
        lines += ["", "The corpus is synthetic: the table shows that the parts work, not how well they do on people."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="profile in params.yaml (default: the one it names)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds to train every variant with")
    arguments = parser.parse_args()
    with exit_with_message():
        profile = requested_settings(Path("params.yaml"), arguments.profile).profile
        rows = ablate(Path("params.yaml"), profile, arguments.seeds)
        text = page(rows, profile)
        print(text)
        write_text(Path("docs") / f"ablation-{profile}.json", json.dumps(rows, indent=2) + "\n")
        write_text(Path("docs") / f"ablation-{profile}.md", text)


if __name__ == "__main__":
    main()
