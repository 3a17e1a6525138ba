"""Finding things by name: the files of a model, and the clips of a folder."""

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
"""Of what is taken from a folder. A file that is named itself may have any."""


def find_weights(source: str | Path) -> Path:
    """The file of a model.

    Args:
        source: see `Predictor.from_pretrained`; a file is taken as it is named.

    Raises:
        InputError: a registry or a folder without such a model.
    """
    path = fetch_model(source) if isinstance(source, str) and source.startswith(SCHEME) else Path(source)
    return _weights_in(path) if path.is_dir() else path


def find_detector(weights: Path) -> Path | None:
    """The YuNet file that the registry keeps with a network of YuNet's faces; None where there is none."""
    home = weights.parent.parent
    if not (home / "MLmodel").is_file():
        return None
    import yaml

    flavor = yaml.safe_load((home / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
    kept = flavor.get("artifacts", {}).get("yunet")
    return home / kept["path"] if kept else None


def _weights_in(folder: Path) -> Path:
    folds = [(result, path.parent) for path in folder.glob("*/fold.json") if (result := FoldResult.load(path.parent))]
    if folds:
        _, home = max(folds, key=lambda fold: fold[0].selection_accuracy)
        return home / WEIGHTS
    found = sorted(folder.rglob(WEIGHTS))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{folder} has {len(found)} networks in it ({found[0]}, …); name one of them.")
    raise InputError(f"{folder} has no {WEIGHTS} in it; name a folder that training or the registry wrote.")


def clips_of(paths: Iterable[Path]) -> list[Path]:
    """The files that were named, and every video and audio file below the folders that were named.

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
            raise InputError(f"there is no video or audio file below {path}; name a folder that has some.")
        clips += found
    return clips
