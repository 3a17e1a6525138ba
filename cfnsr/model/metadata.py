"""What a file says besides its weights: labels, preprocessing, calibration and the network's size.

The same JSON travels in the metadata of safetensors, ONNX and `torch.export` files; reading it needs no PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfnsr.errors import InputError

KEY = "cfnsr"
"""Under which the files' metadata hold it."""

FORMAT = 1
"""Raised when older files can't be read any more."""


def pack(config: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """The JSON of a network's `config` (JSON-able) and of the arguments that build it."""
    return json.dumps({**config, "format": FORMAT, "network": arguments}, sort_keys=True)


def unpack(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Inverse of `pack`: the configuration, with the network's arguments as `network`.

    Args:
        metadata: of the file.
        path: the file, for what is said of it.

    Raises:
        InputError: it was not written by this project, or by one of its versions whose files this one can't read, or it
            is damaged.
    """
    if KEY not in metadata:
        raise InputError(f"{path} was not written by cfnsr: it does not say what network its weights belong to.")
    try:
        config: dict[str, Any] = json.loads(metadata[KEY])
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged: what it says of its network is no JSON ({error}).") from None
    if not isinstance(config, dict) or not isinstance(config.get("network"), dict):
        raise InputError(f"{path} is damaged: it does not say what network its weights belong to.")
    if config.get("format") != FORMAT:
        raise InputError(
            f"{path} has format {config.get('format')}, this cfnsr reads {FORMAT}; use the version that wrote it."
        )
    return config
