"""Colours, words and time formats of tables and pictures."""

from __future__ import annotations

from zlib import crc32

# Distinct hues with their usual associations: red for anger, blue for sadness.
COLOURS = {
    "neutral": "#9ca3af",
    "calm": "#5eb3a6",
    "happy": "#f2b134",
    "sad": "#4a7fc1",
    "angry": "#d64545",
    "fearful": "#8e6bbf",
    "disgust": "#7d9e3c",
    "surprised": "#ef86b5",
}

INPUTS = {"both": "face and voice", "audio": "voice alone", "video": "face alone"}
"""The inputs of a prediction in words."""

OTHERS = ("#b08968", "#0e7490", "#a21caf", "#4d7c0f", "#9f1239", "#4338ca", "#b45309", "#0f766e")
"""Colours of labels that RAVDESS does not have."""


def colour(label: str) -> str:
    """The colour of a label: always the same for the same word."""
    return COLOURS.get(label) or OTHERS[crc32(label.encode()) % len(OTHERS)]


def clock(seconds: float, digits: int = 1) -> str:
    """Format a time in s: `1:05.3`, or `1:01:05` from one hour."""
    minutes, rest = divmod(round(seconds, digits), 60)
    if minutes < 60:
        return f"{minutes:.0f}:{rest:0{3 + digits if digits else 2}.{digits}f}"
    return f"{minutes // 60:.0f}:{minutes % 60:02.0f}:{rest:02.0f}"
