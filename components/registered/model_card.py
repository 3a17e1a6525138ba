"""The model card: what a registered version is, how good for whom, and what it must not be used for (Markdown)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfnsr.config.load import Settings
from cfnsr.corpus.folds import SELECTION
from cfnsr.evaluation.metrics import MIN_ACTORS, interval_in_words
from cfnsr.training.result import FoldResult

SYNTHETIC = "The sample corpus is synthetic (rendered faces, made-up voices): figures on it say nothing about people."
LICENCES = {
    "RAVDESS": (
        "RAVDESS (Livingstone and Russo, PLoS ONE 13(5), 2018, e0196391) is under CC BY-NC-SA 4.0: weights trained on "
        "it are for non-commercial use."
    ),
    "synthetic sample corpus": "made by this project's code, MIT licence.",
}


def model_card(settings: Settings, content: Mapping[str, Any], fold: FoldResult, origin: Mapping[str, str]) -> str:
    """The card of a fold's weights.

    Args:
        settings: the profile.
        content: of metrics/<profile>.json.
        fold: whose weights they are.
        origin: what they were made from: tags of the training run, such as the git commit and the data digest.
    """
    parts = [
        f"# CFN-SR, trained on the {content['corpus']}",
        _about(settings, content, fold),
        _use(content),
        "## Figures\n\n" + _figures(content),
        "## By group\n\n" + _groups(content),
        "## Data and protocol\n\n" + _data(settings, content, fold),
        "## Made from\n\n" + "\n".join(f"- {name}: `{value}`" for name, value in origin.items()),
    ]
    return "\n\n".join(parts) + "\n"


def _about(settings: Settings, content: Mapping[str, Any], fold: FoldResult) -> str:
    model = settings.params.model
    takes = {"both": "face crops and the voice's MFCC", "audio": "the voice's MFCC", "video": "face crops"}
    alone = " It was trained to answer from either of them alone as well." if content["inputs"] else ""
    return (
        f"Tells which of eight emotions a person shows, from {takes[model.modality]}.{alone} "
        f"{content['parameters']:,} parameters, fusion `{model.fusion}`, after arXiv 2111.02172. These are the weights "
        f"of fold {fold.fold}, the best on its own {SELECTION[content['protocol']]}; the figures are of all folds' "
        "networks, each on its own test actors."
    )


def _use(content: Mapping[str, Any]) -> str:
    lines = [
        "## Use",
        "",
        "For research on, and demonstrations of, emotion recognition in short clips of one speaking face.",
        "",
        "**Not for decisions about people**: not for hiring, policing, education, health, insurance or border control.",
    ]
    if content["corpus"] == "RAVDESS":
        lines += [
            "It was trained on acted emotion of few actors, in English, in a studio. What people show is not what they",
            "feel, and other ages, languages, cultures and cameras were not tested.",
        ]
    else:
        lines += ["", SYNTHETIC]
    return "\n".join(lines)


def _figures(content: Mapping[str, Any]) -> str:
    lines = [
        f"{content['protocol'].capitalize()} protocol: {content['claim']}. {content['clips']} test clips of "
        f"{len(content['actors'])} actors; intervals are 95 %, resampling actors (at least {MIN_ACTORS}).",
        "",
        "| from | accuracy (WAR) | 95 % | UAR | macro F1 | ECE | ECE, temperature scaled |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        _row("all it takes", content),
        *(_row(f"{given} only", figures) for given, figures in content["inputs"].items()),
        *(_row(f"{name} encoder of its own", figures) for name, figures in content["encoders"].items()),
    ]
    if content["protocol"] == "honest" and content["best_test_epoch"] is not None:
        lines += [
            "",
            f"Reported as the paper does, by each fold's best *test* epoch, the same training would claim "
            f"{content['best_test_epoch']['best']:.1%}.",
        ]
    recall = [f"{name} {'-' if share is None else f'{share:.0%}'}" for name, share in content["recall"].items()]
    return "\n".join([*lines, "", "Recall: " + ", ".join(recall) + "."])


def _row(name: str, figures: Mapping[str, Any]) -> str:
    pooled, interval = figures["pooled"], interval_in_words(figures["interval"].get("accuracy"))
    scaled = "-" if figures["ece_calibrated"] is None else f"{figures['ece_calibrated']:.3f}"
    return (
        f"| {name} | {pooled['accuracy']:.1%} | {interval} | {pooled['uar']:.1%} | {pooled['f1']:.1%} "
        f"| {pooled['ece']:.3f} | {scaled} |"
    )


def _groups(content: Mapping[str, Any]) -> str:
    lines = ["| actors | accuracy | 95 % | clips |", "| --- | --- | --- | --- |"]
    for name, group in content["sex"].items():
        interval = interval_in_words(group["interval"])
        lines.append(f"| {group['actors']} {name} | {group['accuracy']:.1%} | {interval} | {group['clips']} |")
    worst, best = (choose(content["actors"].items(), key=lambda item: item[1]) for choose in (min, max))
    return "\n".join(
        [
            *lines,
            "",
            f"Lowest of one actor: {worst[1]:.1%} (actor {worst[0]}); highest: {best[1]:.1%} (actor {best[0]}).",
        ]
    )


def _rule(settings: Settings, fold: FoldResult) -> str:
    epochs = settings.params.train.smooth_epochs
    return f", by their mean accuracy in {epochs} epochs" if fold.validation and epochs > 1 else ""


def _data(settings: Settings, content: Mapping[str, Any], fold: FoldResult) -> str:
    faces, mfcc = settings.params.faces, settings.params.mfcc
    lines = [
        f"- Data: {LICENCES[content['corpus']]}",
        f"- Trained on the actors {_listed(fold.train)}; the epoch was chosen by the {SELECTION[content['protocol']]} "
        f"{_listed(fold.validation or fold.test)}{_rule(settings, fold)}.",
        f"- {settings.params.train.folds} folds of {settings.params.train.actors_per_fold} test actors, seed "
        f"{settings.params.train.seed}.",
    ]
    if settings.params.model.modality != "audio":
        lines.append(f"- Faces: {faces.frames} crops of {faces.size} x {faces.size} pixels over the clip.")
    begin = f"{mfcc.offset} s" if mfcc.kind == "published" else "where the speech begins"
    if settings.params.model.modality != "video":
        lines.append(
            f"- Voice: {mfcc.channels} x {mfcc.frames} of {mfcc.duration} s from {begin} on, kind `{mfcc.kind}`, "
            f"{mfcc.sample_rate} Hz."
        )
    return "\n".join(lines)


def _listed(actors: tuple[int, ...]) -> str:
    return ", ".join(map(str, actors))
