"""The files of a finished fold: their names and contents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from cfnsr.config.sections import Modality
from cfnsr.errors import InputError
from cfnsr.files import write_text

WEIGHTS = "model.safetensors"
HISTORY = "history.csv"
"""One row per epoch: `phase`, `epoch`, `seconds`, `train/loss`; on the speakers that choose the epoch
`validation/loss`, `validation/accuracy`, `validation/uar` and `validation/smoothed`; and `test/accuracy`, which is only
reported."""
SCORE = "validation/accuracy"
"""The accuracy of an epoch."""
SCORES = {"accuracy": SCORE, "uar": "validation/uar"}
"""The score that selects the epoch, by `train.select_by`."""
CHOICE = "validation/smoothed"
"""Mean of that score over the last `train.smooth_epochs` epochs; the epoch with the highest value is kept."""
TEST_SCORE = "test/accuracy"
"""Accuracy on the test speakers after each epoch, reported as "best test epoch"; nothing is chosen by it."""
PREDICTIONS = "predictions.csv"
"""One row per test clip, `network` (`fusion`, or the `audio` or `video` encoder with its own head) and `inputs`
(`both`, `audio` or `video`): the uncalibrated probabilities, and the `temperature` that was fitted on the validation
speakers to calibrate them (empty if there are none)."""
GROUPS = ("sex", "group", "language")
"""Columns of the manifest that figures are split by, where they have more than one value."""
PHASE_OF: Mapping[Modality, str] = {"audio": "audio", "video": "video", "both": "fusion"}
"""Name of the phase that trains a network of each modality, in order."""
PHASES = tuple(PHASE_OF.values())
"""In order; a profile may skip some."""
ENCODERS = ("audio.safetensors", "video.safetensors")
"""The encoders after their own phases, from which another network can start."""
RESULT = "fold.json"
_LARGEST = 100_000  # bytes of it; a real one has 500


@dataclass(frozen=True)
class FoldResult:
    """The summary of a finished fold."""

    fold: int
    train: tuple[str, ...]
    """Speakers."""
    validation: tuple[str, ...]
    test: tuple[str, ...]
    epoch: int
    """The kept epoch, counted from 0."""
    selection_score: float
    """Smoothed score (`train.select_by`) on the speakers that chose the epoch: validation speakers, or test speakers as
    published."""
    parameters: int
    seconds: float
    """Training time of all phases, including the time before an interruption."""
    unknown_provenance: bool = False
    """Training started from weights that do not record their speakers."""

    def save(self, folder: Path) -> None:
        """Write `fold.json`, the last file of a fold."""
        write_text(folder / RESULT, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> FoldResult | None:
        """Read `fold.json`. Returns None if the fold is not finished.

        Raises:
            InputError: the file is damaged.
        """
        path = folder / RESULT
        if not path.exists():
            return None
        with path.open("rb") as file:
            content = file.read(_LARGEST)
        try:
            return TypeAdapter(cls).validate_json(content)
        except ValidationError:
            raise InputError(f"{path} is damaged; delete it and train the fold again.") from None
