"""The registered model as MLflow loads it ("model from code"): videos in, emotions out.

Input columns: one of `path` (a file on the server), `url` and `content` (the file itself, base64). Output: one row per
clip with `emotion`, `confidence`, one probability per label, and `error`, a sentence if the clip could not be used.
Environment variables of the process that loads it set its limits, see `cfnsr.serve.limits`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel

from cfnsr.errors import ClipError, InputError
from cfnsr.predict import Predictor
from cfnsr.serve.limits import ServerLimits
from cfnsr.serve.request import COLUMNS, local_clip

logger = logging.getLogger(__name__)
NOTHING = f"the request has no row with one of {', '.join(f'`{name}`' for name in COLUMNS)}"


class EmotionModel(PythonModel):
    """A `Predictor` behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Load the weights that were logged with the model, and the limits of this process."""
        self._limits = ServerLimits.from_environment()
        yunet = context.artifacts.get("yunet")
        weights = Path(context.artifacts["weights"])
        self._predictor = Predictor.from_pretrained(weights, None if yunet is None else Path(yunet))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row per clip, in order; the row of a clip that can't be used has the reason in `error`.

        Raises:
            MlflowException: no clip of the request can be used, or it has too many rows; a server answers with 400
                and the reasons.
        """
        if len(model_input) > self._limits.max_rows:
            raise MlflowException(
                f"the request has {len(model_input)} rows, and this server accepts up to {self._limits.max_rows}: send "
                "several requests",
                INVALID_PARAMETER_VALUE,
            )
        rows = [self._row(record) for record in model_input.to_dict("records")]
        if all(row["error"] for row in rows):
            reasons = dict.fromkeys(row["error"] for row in rows)
            raise MlflowException("; ".join(reasons) or NOTHING, INVALID_PARAMETER_VALUE)
        table = pd.DataFrame(rows)
        # JSON has no NaN; a server would answer with text that browsers reject.
        return table.astype(object).where(table.notna(), None) if table["error"].any() else table

    def _row(self, record: dict[Any, Any]) -> dict[str, Any]:
        try:
            with local_clip(record, self._limits) as clip:
                prediction = self._predictor(clip)
        except ClipError as error:
            return self._failure(str(error))
        except InputError:  # of the model or the server, not of this clip
            raise
        except Exception as error:  # a bug with one clip must not lose the answers for the others
            logger.exception("a clip can't be used")
            return self._failure(f"the clip can't be used ({type(error).__name__}: {error})")
        return {
            "emotion": prediction.emotion,
            "confidence": prediction.confidence,
            **prediction.probabilities,
            "error": "",
        }

    def _failure(self, reason: str) -> dict[str, Any]:
        nothing = dict.fromkeys(self._predictor.recipe.labels, float("nan"))
        return {"emotion": "", "confidence": float("nan"), **nothing, "error": reason}


set_model(EmotionModel())
