import errno
import subprocess
import sys

import pytest
from helpers.paths import PROJECT

from cfnsr.errors import exit_with_message


def outcome_of(error, capsys):
    """Exit code and stderr of a command that raises `error`."""
    with pytest.raises(SystemExit) as end, exit_with_message():
        raise error
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSPC, "No space left on device", "clips.csv"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk(capsys, error):
    code, text = outcome_of(error, capsys)
    assert code == 2
    assert text.startswith("error: the disk is full")
    assert text.endswith("free some space and run the same command again to continue.\n")
    assert text.count("\n") == 1


def test_a_copy_to_a_full_disk_names_the_copy(capsys):
    error = OSError(errno.ENOSPC, "No space left on device", "clip.mp4", None, "data/clip.mp4")
    assert "the disk is full while writing data/clip.mp4: " in outcome_of(error, capsys)[1]


def test_ctrl_c_says_how_to_continue(capsys):
    assert outcome_of(KeyboardInterrupt(), capsys) == (
        130,
        "\nstopped: run the same command again to continue.\n",
    )


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError()])
def test_bugs_keep_their_traceback(error, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # restored afterwards
    with pytest.raises(type(error)), exit_with_message():
        raise error


def test_a_traceback_shows_no_password_and_no_control_character():
    code = (
        "from cfnsr.errors import exit_with_message\n"
        "with exit_with_message():\n"
        "    try:\n"
        "        raise KeyError('http://me:secret@host')\n"
        "    except KeyError as cause:\n"
        "        raise RuntimeError('\\x1b[2J of postgresql://me:secret@db/x') from cause\n"
    )
    end = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert end.returncode == 1
    assert end.stderr.startswith("Traceback")
    assert "KeyError: 'http://host'\n" in end.stderr
    assert end.stderr.endswith("RuntimeError: \\x1b[2J of postgresql://db/x\n")
    assert "secret" not in end.stderr


def test_a_command_shows_no_traceback(tmp_path):
    command = [sys.executable, "-m", "components.manifest", "--params", str(tmp_path / "params.yaml")]
    end = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert end.returncode == 2
    assert end.stderr.startswith("error: ")
    assert end.stderr.count("\n") == 1
