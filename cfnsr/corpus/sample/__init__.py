"""A synthetic corpus in the layout of RAVDESS, whose emotions can only be told from face *and* voice together.

`plan.py` assigns face and voice to emotions, `face.py` draws, `voice.py` synthesizes speech, and `corpus.py` writes the
files.
"""

from cfnsr.corpus.sample.corpus import generate

__all__ = ["generate"]
