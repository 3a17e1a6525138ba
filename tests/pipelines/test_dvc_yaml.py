"""dvc.yaml and the steps agree on what depends on what."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from cfnsr.config import ProfileSettings

ROOT = Path(__file__).resolve().parents[2]
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize("stage", ["faces", "mfcc", "train"])
def test_what_makes_a_step_redo_its_work_makes_dvc_run_it(stage):
    assert set(import_module(f"components.{stage}").CODE) <= set(DVC["stages"][stage]["deps"])


@pytest.mark.parametrize("stage", DVC["stages"])
def test_every_source_a_stage_depends_on_exists(stage):
    sources = [dep for dep in DVC["stages"][stage]["deps"] if not dep.startswith("data/")]
    assert sources
    assert all((ROOT / source).exists() for source in sources)


def test_every_section_of_the_settings_belongs_to_a_stage():
    named = {param.removeprefix("${profile}.") for stage in DVC["stages"].values() for param in stage["params"]}
    assert named == set(ProfileSettings.model_fields)


def test_both_profiles_spell_out_the_sections():
    for profile in ("sample", "ravdess"):
        assert set(PARAMS[profile]) == set(ProfileSettings.model_fields)


def test_the_ravdess_profile_is_the_papers():
    settings = ProfileSettings.model_validate(PARAMS["ravdess"])
    default = ProfileSettings.model_validate({"dataset": {"source": "zenodo"}})
    assert settings.model == default.model
    assert (settings.mfcc.coefficients, settings.mfcc.frames) == (13, 212)
    assert (settings.faces.frames, settings.faces.size) == (30, 224)
    assert (settings.train.fusion.epochs, settings.train.fusion.batch_size, settings.train.fusion.lr) == (70, 16, 1e-3)
