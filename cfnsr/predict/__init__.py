"""From a clip to its emotions: the same decoding, faces, MFCC and scaling as in training, read from the model's file.

`recipe.py` says how inputs are made, `windows.py` makes them from files, and `clip.py` from one window; `backend.py`
runs the network, `predictor.py` joins them, and `show/` presents the answers.
"""

from cfnsr.predict.answer import Answer, Failure, Flag, Moment, Prediction
from cfnsr.predict.clip import Options
from cfnsr.predict.predictor import Explanation, Predictor

__all__ = ["Answer", "Explanation", "Failure", "Flag", "Moment", "Options", "Prediction", "Predictor"]
