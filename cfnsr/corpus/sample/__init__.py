"""A synthetic corpus in RAVDESS's layout whose emotions can only be told by looking *and* listening.

`plan.py` says which face and which voice an emotion has, `face.py` draws, `voice.py` speaks, `corpus.py` writes the
files.
"""

from cfnsr.corpus.sample.corpus import generate

__all__ = ["generate"]
