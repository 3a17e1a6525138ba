"""Weights on disk: safetensors files with the model's metadata, and conversion from the published code's names.

There is no pickle: loading a file can't run code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cfnsr.errors import InputError
from cfnsr.files import atomic_path
from cfnsr.model.metadata import ModelMetadata, NetworkConfig
from cfnsr.model.network import CFNSR

_LARGEST_HEADER = 2_000_000  # bytes; the paper's network needs 40,000

# Published name -> this project's name. The published fused network keeps its encoders in numbered Sequentials.
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
    (r"layer(\d)\.", r"video.layer\1."),  # from here on: the stand-alone encoders
]


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the published code to this project's names.

    Accepts the fused network (for `CFNSR(stem_relu=False)`) and the stand-alone encoders with their 8-class heads (for
    `CFNSR(modality="video")` and `CFNSR(modality="audio")`). A `module.` prefix (DataParallel) is removed.

    Raises:
        InputError: a name does not occur in the published networks.
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


def save_model(path: Path, model: CFNSR, metadata: ModelMetadata) -> None:
    """Write a network's weights and metadata to one safetensors file, atomically."""
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        # Not with `save_file`, which ignores the umask: nobody but the owner could read the file.
        temporary.write_bytes(save(state, metadata=metadata.to_file_metadata()))


def load_model(path: Path) -> tuple[CFNSR, ModelMetadata]:
    """Read a file written by `save_model`.

    Returns:
        The network in eval mode on the CPU, and its metadata.

    Raises:
        InputError: the file is missing, unreadable, damaged, or not a safetensors file of this project.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path} does not exist; name a model.safetensors that training wrote.")
        with path.open("rb") as opened:  # safetensors reports a file without read permission as missing
            header = int.from_bytes(opened.read(8), "little")  # size of what safetensors reads at once
        if _LARGEST_HEADER < header < path.stat().st_size:
            raise InputError(f"{path} is damaged: its header has {header} bytes, more than cfnsr ever writes.")
        with safe_open(path, framework="pt") as file:
            metadata = ModelMetadata.from_file_metadata(file.metadata() or {}, path)
            names = list(file.keys())
            _check_shapes({name: file.get_slice(name).get_shape() for name in names}, metadata.network, path)
            state = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, RuntimeError) as error:  # RuntimeError: more bytes than can be mapped
        raise InputError(f"{path} is not a safetensors file ({error}); other formats are not supported.") from None
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror or error}); check its permissions.") from None
    model = CFNSR(metadata.network)
    model.load_state_dict(state)
    return model.eval(), metadata


def _check_shapes(found: Mapping[str, list[int]], network: NetworkConfig, path: Path) -> None:
    """Compare the shapes in a file's header with those of its network, before memory is taken for either."""
    with torch.device("meta"):
        wanted = {name: list(value.shape) for name, value in CFNSR(network).state_dict().items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            shapes = f"{name} has the shape {found.get(name)} instead of {wanted.get(name)}"
            raise InputError(f"{path} is damaged: its weights do not fit its network ({shapes}).")
