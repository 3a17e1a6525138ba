"""CFN-SR: audio-visual emotion recognition with a cross-modal fusion network.

The public names are imported on first use, so that `cfnsr --help` does not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cfnsr.corpus.ravdess import EMOTIONS
    from cfnsr.model.checkpoint import from_published
    from cfnsr.model.network import CFNSR
    from cfnsr.predict import Prediction, Predictor

__version__ = "0.1.0"
__all__ = ["CFNSR", "EMOTIONS", "Prediction", "Predictor", "__version__", "from_published"]

_MODULES = {
    "CFNSR": "cfnsr.model.network",
    "EMOTIONS": "cfnsr.corpus.ravdess",
    "Prediction": "cfnsr.predict",
    "Predictor": "cfnsr.predict",
    "from_published": "cfnsr.model.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'cfnsr' has no attribute {name!r}")
