"""The command `cfnsr`."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.feature_files import write_params
from helpers.paths import PROJECT
from helpers.yunet_files import write_white_block_detector

from cfnsr import __version__


def cfnsr(*arguments: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cfnsr.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_version():
    assert cfnsr("version").stdout.strip() == __version__


def test_help_imports_nothing_slow():
    slow = "{'torch', 'mlflow', 'prefect', 'lightning', 'cv2', 'pandas'}"
    code = f"import sys; import cfnsr.cli; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout.strip() == "[]"


def test_doctor_finds_everything_the_sample_profile_needs(tmp_path):
    write_params(tmp_path)
    done = cfnsr("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything that the profile small needs is available" in done.stdout
    assert "MISS" not in done.stdout


@pytest.mark.parametrize(
    ("dataset", "remedy"),
    [
        ({"source": "local", "path": "nowhere"}, "set dataset.path in params.yaml"),
        ({"source": "zenodo", "zenodo_url": "http://127.0.0.1:1"}, "check the network or dataset.zenodo_url"),
        (
            {"source": "s3", "s3_bucket": "none", "s3_endpoint": "my-server:9000"},
            "check dataset.s3_bucket, dataset.s3_endpoint",
        ),
    ],
)
def test_doctor_suggests_a_remedy_for_an_unreachable_source(tmp_path, dataset, remedy):
    write_params(tmp_path, dataset=dataset)
    done = cfnsr("doctor", cwd=tmp_path)
    assert done.returncode == 2
    assert remedy in done.stdout
    assert done.stderr.startswith("error: 1 of the checks")


def test_doctor_shows_no_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    write_params(tmp_path)
    done = cfnsr("doctor", cwd=tmp_path)
    assert "MISS tracking         http://127.0.0.1:1/health does not answer" in done.stdout
    assert "secret" not in done.stdout + done.stderr


def test_doctor_requires_space_for_two_copies_of_a_local_folder(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    write_params(tmp_path, dataset={"source": "local", "path": "clips"})
    assert "MISS" not in cfnsr("doctor", cwd=tmp_path).stdout
    with (folder / "01-01-05-02-01-01-12.mp4").open("wb") as file:  # sparse
        file.truncate(shutil.disk_usage(folder).free * 3 // 4)
    done = cfnsr("doctor", cwd=tmp_path)
    assert done.returncode == 2
    assert "MISS disk " in done.stdout
    assert "free some space" in done.stdout
    assert done.stdout.count("MISS") == 1


def test_doctor_looks_for_the_yunet_file(tmp_path):
    write_params(tmp_path, faces={"yunet": "models/yunet.onnx"})
    missing = cfnsr("doctor", cwd=tmp_path)
    assert missing.returncode == 2
    assert f"MISS face detector    The YuNet file {tmp_path}/models/yunet.onnx is missing" in missing.stdout
    assert "set faces.yunet in params.yaml" in missing.stdout
    (tmp_path / "models").mkdir()
    write_white_block_detector(tmp_path / "models" / "yunet.onnx")
    found = cfnsr("doctor", cwd=tmp_path)
    assert found.returncode == 0, found.stdout
    assert f"YuNet {tmp_path}/models/yunet.onnx" in found.stdout


def test_bad_settings_end_with_one_sentence(tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"profile": "small", "small": {"datasett": {}}}))
    done = cfnsr("doctor", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'dataset'?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("models:/cfn-sr@champion", "there is no model registry here"),
        (".", "has no model.safetensors"),
    ],
)
def test_predict_without_a_model_says_how_to_get_one(tmp_path, model, sentence):
    done = cfnsr("predict", "clip.mp4", "--model", model, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
