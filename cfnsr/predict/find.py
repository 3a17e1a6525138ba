"""Finds the files of a model, and the clips in folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cfnsr.errors import InputError
from cfnsr.files import visible_files
from cfnsr.media.formats import clip_kind
from cfnsr.registry import SCHEME, fetch_model
from cfnsr.training.result import WEIGHTS, FoldResult

_LONGEST = 1_000_000  # characters of a model's description, which has about 4,000


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
    """Find the YuNet file that the registry stores with a network trained on its faces; None if there is none.

    Raises:
        InputError: the model's description is damaged, or names a file outside the model's folder.
    """
    folder = weights.parent.parent
    description = folder / "MLmodel"
    if not description.is_file():
        return None
    import yaml

    try:
        with description.open(encoding="utf-8") as file:
            content = yaml.safe_load(file.read(_LONGEST))  # cut off, it is not valid
        artifact = content["flavors"]["python_function"].get("artifacts", {}).get("yunet")
        detector = folder / artifact["path"] if artifact else None
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise InputError(f"{description} is damaged; register the model again.") from None
    if detector and not detector.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{description} names {detector}, which is outside the model's folder; register it again.")
    return detector


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


def clips_of(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """List the given files, and the files below the given folders.

    Returns:
        The clips: the given files, whatever their suffixes, and the video and audio files of the folders; and the other
        files of the folders.

    Raises:
        InputError: a folder has no clip.
    """
    clips: list[Path] = []
    others: list[Path] = []
    for path in paths:
        if not path.is_dir():
            clips.append(path)
            continue
        files = list(visible_files(path))
        if not any(clip_kind(file) for file in files):
            raise InputError(f"there is no video or audio file below {path}; name another folder.")
        for file in files:
            (clips if clip_kind(file) else others).append(file)
    return clips, others
