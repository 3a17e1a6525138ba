"""A study that several workers share, some of which are killed."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import optuna
import pytest
from helpers.paths import PROJECT
from helpers.running_programs import kill, running, wait_for
from optuna.trial import TrialState

from cfnsr.config.search import TuneSettings
from cfnsr.errors import InputError
from components.search import study as study_module
from components.search.study import RETRIES, HopelessTrialError, SharedStudy, first_number

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

# A worker whose trials leave a file when they begin, and wait for permission to end.
WORKER = """
import sys, time
from pathlib import Path
from cfnsr.config.search import TuneSettings
from components.search.study import SharedStudy

folder, trials, patient = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "patient"

def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    (folder / f"begun-{trial.number}").write_text(str(x))
    while patient and not (folder / "go").exists():
        time.sleep(0.02)
    return x

SharedStudy(folder, TuneSettings(trials=trials)).work(objective)
"""


def command(folder: Path, trials: int, kind: str) -> list[str]:
    return [sys.executable, "-c", WORKER, str(folder), str(trials), kind]


def shared(folder: Path, trials: int = 6, **settings: int) -> SharedStudy:
    return SharedStudy(folder / "study", TuneSettings(trials=trials, **settings))


def uniform(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0, 1)


def test_a_study_has_as_many_trials_as_requested(tmp_path):
    for trials in (3, 3, 5):
        shared(tmp_path, trials).work(uniform)
        assert len(shared(tmp_path, trials).study.trials) == trials


def test_draws_depend_on_the_seed_and_the_number_of_a_trial_only(tmp_path):
    whole = shared(tmp_path / "whole", 6, startup_trials=3)
    whole.work(uniform)
    for trials in (1, 4, 6):
        part = shared(tmp_path / "part", trials, startup_trials=3)
        part.work(uniform)
    draws = [[trial.params["x"] for trial in study.study.trials] for study in (whole, part)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 6
    other = shared(tmp_path / "other", 6, startup_trials=3, seed=1)
    other.work(uniform)
    assert not set(draws[0]) & {trial.params["x"] for trial in other.study.trials}


def test_an_interrupted_search_has_the_trials_of_one_that_is_not(tmp_path):
    whole, parted = (shared(tmp_path / name, 6, startup_trials=3) for name in ("whole", "parted"))

    def reported(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        trial.report(x / 2, 0)
        return x

    def interrupted(trial: optuna.Trial) -> float:
        if trial.number == 1:
            raise KeyboardInterrupt  # before it draws
        if trial.number == 4:
            reported(trial)
            raise KeyboardInterrupt
        # What an earlier attempt has reported is not reported again.
        return (
            trial.suggest_float("x", 0, 1) if first_number(trial.study.trials[trial.number]) == 4 else reported(trial)
        )

    whole.work(reported)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            parted.work(interrupted)
    parted.work(interrupted)
    ended = [
        [
            (each.params, each.intermediate_values, each.value)
            for each in study.study.trials
            if each.state.name != "FAIL"
        ]
        for study in (whole, parted)
    ]
    assert ended[0] == ended[1]
    assert len(ended[0]) == 6


def test_a_trial_that_a_killed_worker_has_queued_again_is_queued_once(tmp_path):
    study = shared(tmp_path, 1)
    trial = study.study.ask()
    study_module._RETRY(study.study, study._frozen(trial.number))  # the worker was killed before the trial was failed
    study.work(uniform)
    assert [each.state for each in study.study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_hopeless_trials_count_and_interrupted_ones_are_queued_again(tmp_path):
    study = shared(tmp_path, 2)

    def hopeless(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1)
        raise HopelessTrialError("the loss became nan")

    study.work(hopeless)
    assert [trial.state for trial in study.study.trials] == [TrialState.FAIL] * 2

    def interrupted(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1)
        raise KeyboardInterrupt

    study = shared(tmp_path, 3)
    with pytest.raises(KeyboardInterrupt):
        study.work(interrupted)
    lost, waiting = study.study.trials[-2:]
    assert (lost.state, waiting.state) == (TrialState.FAIL, TrialState.WAITING)
    study.work(uniform)
    again = study.study.trials[-1]
    assert (again.state, again.params, first_number(again)) == (TrialState.COMPLETE, lost.params, lost.number)
    assert len(study.study.trials) == 4


def test_a_trial_that_ends_every_worker_is_given_up(tmp_path):
    """What it drew is what kills them."""

    def deadly(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        if first_number(trial.study.trials[trial.number]) == 0:
            raise RuntimeError("out of memory")
        return x

    for _ in range(1 + RETRIES):
        with pytest.raises(RuntimeError):
            shared(tmp_path, 2).work(deadly)
    study = shared(tmp_path, 2)
    study.work(deadly)
    states = [trial.state for trial in study.study.trials]
    assert states == [TrialState.FAIL] * (1 + RETRIES) + [TrialState.COMPLETE]


def test_a_line_that_was_cut_short_does_not_lose_the_study(tmp_path):
    shared(tmp_path, 2).work(uniform)
    with (tmp_path / "study" / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code": 4, "worker_id": "x", "study')  # the disk was full
    study = shared(tmp_path, 3)
    study.work(uniform)
    assert [trial.state for trial in study.study.trials] == [TrialState.COMPLETE] * 3
    assert len(shared(tmp_path, 3).study.trials) == 3


def test_a_bad_fold_after_a_good_one_is_pruned(tmp_path):
    """Steps 0 to 2 are of the first fold; the trial was the best there."""
    study = shared(tmp_path, startup_trials=4).study
    for _ in range(4):
        study.add_trial(optuna.create_trial(value=0.8, intermediate_values=dict.fromkeys(range(6), 0.8)))
    trial = study.ask()
    for step, share in enumerate((0.82, 0.82, 0.82, 0.8)):
        trial.report(share, step)
        assert not trial.should_prune(), step
    trial.report(0.4, 4)
    assert trial.should_prune()


def test_a_missing_database_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTUNA_STORAGE", "sqlite:////nowhere/study.db")
    with pytest.raises(InputError, match="OPTUNA_STORAGE can't be used"):
        shared(tmp_path)


@pytest.mark.slow
def test_a_killed_trial_is_run_again_by_the_worker_that_is_left(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    with (
        running(command(folder, 5, "patient"), cwd=PROJECT) as first,
        running(command(folder, 5, "patient"), cwd=PROJECT),
    ):
        wait_for(first, lambda: len(list(folder.glob("begun-*"))) == 2)
        kill(first)
        (folder / "go").touch()
        study = shared(tmp_path, 5)  # and a third one, which begins after the kill
        study.work(uniform)
    trials = study.study.trials
    (killed,) = [trial for trial in trials if trial.state == TrialState.FAIL]
    (again,) = [trial for trial in trials if first_number(trial) != trial.number]
    assert first_number(again) == killed.number
    assert again.params == killed.params
    assert sum(trial.state == TrialState.COMPLETE for trial in trials) == 5
    assert len(trials) == 6


@pytest.mark.slow
def test_a_living_workers_trial_is_left_alone(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    with running(command(folder, 1, "patient"), cwd=PROJECT) as worker:
        wait_for(worker, lambda: bool(list(folder.glob("begun-*"))))
        study = shared(tmp_path, 2)
        done = threading.Thread(target=study.work, args=(uniform,))  # does the second one, then waits for the first
        done.start()
        wait_for(worker, lambda: len(shared(tmp_path, 2).study.get_trials(states=FINISHED)) == 1)
        (folder / "go").touch()
        done.join()
    assert [trial.state for trial in study.study.trials] == [TrialState.COMPLETE] * 2
