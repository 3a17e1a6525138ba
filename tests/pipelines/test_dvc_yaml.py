"""dvc.yaml and the steps agree on what depends on what."""

from pathlib import Path

import mlflow
import pytest
import yaml
from helpers.dvc_stages import STAGES, earlier_stages, outputs
from helpers.feature_files import write_features
from helpers.imports import reachable
from helpers.paths import PROJECT
from helpers.project_copy import copy_project, make_small, run

from cfnsr.config.load import load_settings
from cfnsr.config.sections import ProfileSettings

PARAMS = yaml.safe_load((PROJECT / "params.yaml").read_text())


# Sources that can't change what a stage makes. The values of the settings are params of the stage.
PLUMBING = {
    "cfnsr/__init__.py",
    "cfnsr/config",
    "cfnsr/corpus/ravdess.py",
    "cfnsr/errors.py",
    "cfnsr/files.py",
    "cfnsr/parallel.py",
    "cfnsr/registry.py",
    "cfnsr/scratch.py",
    "cfnsr/text.py",
    "components/__init__.py",
    "components/results.py",  # prints
    "components/run.py",
    "components/step.py",
    "components/tracking",
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_change_of_code_that_makes_a_stages_output_runs_the_stage(stage):
    """Code that the stage uses is a dependency of the stage, or of an earlier one, whose output then changes."""
    covered = {dep for each in {stage, *earlier_stages(stage)} for dep in STAGES[each]["deps"]} | PLUMBING
    assert [
        path.as_posix()
        for path in reachable(STAGES[stage]["cmd"].removeprefix("python -m "))
        if not any(path == Path(dep) or Path(dep) in path.parents for dep in covered)
    ] == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_source_a_stage_depends_on_exists(stage):
    made = set().union(*map(outputs, STAGES))
    sources = set(STAGES[stage]["deps"]) - made
    assert sources
    assert all((PROJECT / source).exists() for source in sources)


def test_every_section_of_the_settings_belongs_to_a_stage():
    named = {param.removeprefix("${profile}.") for stage in STAGES.values() for param in stage.get("params", ())}
    assert named | {"tune", "promote"} == set(ProfileSettings.model_fields) | {"presets"}


@pytest.mark.parametrize("profile", ["sample", "ravdess"])
def test_every_setting_is_spelled_out(profile):
    """Except for download sources that the profile does not use, and values from its training preset."""
    spelled = {name: section for name, section in PARAMS[profile].items() if name != "dataset"}
    settings = load_settings(PROJECT / "params.yaml", profile).params.model_dump(mode="json", exclude={"dataset"})
    recipe = PARAMS["presets"][spelled["train"]["preset"]]
    assert set(spelled) == set(settings)
    for name, section in spelled.items():
        if name == "train":
            assert set(section) | set(recipe) == set(settings["train"])
            assert all(section[key] == settings["train"][key] for key in set(section) - {"pretrain", "fusion"})
        else:
            assert section == settings[name]


@pytest.mark.parametrize("preset", ["published", "modern"])
def test_every_setting_of_a_preset_is_spelled_out(preset):
    spelled = PARAMS["presets"][preset]
    settings = load_settings(PROJECT / "params.yaml", "ravdess", {"train.preset": preset}).params.train
    assert spelled == settings.model_dump(mode="json", include=set(spelled))


def test_the_network_of_the_ravdess_profile_is_the_papers():
    settings = load_settings(PROJECT / "params.yaml", "ravdess").params
    default = ProfileSettings.model_validate({"dataset": {"source": "zenodo"}})
    assert settings.model == default.model
    assert (settings.mfcc.kind, settings.mfcc.coefficients, settings.mfcc.frames) == ("published", 13, 212)
    assert (settings.faces.frames, settings.faces.size) == (30, 224)


def test_the_published_preset_is_the_papers_recipe():
    train = load_settings(PROJECT / "params.yaml", "ravdess", {"train.preset": "published"}).params.train
    for phase in (train.pretrain.audio, train.pretrain.video, train.fusion):
        assert (phase.epochs, phase.batch_size, phase.optimizer, phase.lr) == (70, 16, "adam", 1e-3)
        off = (phase.ema, phase.mixup, phase.label_smoothing, phase.weight_decay, phase.augment_audio)
        assert off == (0, 0, 0, 0, False)
    assert not train.standardize_mfcc


@pytest.mark.proof
def test_an_experiment_in_a_temporary_copy_uses_the_projects_data_and_its_registry(tmp_path):
    """DVC deletes the copy, and with it everything that was not kept in the project."""
    project = copy_project(tmp_path / "my project")
    make_small(project)
    write_features(load_settings(project / "params.yaml"))
    (project / "data/sample/raw").mkdir()
    (project / "data/sample/raw/README.txt").touch()
    author = "git config user.name newcomer && git config user.email newcomer@example.org"
    assert run(project, f"{author} && git commit --quiet --all -m small").returncode == 0
    # As if the stages had made these files, and `dvc repro` had staged its lock file.
    made = run(project, "dvc commit --force download manifest faces mfcc && git add dvc.lock")
    assert made.returncode == 0, made.stderr
    done = run(project, "dvc exp run --temp --set-param sample.train.folds=1 register")
    assert done.returncode == 0, done.stdout + done.stderr
    started = [line for line in done.stdout.splitlines() if line.startswith("Running stage")]
    assert started == [f"Running stage '{stage}':" for stage in ("train", "evaluate", "register")]
    client = mlflow.MlflowClient(f"sqlite:///{project}/mlflow.db")
    version = client.get_model_version_by_alias("cfn-sr", "challenger")
    assert client.get_run(version.run_id).info.status == "FINISHED"
    assert list((project / "mlartifacts").rglob("model.safetensors"))
    assert not list((project / ".dvc/tmp/exps").rglob("mlflow.db"))
