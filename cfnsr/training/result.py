"""What a finished fold leaves in its folder, and under which names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cfnsr.files import write_text

WEIGHTS = "model.safetensors"
HISTORY = "history.csv"
"""A row an epoch: `phase`, `epoch`, `seconds`, `train/loss`, by the actors that choose the epoch `validation/loss`,
`validation/accuracy`, `validation/uar` and `validation/smoothed`, and `test/accuracy`, which chooses nothing."""
SCORE = "validation/accuracy"
"""Of one epoch."""
CHOICE = "validation/smoothed"
"""Mean of `SCORE` over the last `train.smooth_epochs` epochs; the epoch where it is highest is kept."""
TEST_SCORE = "test/accuracy"
"""Of the test actors after each epoch; reported as "best test epoch", and never used to choose anything."""
PREDICTIONS = "predictions.csv"
"""A row a test clip, `network` (`fusion`, and the `audio` and `video` encoders with their own heads) and what it was
given (`inputs`: `both`, `audio` or `video`): the probabilities as the network says them, and the `temperature` that
calibrates them, fitted on validation actors (empty where there are none)."""
PHASES = ("audio", "video", "fusion")
"""In order; a profile may skip some."""
ENCODERS = ("audio.safetensors", "video.safetensors")
"""The encoders as their own phases left them, for another network to begin with."""
RESULT = "fold.json"


@dataclass(frozen=True)
class FoldResult:
    """What a finished fold says of itself, besides its files."""

    fold: int
    train: tuple[int, ...]
    """Actors."""
    validation: tuple[int, ...]
    test: tuple[int, ...]
    epoch: int
    """The epoch whose weights were kept, counted from 0."""
    selection_accuracy: float
    """Accuracy, smoothed, on the actors that chose the epoch: those of validation, or of test as published."""
    parameters: int
    seconds: float
    """Of training, all phases, also those before a kill."""
    unknown_ancestors: bool = False
    """It began with weights that do not say whom they have seen."""

    def save(self, folder: Path) -> None:
        """Write `fold.json`, a fold's last act."""
        write_text(folder / RESULT, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> FoldResult | None:
        """Read `fold.json`; None if the fold is not finished."""
        path = folder / RESULT
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(path.read_text())
        for group in ("train", "validation", "test"):
            content[group] = tuple(content[group])
        return cls(**content)
