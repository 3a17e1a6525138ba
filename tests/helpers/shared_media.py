"""Where the files lie that come from public bug reports and from attacks; tests of them are skipped without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.paths import PROJECT

SHARED = Path(os.environ.get("CFNSR_SHARED") or PROJECT.parent / "shared")
"""Holds the folders `media` and `hostile`."""

needs_shared_media = pytest.mark.skipif(
    not (SHARED / "media").is_dir(), reason=f"there is no {SHARED / 'media'}; CFNSR_SHARED names another folder"
)
