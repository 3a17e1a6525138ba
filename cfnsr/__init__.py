"""CFN-SR: audio-visual emotion recognition with a cross-modal fusion network.

The public names are imported when they are first used, so that `cfnsr --help` does not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfnsr.corpus.ravdess import EMOTIONS
    from cfnsr.model import CFNSR
    from cfnsr.predict import Prediction, Predictor

__version__ = "0.1.0"
__all__ = ["CFNSR", "EMOTIONS", "Prediction", "Predictor", "__version__"]

_HOME = {
    "CFNSR": "cfnsr.model",
    "EMOTIONS": "cfnsr.corpus.ravdess",
    "Prediction": "cfnsr.predict",
    "Predictor": "cfnsr.predict",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cfnsr' has no attribute {name!r}")
