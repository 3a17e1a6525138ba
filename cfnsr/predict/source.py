"""Where a model's files lie: by registry URI, folder of a training run, any folder, or its own name."""

from __future__ import annotations

from pathlib import Path

from cfnsr.errors import InputError
from cfnsr.outcome import WEIGHTS, FoldResult
from cfnsr.registry import SCHEME, fetch_model


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
