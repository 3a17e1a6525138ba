"""From a clip to its emotions: the same decoding, faces, MFCC and scaling as in training, read from the model's file.

`recipe.py` says how inputs are made, `samples.py` and `windows.py` make them of short and of long clips, `backend.py`
runs the network, `predictor.py` joins them; `picture.py`, `explained.py`, `table.py` and `export.py` show the answers.
"""

from cfnsr.predict.answer import Answer, Failure, Flag, Moment, Prediction
from cfnsr.predict.clip import Options
from cfnsr.predict.predictor import Explanation, Predictor

__all__ = ["Answer", "Explanation", "Failure", "Flag", "Moment", "Options", "Prediction", "Predictor"]
