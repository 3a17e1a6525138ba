"""Weights on disk: safetensors with the network's arguments beside them, and the published code's names.

No pickle: a file that a user loads can't run code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cfnsr.errors import InputError
from cfnsr.files import atomic_path
from cfnsr.model import CFNSR
from cfnsr.model.metadata import KEY, pack, unpack

# Published name -> name here. The fused network keeps its encoders in numbered Sequentials.
_PUBLISHED = [
    (r"video_model_blocks\.0\.0\.", "video.conv1."),
    (r"video_model_blocks\.0\.1\.", "video.bn1."),
    *((rf"video_model_blocks\.0\.{stage + 2}\.", f"video.layer{stage}.") for stage in range(1, 5)),
    (r"audio_model_blocks\.0\.0\.", "audio.conv1."),
    (r"audio_model_blocks\.0\.2\.", "audio.bn1."),
    (r"audio_model_blocks\.0\.3\.", "audio.conv2."),
    (r"audio_model_blocks\.0\.6\.", "audio.bn2."),
    (r"audio_model_blocks\.0\.8\.", "audio.conv3."),
    (r"audio_model_blocks\.0\.10\.", "audio.bn3."),
    (r"msaf\.0\.channel_affine\.", "cross_modal.video_projection."),
    (r"msaf\.0\.y_affine\.", "cross_modal.audio_projection."),
    (r"msaf\.0\.attn_weight_affine\.", "cross_modal.score."),
    (r"msaf\.0\.audio_attention\.layer_norm\.", "cross_modal.summary.encoder.norm."),
    (r"msaf\.0\.audio_attention\.layers\.(\d+)\.fc(\d)\.", r"cross_modal.summary.encoder.layers.\1.linear\2."),
    (r"msaf\.0\.audio_attention\.layers\.(\d+)\.layer_norms\.0\.", r"cross_modal.summary.encoder.layers.\1.norm1."),
    (r"msaf\.0\.audio_attention\.layers\.(\d+)\.layer_norms\.1\.", r"cross_modal.summary.encoder.layers.\1.norm2."),
    (r"msaf\.0\.audio_attention\.layers\.(\d+)\.self_attn\.", r"cross_modal.summary.encoder.layers.\1.self_attn."),
    (r"fc1?\.", "classifier."),
    (r"layer(\d)\.", r"video.layer\1."),  # below here: the stand-alone encoders
]


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the published code to this project's names.

    Takes the fused network (for `CFNSR(stem_relu=False)`) and the stand-alone encoders with their 8-class heads (for
    `CFNSR(modality="video")` and `CFNSR(modality="audio")`). A `module.` prefix (DataParallel) is dropped.

    Raises:
        InputError: a name that the published networks don't have.
    """
    state = {name.removeprefix("module."): value for name, value in state.items()}
    audio_alone = "fc1.weight" in state
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        new = _rename(name, "audio." if audio_alone else "video.")
        renamed[new] = torch.as_tensor(value)
        if new.endswith("running_var"):
            counter = new.replace("running_var", "num_batches_tracked")
            renamed.setdefault(counter, torch.tensor(0))
    return renamed


def _rename(name: str, encoder: str) -> str:
    for pattern, replacement in _PUBLISHED:
        new, found = re.subn("^" + pattern, replacement, name)
        if found:
            return new
    if re.match(r"(conv|bn)\d\.", name):
        return encoder + name
    raise InputError(f"{name!r} is not a parameter of the published CFN-SR code; is this another network's checkpoint?")


def save_model(path: Path, model: CFNSR, config: Mapping[str, Any]) -> None:
    """Write a network's weights and `config` (JSON-able: preprocessing, labels) to one safetensors file, atomically."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        # Not by `save_file`: others than its owner may not read what that writes, whatever the umask allows.
        temporary.write_bytes(save(state, metadata={KEY: pack(config, model.arguments)}))


def load_model(path: Path) -> tuple[CFNSR, dict[str, Any]]:
    """Read a file of `save_model`.

    Returns:
        The network in eval mode on the CPU, and the configuration it was saved with.

    Raises:
        InputError: no such file, one that may not be read, not safetensors, not written by this project, or damaged.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path} does not exist; name a model.safetensors that training wrote.")
        path.open("rb").close()  # safetensors calls missing whatever it can't open
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise InputError(f"{path} is not a safetensors file ({error}); other formats are not loaded.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror or error}); check its permissions.") from None
    config = unpack(metadata, path)
    try:
        model = CFNSR(**config["network"])
        model.load_state_dict(state)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: its weights are not of the network that it names ({error}).") from None
    return model.eval(), config
