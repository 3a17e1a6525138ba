"""The command `cfnsr export`."""

import sys

import pytest
from helpers.feature_files import write_features, write_params
from helpers.small_models import write_model

from cfnsr.cli import main


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Settings, features and a model."""
    project = tmp_path_factory.mktemp("project")
    write_features(write_params(project))
    write_model(project / "model.safetensors")
    return project


@pytest.fixture
def export(project, tmp_path, monkeypatch, capsys):
    """Run it in an empty folder; returns exit code, stdout and stderr."""

    def run(*arguments):
        params = ["--params", str(project / "params.yaml")]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["cfnsr", "export", str(project / "model.safetensors"), *arguments, *params])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.slow
def test_onnx_is_the_default_and_needs_no_features(export, tmp_path):
    code, text, _ = export("--params", "nowhere.yaml")
    assert code == 0
    assert "written:    model.onnx" in text
    assert "OpenVINO" in text
    assert "accuracy" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_int8_reports_its_agreement_with_pytorch(export, tmp_path):
    code, text, _ = export("--precision", "int8")
    assert code == 0
    assert "written:    model.int8.onnx" in text
    assert "of 64 clips of 4 speakers" in text
    assert [path.name for path in tmp_path.iterdir()] == ["model.int8.onnx"]


def test_other_formats_and_folders(export, tmp_path):
    assert export("--format", "torch-export", "--out", "there/network.pt2")[0] == 0
    assert export("--format", "safetensors", "--out", "there/network.safetensors", "--check")[0] == 0
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["network.pt2", "network.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "tflite"], "it must be one of onnx, torch-export, safetensors"),
        (["--format", "torch-export", "--precision", "fp16"], "fp16 is for ONNX files"),
        (["--check", "--profile", "ravdess"], "there is no profile 'ravdess'"),
    ],
)
def test_bad_options_are_refused(export, tmp_path, arguments, sentence):
    code, _, stderr = export(*arguments)
    assert code == 2
    assert sentence in stderr
    assert stderr.count("error:") == 1
    assert list(tmp_path.iterdir()) == []
