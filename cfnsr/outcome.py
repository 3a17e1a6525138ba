"""What a finished fold leaves in its folder, and under which names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cfnsr.files import write_text

WEIGHTS = "model.safetensors"
HISTORY = "history.csv"
"""A row an epoch: `phase`, `epoch`, `seconds`, `train/loss`, and by the actors that choose the epoch
`validation/loss`, `validation/accuracy`, `validation/uar`."""
PREDICTIONS = "predictions.csv"
"""A row a test clip and network (`fusion`, and the `audio` and `video` encoders with their own heads)."""
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
    """Accuracy on the actors that chose the epoch: those of validation, or of test under the published protocol."""
    parameters: int
    seconds: float
    """Of training, all phases, also those before a kill."""

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
