"""Show what the last run of a profile gave: its figures, the registered version, and where everything lies."""

from __future__ import annotations

import json
import os
from typing import Any

from cfnsr.config import Settings
from cfnsr.errors import InputError
from components.runner import run_step
from components.tracking import MODEL, RunTracker

LABELS = {"accuracy": "accuracy (WAR)", "uar": "UAR", "f1": "macro F1", "ece": "ECE"}


def results(settings: Settings) -> None:
    """Print the figures of the profile's run and where to look further.

    Raises:
        InputError: nothing has been trained yet.
    """
    layout = settings.layout
    if not layout.metrics.exists():
        raise InputError(f"{layout.metrics} is missing; `dvc repro` trains the profile {settings.profile!r}.")
    print_table(json.loads(layout.metrics.read_text()))
    tracker = RunTracker(settings)
    run_id = tracker.parent_id()
    for version in tracker.client.search_model_versions(f"name = '{MODEL}'"):
        if version.run_id == run_id:
            # A search leaves the aliases out.
            aliases = tracker.client.get_model_version(MODEL, version.version).aliases
            shown = ", ".join(aliases) or "none"
            print(f"model     {MODEL} version {version.version} in the MLflow registry, alias: {shown}")
    for name, path in (("figures", layout.metrics), ("plots", layout.plots), ("weights", layout.run)):
        print(f"{name:<9} {path.relative_to(layout.root)}")
    uri = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")  # from the project's folder
    if uri.startswith("http"):
        print(f"MLflow UI {uri}")
    else:
        print(f"MLflow UI mlflow ui --backend-store-uri {uri}   then open http://127.0.0.1:5000")


def print_table(content: dict[str, Any]) -> None:
    """Show the report's figures on the screen, named after the corpus they are of."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{content['corpus']} - {content['protocol']} protocol - actors never seen in training")
    for column in ("figure", "all test clips", "95 % interval (actors)", "mean ± std over folds"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, label in LABELS.items():
        table.add_row(label, *_cells(content, name))
    for encoder, figures in content["encoders"].items():
        table.add_row(f"accuracy, {encoder} alone", *_cells(figures, "accuracy"))
    table.caption = (
        f"{content['clips']} clips, {len(content['folds']['each'])} folds, {content['parameters']:,} parameters, "
        f"{content['seconds']:.0f} s of training"
    )
    Console(width=100).print(table)


def _cells(figures: dict[str, Any], name: str) -> tuple[str, str, str]:
    """One figure: of all clips, its interval where there is one, and its spread over folds."""
    mean, std = figures["folds"]["mean"][name], figures["folds"]["std"][name]
    bounds = figures["interval"].get(name)
    return (
        f"{figures['pooled'][name]:.3f}",
        f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "",
        f"{mean:.3f}" + (f" ± {std:.3f}" if std is not None else ""),
    )


if __name__ == "__main__":
    run_step(results, __doc__)
