"""`cfnsr evaluate`: a network on a table of clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cfnsr.config.corpus import in_a_sentence
from cfnsr.errors import InputError
from cfnsr.text import printable

if TYPE_CHECKING:
    from cfnsr.evaluation.on_table import TableReport


def evaluate(
    model: Annotated[str, typer.Argument(help="Model: registry URI, folder, safetensors or ONNX file.")],
    table: Annotated[Path, typer.Option(help="CSV or Parquet table of clips; `cfnsr table` writes one.")],
    names: Annotated[
        Path | None,
        typer.Option("--map", help="YAML file with the table's names of the network's labels: 'angry: [anger, W]'."),
    ] = None,
    corpus: Annotated[
        str, typer.Option(help="Name of the corpus, as in training; default: that of the table's file.")
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for figures.json, predictions.csv and plots.")] = None,
    yunet: Annotated[Path | None, typer.Option(help="YuNet file, if the network was trained with YuNet.")] = None,
) -> None:
    """Measure a network on a corpus that it was not trained on: accuracy, UAR, F1, ECE and 95 % intervals."""
    from cfnsr.evaluation.on_table import evaluate_table
    from cfnsr.predict import Predictor

    mapping = _mapping(names)
    with Predictor.from_pretrained(model, yunet) as predictor:
        report = evaluate_table(predictor, table, corpus, mapping)
    for path, reason in sorted(report.excluded):
        typer.echo(printable(f"excluded: {path}: {reason}"), err=True)
    _print(report)
    if out is not None:
        _write(report, out)
        typer.echo(f"written: {out}")


def _mapping(path: Path | None) -> dict[str, list[str]]:
    import yaml

    if path is None:
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} can't be read ({error}).") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must have one line per label of the network, such as 'angry: [anger, W]'.")
    return {str(label): list(map(str, each if isinstance(each, list) else [each])) for label, each in content.items()}


def _print(report: TableReport) -> None:
    from rich.console import Console
    from rich.table import Table

    from cfnsr.evaluation.metrics import NAMES, interval_in_words

    content = report.content
    shown = Table(title=f"{content['corpus']}, by a network trained on {in_a_sentence(content['trained_on'])}")
    for column in ("figure", "all clips", "95 % interval (speakers)"):
        shown.add_column(column, justify="left" if column == "figure" else "right")
    for name, label in NAMES.items():
        interval = content["interval"].get(name)
        in_words = "" if interval is None else interval_in_words(interval, ".3f")
        shown.add_row(label, f"{content['pooled'][name]:.3f}", in_words)
    shown.add_section()
    for label, share in content["recall"].items():
        shown.add_row(f"recall, {label}", "" if share is None else f"{share:.3f}", "")
    shown.caption = (
        f"{content['clips']} of {content['rows']} clips, {len(content['speakers'])} speakers; answers among "
        f"{', '.join(content['labels'])}"
    )
    Console(width=100).print(shown)
    if content["doubt"]:
        typer.echo(f"careful: {content['doubt']}")


def _write(report: TableReport, folder: Path) -> None:
    import json

    import numpy as np

    from cfnsr.evaluation.plots import plot_confusion, plot_reliability, plot_speakers
    from cfnsr.evaluation.report import probabilities, targets
    from cfnsr.files import atomic_path, write_text

    content, predictions = report.content, report.predictions
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "figures.json", json.dumps({**content, "excluded": report.excluded}, indent=2) + "\n")
    with atomic_path(folder / "predictions.csv") as temporary:
        predictions.to_csv(temporary, index=False)
    about = f"{content['corpus']}, by a network trained on {in_a_sentence(content['trained_on'])}"
    title = f"{content['pooled']['accuracy']:.1%} of {content['clips']} clips: {about}"
    plot_confusion(np.array(content["confusion"]), content["labels"], folder / "confusion.png", title)
    plot_speakers(predictions, folder / "speakers.png", f"Accuracy by speaker: {about}", len(content["labels"]))
    outputs = {"network output": probabilities(predictions)}
    plot_reliability(outputs, targets(predictions), folder / "reliability.png", f"Reliability: {about}")
