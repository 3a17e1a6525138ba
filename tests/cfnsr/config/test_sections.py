import re
import subprocess
import sys

import pytest
import yaml
from helpers.paths import PROJECT

from cfnsr.config.load import load_settings
from cfnsr.config.sections import UNUSED_KEYS, MfccSettings, is_unused
from cfnsr.errors import InputError


def write_params(folder, text):
    (folder / "params.yaml").write_text(text)
    return folder / "params.yaml"


def sample_with(folder, section, **values):
    """The project's own settings, with some values of the sample profile changed."""
    content = yaml.safe_load((PROJECT / "params.yaml").read_text())
    target = content["sample"]
    for key in section.split("."):
        target = target[key]
    target.update(values)
    return write_params(folder, yaml.safe_dump(content))


def test_the_ravdess_profile_has_the_published_values():
    params = load_settings(PROJECT / "params.yaml", "ravdess").params
    assert (params.mfcc.coefficients, params.mfcc.frames) == (13, 212)
    assert (params.faces.frames, params.faces.size) == (30, 224)
    assert params.dataset.actors == tuple(range(1, 25))


def test_a_precision_may_be_a_number(tmp_path):
    assert load_settings(sample_with(tmp_path, "train", precision=32)).params.train.precision == "32"


def test_tuned_recipes_are_marked():
    for preset, tuned in (("modern", True), ("published", False)):
        assert load_settings(PROJECT / "params.yaml", "ravdess", {"train.preset": preset}).params.train.tuned is tuned


@pytest.mark.parametrize("modality", ["audio", "video", "both"])
def test_unused_keys_exist(modality):
    plain = load_settings(PROJECT / "params.yaml").params.model_dump()
    for key in UNUSED_KEYS[modality]:
        section = plain
        for part in key.split("."):
            section = section[part]
    assert not is_unused("train.seed", modality)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("faces", {"margn": 0.2}, "sample.faces.margn is not a known key; did you mean 'margin'?"),
        ("train.pretrain.audio", {"lrr": 3}, "sample.train.pretrain.audio.lrr is not a known key; did you mean 'lr'?"),
        (
            "train",
            {"devices": "all"},
            "sample.train.devices is 'all': input should be a valid integer",
        ),
        ("train", {"preset": ["modern"]}, "train.preset is ['modern']; params.yaml has the presets modern, published."),
        ("manifest", {"zzz": 3}, "sample.manifest.zzz is not a known key; known keys are max_bad_share."),
        ("mfcc", {"hop": 0}, "sample.mfcc.hop is 0: input should be greater than 0."),
        ("mfcc", {"duration": 0.1}, "sample.mfcc: duration and hop give 7 MFCC frames; the network needs at least 64."),
        ("dataset", {"source": "youtube"}, "sample.dataset.source is 'youtube': input should be 'sample', 'local'"),
        ("dataset", {"source": "local"}, "sample.dataset: source: local needs path: the folder that holds"),
        ("dataset", {"source": "s3"}, "sample.dataset: source: s3 needs s3_bucket: the mirror's bucket."),
        ("dataset", {"actors": [1, 25]}, "sample.dataset: actors must be different numbers from 1 to 24"),
        ("dataset", {"s3_endpoint": "http://me:x@host"}, "s3_endpoint: a URL here must not contain a user, a password"),
        ("dataset", {"zenodo_url": "http://h/?token=x"}, "zenodo_url: a URL here must not contain a user, a password"),
        ("model", {"layers": [1, 2]}, "sample.model.layers.2 is missing; add it."),
        ("train.fusion", {"lr": float("nan")}, "sample.train.fusion.lr is nan: input should be"),
    ],
)
def test_a_message_names_the_key_of_an_invalid_value(tmp_path, section, values, message):
    path = sample_with(tmp_path, section, **values)
    with pytest.raises(InputError) as error:
        load_settings(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


class TestFile:
    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match=r"params\.yaml does not exist"):
            load_settings(tmp_path / "params.yaml")

    def test_not_yaml(self, tmp_path):
        with pytest.raises(InputError, match="is not valid YAML") as error:
            load_settings(write_params(tmp_path, "profile: [sample\n"))
        assert "\n" not in str(error.value)

    def test_without_profiles(self, tmp_path):
        with pytest.raises(InputError, match="profile: NAME"):
            load_settings(write_params(tmp_path, ""))

    def test_an_unknown_profile(self):
        with pytest.raises(InputError, match="no profile 'rawdess', only ravdess, sample"):
            load_settings(PROJECT / "params.yaml", "rawdess")

    @pytest.mark.parametrize("content", [" 3", " {dataset: 3}", " {}"])
    def test_an_invalid_section(self, tmp_path, content):
        with pytest.raises(InputError, match=r"params\.yaml: sample"):
            load_settings(write_params(tmp_path, f"profile: sample\nsample:{content}\n"))


def test_mfcc_frames_count_both_edges():
    assert MfccSettings(sample_rate=44100, duration=2.45, hop=512).frames == 212
    assert MfccSettings(sample_rate=16000, duration=2.0, hop=256).frames == 126


@pytest.mark.parametrize(
    "module", ["cfnsr.config.load", "components.manifest", "components.mfcc", "cfnsr.corpus.manifest"]
)
def test_slow_libraries_are_not_imported_with(module):
    slow = {"torch", "librosa", "torchaudio", "mlflow", "prefect", "lightning"}
    code = f"import sys, {module}; print(*({slow!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


OVERRIDES = {"train.fusion.lr": 3e-4, "faces": {"frames": 16}}


def test_overrides_replace_single_values_and_whole_sections():
    file = load_settings(PROJECT / "params.yaml", "ravdess").params
    settings = load_settings(PROJECT / "params.yaml", "ravdess", OVERRIDES).params
    assert settings.train.fusion.lr == 3e-4
    assert settings.train.fusion.epochs == file.train.fusion.epochs
    assert settings.faces.frames == 16
    assert load_settings(PROJECT / "params.yaml", "ravdess").params == file


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"trian.fusion.lr": 1}, "ravdess.trian is not a known key; did you mean 'train'?"),
        ({"train.fusion.lr": -1}, "ravdess.train.fusion.lr is -1"),
    ],
)
def test_invalid_overrides_are_refused(overrides, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_settings(PROJECT / "params.yaml", "ravdess", overrides)


def test_a_variant_shares_the_data_but_not_the_run():
    profile = load_settings(PROJECT / "params.yaml", "ravdess").layout
    variant = load_settings(PROJECT / "params.yaml", "ravdess", OVERRIDES, "short").layout
    assert (variant.data, variant.manifest) == (profile.data, profile.manifest)
    assert variant.run.name == "ravdess-short"
    assert variant.metrics.name == "ravdess-short.json"
    assert len({profile.run, variant.run, profile.plots, variant.plots, profile.metrics, variant.metrics}) == 6


class TestPresets:
    def test_a_preset_gives_missing_values(self):
        sample = load_settings(PROJECT / "params.yaml", "sample").params.train
        modern = load_settings(PROJECT / "params.yaml", "ravdess").params.train
        assert sample.fusion.ema == modern.fusion.ema > 0
        assert sample.fusion.epochs != modern.fusion.epochs

    def test_an_override_takes_precedence_over_the_preset(self):
        overrides = {"train.preset": "published", "train.fusion.lr": 3e-4}
        fusion = load_settings(PROJECT / "params.yaml", "ravdess", overrides).params.train.fusion
        assert (fusion.lr, fusion.optimizer) == (3e-4, "adam")

    def test_an_unknown_preset(self):
        with pytest.raises(InputError, match=r"preset is 'modem'; params\.yaml has the presets published, modern"):
            load_settings(PROJECT / "params.yaml", "ravdess", {"train.preset": "modem"})

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"train.standardize_mfcc": False}, "augment_audio needs standardize_mfcc: true"),
            ({"train.pretrain.video.augment_audio": True}, "video can't use augment_audio"),
            ({"mfcc.speeds": []}, r"augment_audio needs mfcc\.speeds: at least \[1\.0\]"),
            ({"mfcc.speeds": [0.9]}, r"speeds must start with 1\.0"),
            ({"train.fusion.epochs": 0}, "the phase that trains model.modality both has 0 epochs"),
        ],
    )
    def test_inconsistent_settings(self, overrides, message):
        with pytest.raises(InputError, match=message):
            load_settings(PROJECT / "params.yaml", "ravdess", overrides)
