"""What a project holds after a step, in a form that is equal for a run that was killed and one that was not.

Left out, because they differ between any two runs: time stamps and durations (columns and keys `seconds`, the metric
`seconds`, the tag `promoted_at`), ids that MLflow draws, the numbers in the names of trials, and lock files. A trial
that was killed is queued again under a new number, so the failed trials of a study are left out, too.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from benchmarks.chaos.project import OUTPUTS

COMPARED = (
    "the names and contents of all files below data, runs, studies, metrics, plots and models, half-written ones "
    "included; the MLflow runs with their parents, states, parameters, tags, metrics by step, and artifacts; the "
    "registry's versions with their tags, aliases and files; the parameters, values and states of the trials"
)
IGNORED = (
    "time stamps and durations, MLflow's random ids, lock files, and the numbers of trials (one that was killed is "
    "queued again under a new number)"
)
SKIPPED = (".lock", "journal.log", "history.png")
"""The plot of a search's history has the numbers of trials on its axis."""
RANDOM = ("seconds", "promoted_at", "run_id", "token")
"""Names of values that differ between any two runs."""

Result = dict[str, Any]


def result_of(project: Path) -> Result:
    """Everything that is compared, by a name that says where it is."""
    found: Result = {}
    for folder in OUTPUTS:
        if folder != "mlartifacts" and "." not in folder:
            for path in sorted((project / folder).rglob("*")):
                if path.is_file() and path.suffix != ".lock" and path.name not in SKIPPED:
                    found[f"file {_numbered(path, project)}"] = _content(path)
    if (project / "mlflow.db").exists():
        with closing(sqlite3.connect(project / "mlflow.db")) as database:
            found |= _runs(database, project) | _versions(database)
    for journal in sorted(project.glob("studies/*/journal.log")):
        found[f"trials of {journal.parent.name}"] = _trials(journal)
    return found


def _numbered(path: Path, project: Path) -> str:
    """The path of a file; folders of trials are numbered from 0, because a killed trial leaves its number unused."""
    relative = path.relative_to(project)
    folder = relative.parts[1] if len(relative.parts) > 2 else ""
    name, _, number = folder.rpartition("-")
    if not (relative.parts[0] == "runs" and "-tune-" in name and number.isdigit()):
        return str(relative)
    trials = sorted(
        other.name for other in (project / "runs").glob(f"{name}-*") if other.is_dir() and any(other.iterdir())
    )
    return str(Path("runs", f"{name}-trial-{trials.index(folder)}", *relative.parts[2:]))


def differences(expected: Result, found: Result) -> list[str]:
    """What differs, one line each; empty for equal results."""
    wanted, present = _flat("", expected), _flat("", found)
    return [
        f"{name}: {_short(present.get(name, 'missing'))} in place of {_short(wanted.get(name, 'nothing'))}"
        for name in sorted({*wanted, *present})
        if wanted.get(name) != present.get(name)
    ]


def _flat(name: str, value: Any) -> Result:
    """The values inside of dictionaries, and of lists of them, by the names that lead there."""
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        value = {str(number): each for number, each in enumerate(value)}
    if not isinstance(value, dict):
        return {name: value}
    inside = [_flat(f"{name}, {key}".removeprefix(", "), each) for key, each in value.items()]
    return {key: each for part in inside for key, each in part.items()}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 200 else f"{text[:200]}… ({hashlib.md5(text.encode()).hexdigest()})"


def _content(path: Path) -> Any:
    """A digest, or the content without times and ids."""
    content = path.read_bytes()
    if path.name == "mlflow.json":  # ids by name
        return sorted(json.loads(content))
    if path.suffix == ".json":
        content = json.dumps(_without_times(json.loads(content))).encode()
    elif path.suffix == ".csv" and content:
        table = pd.read_csv(io.BytesIO(content), dtype=str)
        content = table.drop(columns=[name for name in RANDOM if name in table]).to_csv().encode()
    return hashlib.md5(content).hexdigest()


def _without_times(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_times(value) for name, value in content.items() if name not in RANDOM}
    return [_without_times(each) for each in content] if isinstance(content, list) else content


def _runs(database: sqlite3.Connection, project: Path) -> Result:
    """The runs, by their name below their parent's; several of one name are sorted by their content."""
    tags, params, metrics = (defaultdict(dict), defaultdict(dict), defaultdict(set))  # type: ignore[var-annotated]
    for run, key, value in database.execute("SELECT run_uuid, key, value FROM tags"):
        tags[run][key] = value
    for run, key, value in database.execute("SELECT run_uuid, key, value FROM params"):
        params[run][key] = value
    for run, key, value, step in database.execute("SELECT run_uuid, key, value, step FROM metrics"):
        if key not in RANDOM:
            metrics[run].add((key, step, value))
    states = dict(database.execute("SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'"))
    names = {run: tags[run].get("mlflow.runName", "").rstrip("0123456789") for run in states}
    found: dict[str, list[Any]] = defaultdict(list)
    for run, state in states.items():
        parent = names.get(tags[run].get("mlflow.parentRunId", ""), "")
        artifacts = project / "mlartifacts" / run / "artifacts"
        found[f"MLflow run {parent}/{names[run]}"].append(
            {
                "state": state,
                "params": params[run],
                "tags": {
                    key: tag for key, tag in tags[run].items() if not key.startswith("mlflow.") and key not in RANDOM
                },
                "metrics": sorted(metrics[run]),
                "artifacts": sorted(str(path.relative_to(artifacts)) for path in artifacts.rglob("*")),
            }
        )
    return {name: sorted(each, key=str) for name, each in found.items()}


def _versions(database: sqlite3.Connection) -> Result:
    found: Result = {}
    for number, status, place in database.execute("SELECT version, status, storage_location FROM model_versions"):
        tags = database.execute("SELECT key, value FROM model_version_tags WHERE version = ?", (number,))
        aliases = database.execute("SELECT alias FROM registered_model_aliases WHERE version = ?", (number,))
        folder = Path(place.removeprefix("file://"))
        weights = [hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.safetensors"))]
        found[f"version {number}"] = {
            "status": status,
            "tags": {key: value for key, value in sorted(tags) if key not in RANDOM},
            "aliases": sorted(alias for (alias,) in aliases),
            "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".pyc"),
            "weights": weights,
        }
    (models,) = database.execute("SELECT count(*) FROM logged_models WHERE lifecycle_stage = 'active'").fetchone()
    return found | {"logged models": models}


def _trials(journal: Path) -> list[Any]:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name=journal.parent.name, storage=storage)
    return sorted(
        (trial.state.name, trial.value, sorted(trial.params.items()), sorted(trial.intermediate_values.items()))
        for trial in study.trials
        if trial.state != TrialState.FAIL
    )
