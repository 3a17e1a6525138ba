"""Where the real RAVDESS files lie; tests of them are skipped where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.paths import PROJECT

RAVDESS = Path(os.environ.get("CFNSR_RAVDESS") or PROJECT.parent / "shared/data/ravdess")
"""Folder of `Actor_NN` folders."""

needs_ravdess = pytest.mark.skipif(
    not RAVDESS.is_dir(), reason=f"the real RAVDESS files are not in {RAVDESS}; CFNSR_RAVDESS names another folder"
)
