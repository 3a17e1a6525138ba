"""The checkpoints of a phase are always complete, whatever interrupts their writing."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import lightning
import pytest
import torch
from helpers.paths import PROJECT
from helpers.trained_folds import train_first_fold
from safetensors.torch import load_file

from cfnsr.errors import exit_with_message

TESTS = PROJECT / "tests"
KILLED_WHILE_WRITING = """
import io, os, signal, sys
from pathlib import Path
import torch

write_bytes = Path.write_bytes

def cut(path, content):
    if torch.load(io.BytesIO(content), weights_only=True)["epoch"] == 1:
        write_bytes(path, bytes(content)[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write_bytes(path, content)

Path.write_bytes = cut
from helpers.paths import PROJECT
from helpers.trained_folds import train_first_fold
train_first_fold(Path(sys.argv[1]))
"""


def test_checkpoints_are_not_written_to_the_folder_of_temporary_files(tmp_path, monkeypatch):
    """It may be on another disk, from which files can't be renamed atomically."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "is not there"))
    train_first_fold(tmp_path)


def test_a_kill_while_a_checkpoint_is_written_loses_only_that_epoch(plain, tmp_path):
    end = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        check=False,
    )
    assert end.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "fold" / "audio" / "last.ckpt", weights_only=True)["epoch"] == 0
    train_first_fold(tmp_path, write=False)
    ours, theirs = (load_file(root / "fold" / "model.safetensors") for root in (tmp_path, plain))
    assert ours.keys() == theirs.keys()
    assert [name for name, weight in ours.items() if not torch.equal(weight, theirs[name])] == []


def test_a_full_disk_is_reported_with_the_name_of_the_checkpoint(tmp_path, capsys):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")

    class FullDisk(lightning.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                (tmp_path / "fold" / "fusion" / "last.ckpt.part").symlink_to("/dev/full")

    with pytest.raises(SystemExit), exit_with_message():
        train_first_fold(tmp_path, callbacks=[FullDisk()])
    path = tmp_path / "fold" / "fusion" / "last.ckpt"
    assert f"error: the disk is full while writing {path}: free some space" in capsys.readouterr().err
    assert torch.load(path, weights_only=True)["epoch"] == 0
