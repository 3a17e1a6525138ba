"""Which `dvc` holds a stage's files: DVC notes it in `.dvc/tmp/rwlock`, and a killed one stays there.

DVC drops a holder when no process has its number. A number is given again, soon so in a container, and what then has it
may run for ever, and so may what a container without an init leaves of the dead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil

from cfnsr.files import write_text


def release_dead(root: Path) -> list[int]:
    """Drop the holders that are no `dvc` any more.

    Args:
        root: of the project.

    Returns:
        Their process numbers; none too if another `dvc` is writing the file right now.
    """
    from dvc.lock import LockError, make_lock
    from dvc.repo import Repo
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    with Repo(str(root)) as repo:
        folder = Path(str(repo.tmp_dir))
        hardlink = repo.config["core"].get("hardlink_lock", False)
    path = folder / RWLOCK_FILE
    try:
        with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder), hardlink_lock=hardlink):
            held = json.loads(path.read_text()) if path.exists() else {}
            readers = [reader for each in held.get("read", {}).values() for reader in each]
            holders = [*held.get("write", {}).values(), *readers]
            dead = {holder["pid"] for holder in holders if not _lives(holder)}
            if dead:
                write_text(path, json.dumps(_without(held, dead)))
    except LockError:
        return []
    return sorted(dead)


def _lives(holder: dict[str, Any]) -> bool:
    """Whether the process with the holder's number is a `dvc`, or the program that used DVC then.

    Not its time of creation decides: clocks are set, and two that write the same files are worse than one that waits.
    """
    try:
        process = psutil.Process(holder["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        command = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # somebody else's, perhaps their `dvc`
        return True
    return any(Path(word).stem == "dvc" for word in command) or " ".join(command).endswith(holder["cmd"])


def _without(held: dict[str, Any], dead: set[int]) -> dict[str, Any]:
    write = {path: holder for path, holder in held.get("write", {}).items() if holder["pid"] not in dead}
    read = {
        path: [holder for holder in each if holder["pid"] not in dead] for path, each in held.get("read", {}).items()
    }
    return {"write": write, "read": {path: each for path, each in read.items() if each}}
