"""Finds the files of a model, and the clips in folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cfnsr.errors import InputError
from cfnsr.files import visible_files
from cfnsr.registry import SCHEME, fetch_model
from cfnsr.training.result import WEIGHTS, FoldResult

_VIDEO = "3g2 3gp asf avi flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv"
_AUDIO = "aac ac3 aif aiff amr flac m4a mka mp3 oga ogg opus wav wma"
SUFFIXES = frozenset(f".{name}" for name in f"{_VIDEO} {_AUDIO}".split(" "))
"""Suffixes of clips in folders. A file that is named explicitly may have any suffix."""


def find_weights(source: str | Path) -> Path:
    """Find the file of a model.

    Args:
        source: see `Predictor.from_pretrained`; a file is returned unchanged.

    Raises:
        InputError: the registry or the folder has no such model.
    """
    path = fetch_model(source) if isinstance(source, str) and source.startswith(SCHEME) else Path(source)
    return _weights_in(path) if path.is_dir() else path


def find_detector(weights: Path) -> Path | None:
    """Find the YuNet file that the registry stores with a network trained on its faces; None if there is none."""
    folder = weights.parent.parent
    if not (folder / "MLmodel").is_file():
        return None
    import yaml

    flavor = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
    artifact = flavor.get("artifacts", {}).get("yunet")
    return folder / artifact["path"] if artifact else None


def _weights_in(folder: Path) -> Path:
    folds = [(result, path.parent) for path in folder.glob("*/fold.json") if (result := FoldResult.load(path.parent))]
    if folds:
        _, best = max(folds, key=lambda fold: fold[0].selection_score)
        return best / WEIGHTS
    found = sorted(folder.rglob(WEIGHTS))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{folder} has {len(found)} networks in it ({found[0]}, …); name one of them.")
    raise InputError(f"{folder} has no {WEIGHTS}; name a folder that training or the registry wrote.")


def clips_of(paths: Iterable[Path]) -> list[Path]:
    """List the given files, and all video and audio files below the given folders.

    Raises:
        InputError: a folder has none.
    """
    clips: list[Path] = []
    for path in paths:
        if not path.is_dir():
            clips.append(path)
            continue
        found = [file for file in visible_files(path) if file.suffix.lower() in SUFFIXES]
        if not found:
            raise InputError(f"there is no video or audio file below {path}; name another folder.")
        clips += found
    return clips
