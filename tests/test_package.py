"""The wheel that `pip install` makes of the project."""

import os
import subprocess
import sys
import zipfile

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
