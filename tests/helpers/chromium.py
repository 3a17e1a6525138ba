"""The browser that tests of pages start."""

import os
import shutil
from pathlib import Path

CHROMIUM = shutil.which("chromium")


def launcher(folder: Path) -> str | Path:
    """Chromium without the right to real-time priority, which root has.

    Its sound threads take that priority where they may; when they spin, no other program of the machine goes on.
    """
    if os.geteuid() != 0:
        return CHROMIUM
    script = folder / "chromium"
    script.write_text(f'#!/bin/sh\nexec setpriv --bounding-set -sys_nice --inh-caps -sys_nice "{CHROMIUM}" "$@"\n')
    script.chmod(0o755)
    return script
