import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import PROJECT

from cfnsr.files import atomic_path, visible_files, write_text


def test_the_folder_is_made_and_nothing_else_is_left(tmp_path):
    write_text(tmp_path / "a" / "b" / "text.md", "größer")
    assert (tmp_path / "a" / "b" / "text.md").read_text(encoding="utf-8") == "größer"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["text.md"]


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "text.md"
    write_text(path, "old")
    with pytest.raises(TypeError), atomic_path(path) as temporary, temporary.open("w") as file:
        file.writelines(["half of the ne", 0])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_names_the_file_that_was_to_be_written(tmp_path):
    path = tmp_path / "text.md"
    path.with_name("text.md.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*text\.md'$"):
        write_text(path, "too much")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_no_half_file_under_the_final_name(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from cfnsr.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half of it')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "text.md"
    end = subprocess.run([sys.executable, "-c", code, str(path)], cwd=PROJECT, check=False)
    assert end.returncode == -signal.SIGKILL
    assert not path.exists()
    write_text(path, "all of it")
    assert path.read_text() == "all of it"
    assert list(tmp_path.iterdir()) == [path]  # the partial file of the killed process is gone


def test_hidden_files_are_skipped_and_linked_folders_visited_once(tmp_path):
    for name in ("b.wav", "a/c.wav", "a/.hidden.wav", ".cache/d.wav"):
        write_text(tmp_path / "clips" / name, "")
    (tmp_path / "clips" / "a" / "circle").symlink_to(tmp_path / "clips")
    (tmp_path / "clips" / "z").symlink_to(tmp_path / "clips" / "a")
    (tmp_path / "clips" / "broken.wav").symlink_to("nowhere")
    found = [path.relative_to(tmp_path / "clips").as_posix() for path in visible_files(tmp_path / "clips")]
    assert found == ["b.wav", "broken.wav", "a/c.wav"]


def test_programs_use_utf8_in_a_locale_with_another_encoding():
    """The program starts again with the same arguments."""
    code = "import sys; from cfnsr.files import ensure_utf8; ensure_utf8(); print(sys.flags.utf8_mode, sys.argv[1:])"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", code, "grün"]
    done = subprocess.run(command, env=os.environ | locale, capture_output=True, check=True)
    assert done.stdout.decode() == "1 ['grün']\n"
