"""Flow `ablate-cfnsr`: what each part of the network is worth, with the same data, folds and seed.

    python -m pipelines.ablation [--profile NAME]

Trains the network with every `fusion`, all from the same pretrained encoders, and writes docs/ablation-<profile>.md and
.json: those networks and both encoders alone. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pipelines.prefect_setup  # isort: skip  # noqa: F401  before Prefect
import pandas as pd
from prefect import flow

from cfnsr.config import Fusion, Settings
from cfnsr.errors import InputError, exit_with_sentence
from cfnsr.files import write_text
from cfnsr.outcome import ENCODERS, HISTORY, FoldResult
from components import train
from pipelines.run_settings import requested_settings
from pipelines.train import train_cfnsr

REFERENCE = "cfn_sr"
"""What the others are compared with: the paper's fusion."""


@flow(name="ablate-cfnsr", flow_run_name="ablate")
def ablate_cfnsr(
    profile: str | None = None, update: bool = True, params_file: Path = Path("params.yaml")
) -> list[dict[str, Any]]:
    """Train all variants of a profile's network and put their figures side by side.

    Args:
        profile: None takes the one that params.yaml names.
        update: bring the data stages up to date first.
        params_file: the settings; the folder it lies in is the project's root.

    Returns:
        A row a variant, see `row`.
    """
    reference = requested_settings(params_file, profile, {"model.fusion": REFERENCE})
    if reference.params.model.modality != "both":
        raise InputError("an ablation needs both modalities; set model.modality to both in params.yaml.")
    variants = {}
    for fusion in (REFERENCE, *(name for name in get_args(Fusion) if name != REFERENCE)):
        overrides = {"model.fusion": fusion, **(_with_encoders_of(reference) if fusion != REFERENCE else {})}
        train_cfnsr(profile, overrides, register_model=False, update=update, params_file=params_file)
        update = False  # once is enough
        variants[fusion] = requested_settings(params_file, profile, overrides)
    return [*_encoder_rows(reference), *(row(fusion, each, reference) for fusion, each in variants.items())]


def _with_encoders_of(reference: Settings) -> dict[str, Any]:
    """Overrides that take the encoders of another run instead of training the very same ones again."""
    overrides: dict[str, Any] = {}
    for name in ENCODERS:
        phase = f"train.pretrain.{Path(name).stem}"
        overrides |= {f"{phase}.epochs": 0, f"{phase}.checkpoint": str(reference.layout.run / "fold-{fold}" / name)}
    return overrides


def row(fusion: str, settings: Settings, reference: Settings) -> dict[str, Any]:
    """The figures of one fused network, and how much better it is than the reference's, on the same clips."""
    from cfnsr.evaluation import compare_runs, final_network

    content = json.loads(settings.layout.metrics.read_text())
    difference = compare_runs(final_network(_predictions(settings)), final_network(_predictions(reference)))
    return _figures(fusion, content, settings, "fusion") | {
        "parameters": content["parameters"],
        "difference": difference.difference,
        "difference_interval": list(difference.interval),
    }


def _encoder_rows(reference: Settings) -> list[dict[str, Any]]:
    from cfnsr.checkpoint import load_model
    from cfnsr.evaluation import compare_runs, final_network, of_network

    content, predictions = json.loads(reference.layout.metrics.read_text()), _predictions(reference)
    rows = []
    for name, figures in content["encoders"].items():
        network, _ = load_model(train.fold_folder(reference, 0) / f"{name}.safetensors")
        difference = compare_runs(of_network(predictions, name, name), final_network(predictions))
        rows.append(
            _figures(f"{name} encoder alone", content | figures, reference, name)
            | {
                "parameters": network.parameter_count,
                "difference": difference.difference,
                "difference_interval": list(difference.interval),
            }
        )
    return rows


def _figures(name: str, content: Mapping[str, Any], settings: Settings, phase: str) -> dict[str, Any]:
    folds = range(settings.params.train.folds)
    history = pd.concat([pd.read_csv(train.fold_folder(settings, fold) / HISTORY) for fold in folds])
    return {
        "name": name,
        "corpus": content["corpus"],
        "protocol": content["protocol"],
        "folds": len(folds),
        "seed": settings.params.train.seed,
        "clips": content["clips"],
        "accuracy": content["pooled"]["accuracy"],
        "interval": content["interval"]["accuracy"],
        "accuracy_mean": content["folds"]["mean"]["accuracy"],
        "accuracy_std": content["folds"]["std"]["accuracy"],
        "seconds": float(history[history["phase"] == phase]["seconds"].sum()),
    }


def _predictions(settings: Settings) -> pd.DataFrame:
    from cfnsr.evaluation import read_predictions

    folders = [train.fold_folder(settings, fold) for fold in range(settings.params.train.folds)]
    assert all(FoldResult.load(folder) for folder in folders), "the flow trains all folds or fails"
    return read_predictions(folders)


def page(rows: Sequence[Mapping[str, Any]], profile: str) -> str:
    """docs/ablation-<profile>.md."""
    first = rows[0]
    lines = [
        f"# What each part of the network is worth: {first['corpus']}",
        "",
        f"Made by `python -m pipelines.ablation --profile {profile}`; ablation-{profile}.json has the same figures.",
        "",
        f"{first['protocol'].capitalize()} protocol, {first['folds']} folds by actor, seed {first['seed']},"
        f" {first['clips']} test clips. The fused networks all",
        "begin with the same pretrained encoders. Intervals are 95 % and resample actors; the difference to the",
        f"paper's fusion, `{REFERENCE}`, is paired: both are scored on the same resampled actors. Seconds are of a",
        "network's own phase.",
        "",
        "| network | accuracy | 95 % | mean ± std over folds | difference | parameters | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in rows:
        (low, high), (worse, better) = each["interval"], each["difference_interval"]
        compared = "-" if each["name"] == REFERENCE else f"{each['difference']:+.1%} ({worse:+.1%} to {better:+.1%})"
        spread = "" if each["accuracy_std"] is None else f" ± {each['accuracy_std']:.1%}"
        cells = [
            each["name"],
            f"{each['accuracy']:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{each['accuracy_mean']:.1%}{spread}",
            compared,
            f"{each['parameters']:,}",
            f"{each['seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if first["corpus"] != "RAVDESS":
        lines += ["", "The corpus is synthetic: the table shows that the parts work, not how they do on people."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", help="of params.yaml (default: the one it names)")
    arguments = parser.parse_args()
    with exit_with_sentence():
        profile = requested_settings(Path("params.yaml"), arguments.profile).profile
        rows = ablate_cfnsr(profile)
        text = page(rows, profile)
        print(text)
        write_text(Path("docs") / f"ablation-{profile}.json", json.dumps(rows, indent=2) + "\n")
        write_text(Path("docs") / f"ablation-{profile}.md", text)


if __name__ == "__main__":
    main()
