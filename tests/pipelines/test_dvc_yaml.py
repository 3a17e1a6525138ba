"""dvc.yaml and the steps agree on what depends on what."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml
from imports import reachable

from cfnsr.config import ProfileSettings

ROOT = Path(__file__).resolve().parents[2]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize("stage", ["faces", "mfcc", "train"])
def test_what_makes_a_step_redo_its_work_makes_dvc_run_it(stage):
    assert set(import_module(f"components.{stage}").CODE) <= set(DVC["stages"][stage]["deps"])


# Sources that can't change what a stage makes: the settings' values are params of the stage, and all are spelled out.
PLUMBING = {
    "cfnsr/__init__.py",
    "cfnsr/config.py",
    "cfnsr/errors.py",
    "cfnsr/files.py",
    "cfnsr/layout.py",
    "cfnsr/operations.py",
    "cfnsr/parallel.py",
    "cfnsr/ravdess.py",
    "cfnsr/registry.py",
    "cfnsr/section.py",
    "components/__init__.py",
    "components/compare.py",
    "components/data_stages.py",
    "components/results.py",
    "components/runner.py",
    "pipelines/__init__.py",
    "pipelines/prefect_setup.py",
    "pipelines/reports.py",
    "pipelines/run_settings.py",
}
# A stage reads what these have written; that is a dependency as data.
READERS = {
    "faces": {"cfnsr/manifest.py"},
    "mfcc": {"cfnsr/manifest.py"},
    "train": {"cfnsr/manifest.py", "cfnsr/packed.py", "cfnsr/mfcc.py", "cfnsr/faces", "cfnsr/media"},
}


@pytest.mark.parametrize("stage", DVC["stages"])
def test_a_change_of_code_that_makes_a_stages_output_runs_the_stage(stage):
    module = DVC["stages"][stage]["cmd"].removeprefix("python -m ")
    covered = [*DVC["stages"][stage]["deps"], *PLUMBING, *READERS.get(stage, ())]
    missing = [
        path.as_posix()
        for path in reachable(module)
        if not any(path == Path(dep) or Path(dep) in path.parents for dep in covered)
    ]
    assert missing == []


@pytest.mark.parametrize("stage", DVC["stages"])
def test_every_source_a_stage_depends_on_exists(stage):
    sources = [dep for dep in DVC["stages"][stage]["deps"] if not dep.startswith("data/")]
    assert sources
    assert all((ROOT / source).exists() for source in sources)


def test_every_section_of_the_settings_belongs_to_a_stage():
    named = {param.removeprefix("${profile}.") for stage in DVC["stages"].values() for param in stage["params"]}
    assert named | {"tune", "promote"} == set(ProfileSettings.model_fields)


@pytest.mark.parametrize("profile", ["sample", "ravdess"])
def test_every_setting_is_spelled_out(profile):
    """But for the download sources that a profile does not use."""
    spelled = PARAMS[profile]
    settings = ProfileSettings.model_validate(spelled).model_dump(mode="json")
    assert {name: spelled[name] for name in spelled if name != "dataset"} == {
        name: settings[name] for name in settings if name != "dataset"
    }


def test_the_ravdess_profile_is_the_papers():
    settings = ProfileSettings.model_validate(PARAMS["ravdess"])
    default = ProfileSettings.model_validate({"dataset": {"source": "zenodo"}})
    assert settings.model == default.model
    assert (settings.mfcc.coefficients, settings.mfcc.frames) == (13, 212)
    assert (settings.faces.frames, settings.faces.size) == (30, 224)
    assert (settings.train.fusion.epochs, settings.train.fusion.batch_size, settings.train.fusion.lr) == (70, 16, 1e-3)
