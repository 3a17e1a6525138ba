"""Artifacts of a flow run in the Prefect UI: progress while it trains, then the figures, plots and a link."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pipelines.local.prefect_setup  # isort: skip  # noqa: F401  before Prefect
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)

from cfnsr.evaluation.metrics import NAMES
from cfnsr.text import without_passwords
from components.results import cells
from components.run import Run
from components.tracking.runs import REGISTERED_MODEL

if TYPE_CHECKING:
    from optuna import Study

PLOTS = ("curves.png", "confusion.png")


class Progress:
    """A progress bar in the UI: how many folds are trained.

    Args:
        total: number of folds.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done, self._lock = total, 0, Lock()
        self._artifact = create_progress_artifact(0.0, key="folds", description=f"Folds trained, of {total}")

    def advance(self) -> None:
        """Count one more fold."""
        assert isinstance(self._artifact, UUID), "the flow is synchronous"
        with self._lock:
            self._done += 1
            update_progress_artifact(self._artifact, progress=100.0 * self._done / self._total)


def publish_report(run: Run, figures: Mapping[str, Any], version: int | None) -> None:
    """Attach the table of results, the plots and a link to the MLflow run to the flow run.

    Args:
        run: the finished run.
        figures: content of metrics/<profile>.json.
        version: the registered version, if there is one.
    """
    tracker = run.tracker
    create_markdown_artifact(result_table(figures, version), key="results", description=figures["corpus"])
    if not tracker.server.startswith("http"):  # a database has no page to link to
        return
    run_id = tracker.parent()
    experiment = tracker.client.get_run(run_id).info.experiment_id
    server = without_passwords(tracker.server)
    page = f"{server}/#/experiments/{experiment}/runs/{run_id}"
    create_link_artifact(page, key="mlflow-run", link_text="the run in MLflow", description="MLflow run")
    for name in PLOTS:
        create_image_artifact(
            f"{server}/get-artifact?path=plots/{name}&run_uuid={run_id}",
            key=name.replace(".", "-"),
            description=name,
        )


def result_table(figures: Mapping[str, Any], version: int | None) -> str:
    """The figures of a run in Markdown, under the names of their corpus and protocol."""
    lines = [
        f"# {figures['corpus']}, {figures['protocol']} protocol",
        f"{figures['claim']}.",
        "",
        "| figure | all test clips | 95 % interval (speakers) | mean ± std over folds |",
        "| --- | --- | --- | --- |",
        *(f"| {label} | {' | '.join(cells(figures, name))} |" for name, label in NAMES.items()),
        *(
            f"| accuracy, {name} alone | {' | '.join(cells(encoder, 'accuracy'))} |"
            for name, encoder in figures["encoders"].items()
        ),
    ]
    registered = f"registered as {REGISTERED_MODEL} version {version}" if version is not None else "not registered"
    folds = len(figures["folds"]["each"])
    lines += ["", f"{figures['clips']} clips, {folds} folds, {figures['parameters']:,} parameters; {registered}."]
    return "\n".join(lines)


def publish_search(study: Study, folder: Path) -> None:
    """Attach the trials of a search to the flow run.

    Args:
        study: all its trials have ended.
        folder: where its plots are.
    """
    names = sorted({name for trial in study.trials for name in trial.params})
    lines = [
        f"# Search: best validation accuracy {study.best_value:.3f} in trial {study.best_trial.number}",
        "",
        f"| trial | state | validation accuracy | {' | '.join(names)} |",
        f"| --- | --- | --- |{' --- |' * len(names)}",
    ]
    for trial in study.trials:
        value = f"{trial.value:.3f}" if trial.value is not None else ""
        drawn = [trial.params.get(name, "") for name in names]
        shown = [f"{each:.3g}" if isinstance(each, float) else str(each) for each in drawn]
        lines.append(f"| {trial.number} | {trial.state.name.lower()} | {value} | {' | '.join(shown)} |")
    create_markdown_artifact("\n".join([*lines, "", f"Plots: {folder}"]), key="search", description=study.study_name)
