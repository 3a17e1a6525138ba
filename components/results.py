"""Show the results of a profile's last run: its figures, the registered version, and where everything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfnsr.config.load import Settings
from cfnsr.errors import InputError
from cfnsr.evaluation.metrics import NAMES, interval_in_words
from cfnsr.text import without_passwords
from components.run import read_figures
from components.step import run_step
from components.tracking.runs import PARENT, REGISTERED_MODEL, RunTracker


def results(settings: Settings) -> None:
    """Print the figures of the profile's run and where its files are.

    Raises:
        InputError: nothing has been trained yet, or the figures belong to another run than the weights.
    """
    layout = settings.layout
    if not layout.metrics.exists():
        raise InputError(f"{layout.metrics} is missing; `dvc repro` trains the profile {settings.profile!r}.")
    print_table(read_figures(settings))
    tracker = RunTracker(settings)
    run_id = tracker.known(PARENT)
    version = tracker.version(run_id) if run_id else None
    if version is not None:
        aliases = ", ".join(version.aliases) or "none"
        print(f"model     {REGISTERED_MODEL} version {version.version} in the MLflow registry, alias: {aliases}")
    for name, path in (("figures", layout.metrics), ("plots", layout.plots), ("weights", layout.run)):
        print(f"{name:<9} {path.relative_to(layout.root)}")
    if tracker.server.startswith("http"):
        print(f"MLflow UI {without_passwords(tracker.server)}")
    else:
        database = without_passwords(tracker.server).replace(f"{layout.root}/", "")  # as named in the project's folder
        print(f"MLflow UI mlflow ui --backend-store-uri {database}   then open http://127.0.0.1:5000")


def print_table(content: dict[str, Any]) -> None:
    """Print the figures of a report under the name of their corpus."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{content['corpus']} - {content['protocol']} protocol\n{content['claim']}")
    for column in ("figure", "all test clips", "95 % interval (speakers)", "mean ± std over folds"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, label in NAMES.items():
        table.add_row(label, *cells(content, name))
    if content["ece_calibrated"] is not None:
        table.add_row("ECE, temperature scaled", f"{content['ece_calibrated']:.3f}", "", "")
    for given, figures in content["inputs"].items():
        table.add_row(f"accuracy, given {given} only", *cells(figures, "accuracy"))
    for encoder, figures in content["encoders"].items():
        table.add_row(f"accuracy, {encoder} encoder alone", *cells(figures, "accuracy"))
    if content["best_test_epoch"] is not None:
        table.add_section()
        table.add_row("not honest: best test epoch", "", "", f"{content['best_test_epoch']['best']:.3f}")
        table.add_row("mean of the last ten epochs", "", "", f"{content['best_test_epoch']['last']:.3f}")
    table.caption = (
        f"{content['clips']} clips, {len(content['folds']['each'])} folds, {content['parameters']:,} parameters, "
        f"{content['seconds']:.0f} s of training"
    )
    Console(width=100).print(table)


def cells(figures: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    """One figure: over all clips, its interval where there is one, and its spread over folds."""
    mean, std = figures["folds"]["mean"][name], figures["folds"]["std"][name]
    return (
        f"{figures['pooled'][name]:.3f}",
        interval_in_words(figures["interval"][name], ".3f") if name in figures["interval"] else "",
        f"{mean:.3f}" + (f" ± {std:.3f}" if std is not None else ""),
    )


if __name__ == "__main__":
    run_step(results, __doc__)
