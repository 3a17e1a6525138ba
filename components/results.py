"""Show what the last run of a profile gave: its figures, the registered version, and where everything lies."""

from __future__ import annotations

import json
from typing import Any

from cfnsr.config import Settings
from cfnsr.errors import InputError
from components.runner import run_step
from components.tracking import MODEL, RunTracker, tracking_uri

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
    versions = [found for found in tracker.client.search_model_versions(f"name = '{MODEL}'") if found.run_id == run_id]
    for version in versions:
        aliases = ", ".join(version.aliases) or "none"
        print(f"model     {MODEL} version {version.version} in the MLflow registry, alias: {aliases}")
    for name, path in (("figures", layout.metrics), ("plots", layout.plots), ("weights", layout.run)):
        print(f"{name:<9} {path.relative_to(layout.root)}")
    print(f"MLflow UI mlflow ui --backend-store-uri {tracking_uri(layout.root)}   then open http://127.0.0.1:5000")


def print_table(content: dict[str, Any]) -> None:
    """Show the report's figures on the screen, named after the corpus they are of."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{content['corpus']} - {content['protocol']} protocol - actors never seen in training")
    for column in ("figure", "all test clips", "95 % interval (actors)", "mean ± std over folds"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, label in LABELS.items():
        bounds = content["interval"].get(name)
        mean, std = content["folds"]["mean"][name], content["folds"]["std"][name]
        table.add_row(
            label,
            f"{content['pooled'][name]:.3f}",
            f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "",
            f"{mean:.3f}" + (f" ± {std:.3f}" if std is not None else ""),
        )
    table.caption = (
        f"{content['clips']} clips, {len(content['folds']['each'])} folds, {content['parameters']:,} parameters, "
        f"{content['seconds']:.0f} s of training"
    )
    Console(width=100).print(table)


if __name__ == "__main__":
    run_step(results, __doc__)
