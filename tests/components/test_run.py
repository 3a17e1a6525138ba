"""Opening a run: its features must be those of the present settings, clips and code."""

import pytest
import yaml
from helpers.feature_files import write_features, write_params
from helpers.mlflow_runs import client
from helpers.paths import PROJECT

from cfnsr.config.load import Settings, load_settings
from cfnsr.errors import InputError
from components import faces, manifest, mfcc, train
from components.run import Run
from components.step import output_lock
from pipelines.studies import experiments

FAST = {"pretrain": {"audio": {"epochs": 2, "batch_size": 8, "lr": 0.003}}}


@pytest.fixture
def settings(tmp_path) -> Settings:
    settings = write_params(tmp_path, train=FAST, model={"modality": "audio"})
    write_features(settings)
    return settings


@pytest.mark.parametrize(("section", "changed"), [("faces", {"margin": 0.5}), ("mfcc", {"n_mels": 64})])
def test_features_of_other_settings_are_not_trained_on(settings, section, changed):
    content = yaml.safe_load(settings.params_file.read_text())
    content["small"][section] |= changed
    settings.params_file.write_text(yaml.safe_dump(content))
    file = "01.parquet" if section == "faces" else "mfcc.parquet"
    with pytest.raises(InputError, match=rf"{file} .*dvc repro faces mfcc"):
        Run.open(load_settings(settings.params_file))


@pytest.mark.parametrize(
    ("stage", "output"), [(manifest.manifest, "manifest"), (faces.faces, "faces"), (mfcc.mfcc, "mfcc")]
)
def test_a_stage_does_not_run_beside_one_that_a_killed_dvc_left_running(settings, stage, output):
    settings.layout.raw.mkdir()
    with (
        output_lock(settings, getattr(settings.layout, output)),
        pytest.raises(InputError, match="another process is writing"),
    ):
        stage(settings)


def test_what_a_finished_fold_could_not_tell_is_sent_at_the_next_start(settings):
    run = Run.open(settings)
    train.train(run)
    tracker = run.tracker
    run_id = tracker.fold(0)
    tracker.outbox(run_id).metrics({"late": 1.0})
    train.prepare(run)
    assert client(settings).get_run(run_id).data.metrics["late"] == 1.0


def test_measured_recipes_leave_the_profiles_own_data_alone(tmp_path):
    for name in ("params.yaml", "experiments.yaml"):
        (tmp_path / name).write_text((PROJECT / name).read_text())
    own = tmp_path / "data/ravdess/raw/Actor_01/01-01-01-01-01-01-01.mp4"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"hours of download")
    folder = tmp_path / "soundtracks"
    folder.mkdir()
    (folder / "03-01-01-01-01-01-01.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match="manifest: 1 of 1 clips"):
        list(experiments.run_experiments(tmp_path, folder))
    assert own.exists()
    assert [path.name for path in (tmp_path / "data/experiments/raw/Actor_01").iterdir()] == [
        "03-01-01-01-01-01-01.wav"
    ]
