"""Features, settings and code that change at the wrong moment: never mixed, never taken for something else."""

import re
import sys

import pyarrow.parquet as pq
import pytest
import yaml
from helpers.feature_files import write_features, write_params
from helpers.mlflow_runs import client
from helpers.paths import PROJECT
from lightning import Callback

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import InputError
from cfnsr.features.mfcc import SCHEMA
from cfnsr.features.packed import read_key, write_packed
from components import faces, manifest, mfcc, train
from components.output_lock import making
from components.step import run_step
from components.tracking.runs import RunTracker
from pipelines.studies import experiments

FAST = {"pretrain": {"audio": {"epochs": 2, "batch_size": 8, "lr": 0.003}}}


@pytest.fixture
def settings(tmp_path) -> Settings:
    settings = write_params(tmp_path, train=FAST, model={"modality": "audio"})
    write_features(settings)
    return settings


def replace_voices(settings: Settings) -> bytes:
    """Other MFCC of the same key, as settings that were changed and brought back again leave them. Returns the old."""
    path = settings.layout.mfcc
    before = path.read_bytes()
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["mfcc"] = [[value + 1 for value in coefficient] for coefficient in row["mfcc"]]
    write_packed(path, rows, SCHEMA, read_key(path))
    return before


@pytest.mark.parametrize(("section", "changed"), [("faces", {"margin": 0.5}), ("mfcc", {"n_mels": 64})])
def test_features_of_other_settings_are_not_trained_on(settings, section, changed):
    content = yaml.safe_load(settings.params_file.read_text())
    content["small"][section] |= changed
    settings.params_file.write_text(yaml.safe_dump(content))
    file = "Actor_01.parquet" if section == "faces" else "mfcc.parquet"
    with pytest.raises(InputError, match=f"{file} was not made with the settings, .* run `dvc repro faces mfcc`"):
        train.train(load_settings(settings.params_file))


def test_features_of_an_actor_who_is_no_longer_there_are_not_trained_on(settings):
    stray = settings.layout.faces / "Actor_24.parquet"
    stray.write_bytes((settings.layout.faces / "Actor_01.parquet").read_bytes())
    with pytest.raises(InputError, match=r"Actor_24\.parquet was not made"):
        train.plan(settings)


@pytest.mark.parametrize(
    ("stage", "output"), [(manifest.manifest, "manifest"), (faces.faces, "faces"), (mfcc.mfcc, "mfcc")]
)
def test_a_stage_does_not_work_beside_one_that_its_dvc_has_left_running(settings, stage, output):
    settings.layout.raw.mkdir()
    with (
        making(settings, getattr(settings.layout, output)),
        pytest.raises(InputError, match=r"another process is making .* wait for it, or end it"),
    ):
        stage(settings)


def test_a_fold_is_not_trained_on_other_data_than_the_others(settings):
    first, second = train.plan(settings)[:2]
    train.train_one(settings, first)
    before = replace_voices(settings)
    with pytest.raises(InputError, match=r"settings, data or code have changed since the run .* was begun, and fold 1"):
        train.train_one(settings, second)
    settings.layout.mfcc.write_bytes(before)
    assert train.train_one(settings, second).fold == 1


class Replace(Callback):
    """Somebody makes features anew while a fold is trained on them."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.before = settings, None

    def on_train_epoch_end(self, *_: object) -> None:
        if self.before is None:
            self.before = replace_voices(self.settings)


def test_a_fold_whose_data_were_replaced_is_dropped(settings):
    fold = train.plan(settings)[0]
    replace = Replace(settings)
    with pytest.raises(InputError, match="were replaced while fold 0 was trained on them, so it is dropped"):
        train.train_one(settings, fold, (replace,))
    assert not train.fold_folder(settings, 0).exists()
    settings.layout.mfcc.write_bytes(replace.before)
    assert train.train_one(settings, fold).fold == 0


def test_what_a_finished_fold_could_not_tell_is_sent_at_the_next_start(settings):
    train.train(settings)
    tracker = RunTracker(settings)
    run_id = tracker.fold(0)
    tracker.outbox(run_id).metrics({"late": 1.0})
    train.plan(settings)
    assert client(settings).get_run(run_id).data.metrics["late"] == 1.0


@pytest.mark.parametrize(("stage", "fails"), [("faces", True), (None, False)])
def test_dvc_does_not_take_the_work_of_earlier_settings_for_that_of_new_ones(
    settings, monkeypatch, capsys, stage, fails
):
    def step(_: Settings) -> None:
        content = yaml.safe_load(settings.params_file.read_text())
        content["small"]["faces"]["margin"] = 0.5
        content["small"]["train"]["seed"] = 7  # not this stage's
        settings.params_file.write_text(yaml.safe_dump(content))

    monkeypatch.setattr(sys, "argv", ["step", "--params", str(settings.params_file)])
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if stage:
        monkeypatch.setenv("DVC_STAGE", stage)
    if not fails:
        run_step(step, None, ("faces",))
        return
    with pytest.raises(SystemExit) as ended:
        run_step(step, None, ("faces",))
    assert ended.value.code == 2
    assert "small.faces in params.yaml was changed while this ran" in capsys.readouterr().err


def test_what_a_stage_compares_is_what_dvc_writes_down():
    stages = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
    for stage in stages.values():
        module = stage["cmd"].split()[-1].replace(".", "/")
        (compared,) = re.findall(r"run_step\(\w+, __doc__, \(([^)]*)\)\)", (PROJECT / f"{module}.py").read_text())
        named = [name.removeprefix("${profile}.") for name in stage["params"] if name.startswith("${profile}.")]
        assert re.findall(r"\w+", compared) == named


def test_measured_recipes_leave_the_profiles_own_data_alone(tmp_path):
    for name in ("params.yaml", "experiments.yaml"):
        (tmp_path / name).write_text((PROJECT / name).read_text())
    own = tmp_path / "data/ravdess/raw/Actor_01/01-01-01-01-01-01-01.mp4"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"hours of download")
    folder = tmp_path / "soundtracks"
    folder.mkdir()
    (folder / "03-01-01-01-01-01-01.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match="manifest: 1 of 1 takes and files have something wrong"):
        list(experiments.run_experiments(tmp_path, folder))
    assert own.exists()
    assert [path.name for path in (tmp_path / "data/experiments/raw/Actor_01").iterdir()] == [
        "03-01-01-01-01-01-01.wav"
    ]
