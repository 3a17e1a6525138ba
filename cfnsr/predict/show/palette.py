"""How emotions look in tables and pictures."""

from __future__ import annotations

# Hues apart from each other for the eyes of most, and as the feeling is commonly painted: red anger, blue sadness.
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
"""In words."""

NOTE = "Trained on acted emotion of 24 actors. Not for decisions about people."
SYNTHETIC_NOTE = "Trained on synthetic faces and voices: a demonstration, not for real people."


def colour(emotion: str) -> str:
    """Of an emotion; grey for a label that is none of RAVDESS's."""
    return COLOURS.get(emotion, "#6b7280")


def clock(seconds: float, digits: int = 1) -> str:
    """A time of a clip: `1:05.3`, or `1:01:05` from an hour on."""
    minutes, rest = divmod(round(seconds, digits), 60)
    if minutes < 60:
        return f"{minutes:.0f}:{rest:0{3 + digits if digits else 2}.{digits}f}"
    return f"{minutes // 60:.0f}:{minutes % 60:02.0f}:{rest:02.0f}"
