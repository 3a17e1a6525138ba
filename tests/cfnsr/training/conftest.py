"""A trained fold that the tests of this folder share."""

from pathlib import Path

import pytest
from helpers.trained_folds import train_first_fold


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Path:
    """A fold trained without interruption or options."""
    root = tmp_path_factory.mktemp("plain")
    train_first_fold(root)
    return root
