"""Flow `ablate-cfnsr`: what each part of the network is worth, with the same data, folds and seeds.

    python -m pipelines.studies.ablation [--profile NAME] [--seeds 0 1 2]

Trains the network with every `fusion`, all of a seed from the same pretrained encoders, and writes
docs/ablation-<profile>.md and .json: those networks and both encoders alone. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
import pandas as pd
from prefect import flow

from cfnsr.config.load import Settings
from cfnsr.config.sections import Fusion
from cfnsr.errors import InputError, exit_with_sentence
from cfnsr.evaluation.metrics import interval_in_words
from cfnsr.files import write_text
from cfnsr.training.result import ENCODERS, HISTORY, FoldResult
from components import train
from pipelines.local.here import flow_here
from pipelines.request import requested_settings
from pipelines.train import train_cfnsr

REFERENCE = "cfn_sr"
"""What the others are compared with: the paper's fusion."""
Network = Literal["audio", "video", "fusion"]
SEEDS = (0, 1, 2)
"""More than one, because networks that differ in nothing but their seed differ too."""


@flow(name="ablate-cfnsr", flow_run_name="ablate")
def ablate_cfnsr(
    profile: str | None = None,
    seeds: list[int] = list(SEEDS),  # noqa: B006  Prefect reads it, nobody changes it
    update: bool = True,
    params_file: Path = Path("params.yaml"),
) -> list[dict[str, Any]]:
    """Train all variants of a profile's network and put their figures side by side.

    Args:
        profile: None takes the one that params.yaml names.
        seeds: each trains every variant once.
        update: bring the data stages up to date first.
        params_file: the settings; the folder it lies in is the project's root.

    Returns:
        A row a variant, see `row`.
    """
    settings = requested_settings(params_file, profile)
    params = settings.params
    if params.model.modality != "both":
        raise InputError("an ablation needs both modalities; set model.modality to both in params.yaml.")
    for name, phase in (("audio", params.train.pretrain.audio), ("video", params.train.pretrain.video)):
        if not phase.epochs:
            raise InputError(
                f"an ablation shows the encoders alone, too, and train.pretrain.{name}.epochs is 0, so there would be "
                "none; set it to at least 1."
            )
    if not seeds:
        raise InputError("an ablation needs a seed; name at least one.")
    variants: dict[str, list[Settings]] = {REFERENCE: []}
    for seed in seeds:
        reference = requested_settings(params_file, profile, {"model.fusion": REFERENCE, "train.seed": seed})
        for fusion in (REFERENCE, *(name for name in get_args(Fusion) if name != REFERENCE)):
            overrides = {"model.fusion": fusion, "train.seed": seed}
            overrides |= _with_encoders_of(reference) if fusion != REFERENCE else {}
            variants.setdefault(fusion, []).append(requested_settings(params_file, profile, overrides))
            settings.check_file(("model", "train"))  # all variants are of the same file
            train_cfnsr(profile, overrides, register_model=False, update=update, params_file=params_file)
            update = False  # once is enough
    references = variants[REFERENCE]
    return [*_encoder_rows(references), *(row(fusion, runs, references) for fusion, runs in variants.items())]


def _with_encoders_of(reference: Settings) -> dict[str, Any]:
    """Overrides that take the encoders of another run instead of training the very same ones again."""
    overrides: dict[str, Any] = {}
    for name in ENCODERS:
        phase = f"train.pretrain.{Path(name).stem}"
        overrides |= {f"{phase}.epochs": 0, f"{phase}.checkpoint": str(reference.layout.run / "fold-{fold}" / name)}
    return overrides


def row(fusion: str, runs: Sequence[Settings], references: Sequence[Settings]) -> dict[str, Any]:
    """The figures of one fused network over its seeds, and how much better it is than the reference, clip by clip."""
    parameters = json.loads(runs[0].layout.metrics.read_text())["parameters"]
    return _figures(fusion, "fusion", runs, references) | {"parameters": parameters}


def _encoder_rows(references: Sequence[Settings]) -> list[dict[str, Any]]:
    from cfnsr.model.checkpoint import load_model

    rows = []
    encoders: tuple[Network, ...] = ("audio", "video")
    for name in encoders:
        network, _ = load_model(train.fold_folder(references[0], 0) / f"{name}.safetensors")
        figures = _figures(f"{name} encoder alone", name, references, references)
        rows.append(figures | {"parameters": network.parameter_count})
    return rows


def _figures(name: str, network: Network, runs: Sequence[Settings], references: Sequence[Settings]) -> dict[str, Any]:
    from cfnsr.evaluation.metrics import bootstrap_intervals
    from cfnsr.evaluation.report import compare_runs, probabilities

    first = json.loads(runs[0].layout.metrics.read_text())
    said = _said(runs, network)
    right = said["actual"] == said["predicted"]
    difference = compare_runs(said, _said(references, "fusion"))
    label, actor = said["label"].to_numpy(), said["actor"].to_numpy()
    return {
        "name": name,
        "corpus": first["corpus"],
        "protocol": first["protocol"],
        "claim": "; or ".join(sorted({json.loads(run.layout.metrics.read_text())["claim"] for run in runs})),
        "folds": runs[0].params.train.folds,
        "seeds": [run.params.train.seed for run in runs],
        "clips": first["clips"],
        "accuracy": float(right.mean()),
        "interval": bootstrap_intervals(probabilities(said), label, actor).get("accuracy"),
        "accuracy_std": _deviation(right.groupby([said["seed"], said["fold"]]).mean()),
        "by_seed": right.groupby(said["seed"]).mean().tolist(),
        "difference": difference.difference,
        "difference_interval": difference.interval,
        "seconds": sum(_seconds(run, network) for run in runs) / len(runs),
    }


def _said(runs: Sequence[Settings], network: Network) -> pd.DataFrame:
    """What a network said of the test clips with each seed, which is part of the clip's name here."""
    from cfnsr.evaluation.report import of_network, read_predictions

    tables = []
    for run in runs:
        folders = [train.fold_folder(run, fold) for fold in range(run.params.train.folds)]
        assert all(FoldResult.load(folder) for folder in folders), "the flow trains all folds or fails"
        table = of_network(read_predictions(folders), network, "both" if network == "fusion" else network)
        seed = run.params.train.seed
        tables.append(table.assign(seed=seed, clip_id=[f"{seed}/{clip}" for clip in table["clip_id"]]))
    return pd.concat(tables, ignore_index=True)


def _deviation(values: pd.Series) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _seconds(run: Settings, phase: str) -> float:
    histories = [pd.read_csv(train.fold_folder(run, fold) / HISTORY) for fold in range(run.params.train.folds)]
    return float(sum(history[history["phase"] == phase]["seconds"].sum() for history in histories))


def page(rows: Sequence[Mapping[str, Any]], profile: str) -> str:
    """docs/ablation-<profile>.md."""
    first, claims = rows[0], "; or ".join(dict.fromkeys(row["claim"] for row in rows))
    lines = [
        f"# What each part of the network is worth: {first['corpus']}",
        "",
        f"Made by `python -m pipelines.studies.ablation`; ablation-{profile}.json has the same figures.",
        "",
        f"Figures are of: {claims}.",
        "",
        f"{first['protocol'].capitalize()} protocol, {first['folds']} folds by actor, {first['clips']} test clips,"
        f" seeds {', '.join(map(str, first['seeds']))}. The fused",
        "networks of a seed all begin with the same pretrained encoders. Accuracy is the mean over seeds, with the",
        "standard deviation of single folds and seeds. Intervals are 95 % and resample actors; they do not tell what",
        "other seeds would give, which the seeds themselves show. The difference is to the paper's fusion,",
        f"`{REFERENCE}`, of the same seeds on the same actors. Seconds are of a network's own phase, all folds of one",
        "seed; whatever else the machine did made them longer.",
        "",
        "| network | accuracy | 95 % | by seed | difference | parameters | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in rows:
        compared = f"{each['difference']:+.1%} ({interval_in_words(each['difference_interval'], '+.1%')})"
        spread = "" if each["accuracy_std"] is None else f" ± {each['accuracy_std']:.1%}"
        cells = [
            each["name"],
            f"{each['accuracy']:.1%}{spread}",
            interval_in_words(each["interval"]),
            ", ".join(f"{share:.1%}" for share in each["by_seed"]),
            "-" if each["name"] == REFERENCE else compared,
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
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="each trains every variant once")
    arguments = parser.parse_args()
    with exit_with_sentence():
        profile = requested_settings(Path("params.yaml"), arguments.profile).profile
        with flow_here():
            rows = ablate_cfnsr(profile, list(arguments.seeds))
        text = page(rows, profile)
        print(text)
        write_text(Path("docs") / f"ablation-{profile}.json", json.dumps(rows, indent=2) + "\n")
        write_text(Path("docs") / f"ablation-{profile}.md", text)


if __name__ == "__main__":
    main()
