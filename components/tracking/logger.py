"""Lightning's logger of one phase of a fold: writes to the outbox of the fold's MLflow run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from components.tracking.outbox import Outbox


class PhaseLogger(Logger):
    """Logs metrics as `<phase>-<metric>`.

    Args:
        outbox: the outbox of the fold's run.
        phase: `audio`, `video` or `fusion`.
    """

    def __init__(self, outbox: Outbox, phase: str) -> None:
        super().__init__()
        self._outbox, self._phase = outbox, phase

    @property
    def name(self) -> str:
        """The phase."""
        return self._phase

    @property
    def version(self) -> str:
        """Empty: a phase is logged once."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: the settings are logged to the parent run."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of a step."""
        values = {f"{self._phase}-{name}": float(value) for name, value in metrics.items()}
        self._outbox.metrics(values, step or 0)
