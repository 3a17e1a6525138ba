"""The wheel that `pip install` makes of the project, and the requirements that are installed with it."""

import os
import re
import subprocess
import sys
import zipfile

import pytest
from helpers.paths import PROJECT
from helpers.project_copy import copy_project

BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
USE = """
import sys
from cfnsr import cli, files
assert files.__file__.startswith(sys.argv.pop())
assert files.code_digest(["cfnsr/corpus/sample"])
cli.main()
"""


def test_the_wheel_holds_the_library_only_and_works_without_the_checkout(tmp_path):
    project = copy_project(tmp_path / "cfnsr")
    subprocess.run([sys.executable, "-c", BUILD, str(tmp_path)], cwd=project, capture_output=True, check=True)
    (path,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(installed)
    (information,) = installed.glob("*.dist-info")
    assert {entry.name for entry in installed.iterdir()} == {"cfnsr", information.name}
    assert (installed / "cfnsr/serve/page.css").exists()

    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", USE, "--help", str(installed)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "predict" in done.stdout


@pytest.mark.parametrize("kind", ["", "-dev", "-services", "-kubeflow"])
def test_every_requirement_is_pinned_and_has_hashes(kind):
    """pip then refuses any other file; with one hash missing, it would not install at all."""
    text = (PROJECT / f"requirements{kind}.txt").read_text().replace(" \\\n", "")
    lines = text.splitlines()
    assert lines
    for line in lines:
        requirement, *hashes = line.split("    --hash=sha256:")
        assert re.fullmatch(r"[\w.-]+(\[[\w, ]+\])?==[\w.+]+( ; .+)?", requirement), requirement
        assert hashes, requirement
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in hashes), requirement


def test_the_development_requirements_are_those_of_a_user_and_more():
    user, services, development = (
        set(re.findall(r"^([\w.-]+)(?:\[.*?\])?(==\S+)", (PROJECT / name).read_text(), flags=re.MULTILINE))
        for name in ("requirements.txt", "requirements-services.txt", "requirements-dev.txt")
    )
    assert user < services < development
