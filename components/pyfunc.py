"""The registered model as MLflow loads it ("model from code"): videos in, emotions out.

Input columns: `path` (a file the server can read) or `content` (the file itself, base64). Output: a row a clip with
`emotion`, `confidence`, a probability an emotion, and `error`, a sentence where a clip could not be used.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

from cfnsr.errors import ClipError
from cfnsr.predict import Prediction, Predictor
from cfnsr.ravdess import EMOTIONS


class EmotionModel(PythonModel):
    """A `Predictor` behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Load the weights that were logged with the model."""
        self._predictor = Predictor.from_pretrained(Path(context.artifacts["weights"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row a clip, in order; a clip that can't be used has its reason in `error`."""
        return pd.DataFrame([self._row(record) for record in model_input.to_dict("records")])

    def _row(self, record: dict[Any, Any]) -> dict[str, Any]:
        try:
            prediction = self._predict(record)
        except ClipError as error:
            nothing = dict.fromkeys(EMOTIONS, float("nan"))
            return {"emotion": "", "confidence": float("nan"), **nothing, "error": str(error)}
        return {
            "emotion": prediction.emotion,
            "confidence": prediction.confidence,
            **prediction.probabilities,
            "error": "",
        }

    def _predict(self, record: dict[Any, Any]) -> Prediction:
        path, content = record.get("path"), record.get("content")
        if isinstance(path, str) and path:
            return self._predictor(path)
        if not isinstance(content, str) or not content:
            raise ClipError("a row needs `path` (a file) or `content` (the file, base64)")
        try:
            data = base64.b64decode(content, validate=True)
        except binascii.Error:
            raise ClipError("`content` is not base64") from None
        with tempfile.NamedTemporaryFile(suffix=".media") as file:
            file.write(data)
            file.flush()
            return self._predictor(file.name)


set_model(EmotionModel())
