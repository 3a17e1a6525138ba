"""Step `promote`: make a registered version the champion, if it is better than the present one.

    python -m components.promote --version N                           the gate decides
    python -m components.promote --version N --force --reason TEXT     a person decides, and says why
    python -m components.promote --rollback                            back to the previous champion

The gate compares test predictions of the same clips in the same folds by a paired bootstrap over speakers; `promote` in
params.yaml sets the required margin and confidence. Every version that it judges is one more look at the test speakers,
and it reports how many there were. A version of the synthetic corpus never replaces one of a real corpus. Promotions on
one machine take turns.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from cfnsr.config.corpus import SAMPLE_CORPUS
from cfnsr.config.load import load_settings
from cfnsr.config.search import PromoteSettings
from cfnsr.corpus.folds import UNKNOWN
from cfnsr.errors import InputError, exit_with_message
from cfnsr.evaluation.metrics import interval_in_words
from cfnsr.registry import server_needed, tracking_uri
from components.tracking.runs import COMPLETE, REGISTERED_MODEL, open_store

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from cfnsr.evaluation.metrics import Comparison

ALIAS = "champion"
PREVIOUS = "previous_champion"
"""Tag of a champion: the version that it replaced."""
JUDGED = "judged_against"
"""Tag of a version: the champion with which the gate last compared it."""
PREDICTIONS = "plots/predictions.csv"
"""Artifact of the run behind a version, see `cfnsr.evaluation.report.read_predictions`."""


@dataclass(frozen=True)
class Verdict:
    """The gate's decision about a version."""

    passed: bool
    reason: str
    compared: bool = False
    """Whether the test predictions decided."""


def promote(params_file: Path, version: int, reason: str = "") -> str:
    """Make a version the champion.

    Args:
        params_file: the project's params.yaml.
        version: of the registered model.
        reason: promote without the gate, and record this; empty to let the gate decide.

    Returns:
        A sentence about what was done and why.

    Raises:
        InputError: there is no such version, or the gate refuses it. The champion is then as it was.
    """
    with _registry(params_file.resolve().parent) as client:
        candidate = client.get_model_version(REGISTERED_MODEL, str(version))
        if COMPLETE not in candidate.tags:
            raise InputError(
                f"the registration of version {version} was interrupted; run `python -m components.register`."
            )
        limits = load_settings(params_file, candidate.tags.get("profile")).params.promote
        champion = _champion(client)
        if _number(champion) == _number(candidate):  # for example by the same command, killed after that
            return f"version {version} is the champion already"
        verdict = judge(client, candidate, champion, limits, forced=bool(reason))
        if verdict.compared:
            client.set_model_version_tag(REGISTERED_MODEL, candidate.version, JUDGED, _number(champion))
        if not verdict.passed:
            raise InputError(f"version {version} does not become champion: {verdict.reason}.")
        _crown(client, candidate, champion, {"promotion": verdict.reason, "promotion_forced": reason})
        return f"version {version} is champion: {verdict.reason}"


def rollback(params_file: Path) -> str:
    """Make the version before the present champion the champion again.

    Returns:
        A sentence about what was done.

    Raises:
        InputError: there is no champion, or none before it.
    """
    with _registry(params_file.resolve().parent) as client:
        champion = _champion(client)
        if champion is None:
            raise InputError(f"{REGISTERED_MODEL} has no {ALIAS}, so there is nothing to roll back.")
        if PREVIOUS not in champion.tags:
            raise InputError(f"version {champion.version} does not record which version was {ALIAS} before it.")
        before = client.get_model_version(REGISTERED_MODEL, champion.tags[PREVIOUS])
        if _synthetic(before) and not _synthetic(champion):
            raise InputError(
                f"version {before.version} is of the {SAMPLE_CORPUS} and can't replace one of a real corpus."
            )
        client.set_registered_model_alias(REGISTERED_MODEL, ALIAS, before.version)
        client.set_model_version_tag(REGISTERED_MODEL, champion.version, "rolled_back_at", _now())
        return f"version {before.version} is champion again, in place of version {champion.version}"


def judge(
    client: MlflowClient,
    candidate: ModelVersion,
    champion: ModelVersion | None,
    limits: PromoteSettings,
    forced: bool = False,
) -> Verdict:
    """The gate: may a version replace the champion?

    Raises:
        InputError: they can't be compared, because they were not tested on the same clips in the same folds.
    """
    if champion is None:
        return Verdict(True, "there was no champion before it")
    if _synthetic(candidate) and not _synthetic(champion):
        reason = f"it is of the {SAMPLE_CORPUS}, version {champion.version} of a real corpus; not even --force helps"
        return Verdict(False, reason)
    if forced:
        return Verdict(True, f"forced, in place of version {champion.version}")
    if _synthetic(champion) and not _synthetic(candidate):
        return Verdict(True, f"version {champion.version} was of the {SAMPLE_CORPUS}")
    if _may_know_its_test(candidate) and not _may_know_its_test(champion):
        return Verdict(
            False,
            "it was started from weights that may have been trained on its own test speakers, so its figures may be "
            "too high; use --force and give a reason",
        )
    result = _compare(client, candidate, champion)
    if result.confidence is None:
        return Verdict(
            False,
            f"it was tested on {result.speakers} speakers, too few to be confident of the difference "
            f"({result.difference:+.1%}); use --force and give a reason",
        )
    passed = result.difference > limits.margin and result.confidence >= limits.confidence
    interval = interval_in_words(result.interval, "+.1%")
    return Verdict(
        passed,
        f"its accuracy is {result.accuracy_a:.1%}, version {champion.version}'s {result.accuracy_b:.1%} "
        f"({result.difference:+.1%}, 95 % interval {interval}, confidence {result.confidence:.1%}); required are more "
        f"than {limits.margin:+.1%} with at least {limits.confidence:.1%} confidence"
        f"{_claims(candidate, champion)}{_judged_before(client, candidate)}",
        compared=True,
    )


def _compare(client: MlflowClient, candidate: ModelVersion, champion: ModelVersion) -> Comparison:
    from cfnsr.evaluation.report import compare_runs

    tables = [_predictions(client, version) for version in (candidate, champion)]
    tested = [
        {
            "data": version.tags.get("dataset_digest"),
            "protocol": version.tags.get("protocol"),
            "folds": set(zip(table["clip_id"], table["fold"], strict=True)),
        }
        for version, table in zip((candidate, champion), tables, strict=True)
    ]
    for what, value in tested[0].items():
        if value != tested[1][what]:
            raise InputError(
                f"versions {candidate.version} and {champion.version} differ in their {what}, so their figures can't "
                "be compared: train both on the same, or use --force and give a reason."
            )
    return compare_runs(*tables)


def _predictions(client: MlflowClient, version: ModelVersion) -> pd.DataFrame:
    from mlflow.exceptions import MlflowException

    from cfnsr.evaluation.report import final_network, read_table

    with tempfile.TemporaryDirectory() as folder:
        try:
            return final_network(read_table(Path(client.download_artifacts(str(version.run_id), PREDICTIONS, folder))))
        except (MlflowException, OSError) as error:
            raise InputError(
                f"{PREDICTIONS} of the run of version {version.version} can't be read ({error}), so it can't be "
                "compared; try again, or, if it is lost, use --force and give a reason."
            ) from None


def _crown(client: MlflowClient, version: ModelVersion, previous: ModelVersion | None, record: dict[str, str]) -> None:
    """Record why, then move the alias: a kill in between leaves the champion as it was."""
    tags = {**record, "promoted_at": _now(), PREVIOUS: _number(previous), "rolled_back_at": None}
    for name, value in tags.items():
        if value:
            client.set_model_version_tag(REGISTERED_MODEL, version.version, name, value)
        elif name in version.tags:  # of an earlier promotion
            client.delete_model_version_tag(REGISTERED_MODEL, version.version, name)
    client.set_registered_model_alias(REGISTERED_MODEL, ALIAS, version.version)


@contextmanager
def _registry(root: Path) -> Iterator[MlflowClient]:
    """The registry, for one promotion at a time on this machine.

    Raises:
        InputError: the registry lacks the model, or a version that is looked up.
    """
    from mlflow.exceptions import MlflowException

    (root / "runs").mkdir(exist_ok=True)
    with server_needed(root), FileLock(root / "runs" / ".promotion.lock"):
        try:
            yield open_store(root)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise InputError(
                f"{error.message}: `dvc repro` trains and registers a model; the MLflow UI lists those of the registry "
                f"{tracking_uri(root)}."
            ) from None


def _champion(client: MlflowClient) -> ModelVersion | None:
    number = client.get_registered_model(REGISTERED_MODEL).aliases.get(ALIAS)
    return client.get_model_version(REGISTERED_MODEL, str(number)) if number else None


def _number(version: ModelVersion | None) -> str | None:
    return str(version.version) if version else None  # its type differs between MLflow's stores


def _may_know_its_test(version: ModelVersion) -> bool:
    return UNKNOWN in version.tags.get("claim", "")


def _claims(candidate: ModelVersion, champion: ModelVersion) -> str:
    """What the two figures mean, where that differs."""
    ours, theirs = (version.tags.get("claim", "unknown") for version in (candidate, champion))
    return "" if ours == theirs else f"; its figures: {ours}; those of version {champion.version}: {theirs}"


def _judged_before(client: MlflowClient, candidate: ModelVersion) -> str:
    """How often the gate has used these test speakers before: each use makes a lucky version more likely."""
    others = [
        version
        for version in client.search_model_versions(f"name = '{REGISTERED_MODEL}'")
        if version.tags.get("dataset_digest") == candidate.tags.get("dataset_digest")
        and JUDGED in version.tags
        and _number(version) != _number(candidate)
    ]
    if not others:
        return ""
    were = "versions were" if len(others) > 1 else "version was"
    return f"; {len(others)} other {were} judged on these clips before, and the best of many looks better than it is"


def _synthetic(version: ModelVersion) -> bool:
    return version.tags.get("corpus") == SAMPLE_CORPUS


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--version", type=int, help="number of the version to promote")
    what.add_argument("--rollback", action="store_true", help="return to the previous champion")
    parser.add_argument("--force", action="store_true", help="promote without the gate; needs --reason")
    parser.add_argument("--reason", default="", help="recorded with the promotion")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="settings file (default: params.yaml)")
    arguments = parser.parse_args()
    if arguments.force != bool(arguments.reason.strip()):
        parser.error("--force and --reason TEXT go together")
    with exit_with_message():
        load_settings(arguments.params)  # reports a missing or invalid file
        if arguments.rollback:
            print(rollback(arguments.params))
        else:
            print(promote(arguments.params, arguments.version, arguments.reason.strip()))


if __name__ == "__main__":
    main()
