"""The network as other programs get it: from raw inputs, in operations that graph formats have.

Shapes: N clips, T frames, H x W pixels, C coefficients, L MFCC frames, D audio channels, S audio tokens, K classes.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from cfnsr.model import CFNSR
from cfnsr.model.metadata import pack
from cfnsr.model.normalize import Normalization

BATCH = 2
"""Clips of the example that a graph is traced with; `torch.export` takes a size of 1 for a constant."""


class RawNetwork(nn.Module):
    """A `CFNSR` with its scaling, which takes what is cut from a clip: nobody else has to know the constants.

    Inputs are those of the network's modality: `frames` (N, T, H, W, 3) uint8 RGB, `mfcc` (N, C, L) float32 and, for
    both, `present` (N, 2) bool, which clips have a face and which a voice; what stands in place of a missing one does
    not matter. Outputs are `logits` (N, K) and, from a network with a cross-modal block, `attention` (N, T', H', W').

    Args:
        network: which is copied.
        config: that travels with it.
        lazy: without a face in the batch, the video encoder is not run.
    """

    black: Tensor
    span: Tensor

    def __init__(self, network: CFNSR, config: dict[str, Any], lazy: bool = True) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
        self.scale = Normalization.from_dict(config["normalization"])
        self.metadata = pack(config, network.arguments)
        faces, arguments = config["faces"], network.arguments
        self._faces = (faces["frames"], faces["size"], faces["size"], 3)
        self._voice = (arguments["coefficients"], arguments["mfcc_frames"])
        self._lazy = lazy and network.modality == "both"
        # Frames are scaled by two constants, because a branch of a graph can't make tensors of its own.
        levels = torch.tensor([0, 255]).to(torch.uint8)[:, None, None, None, None].expand(2, 1, 3, 1, 1)
        black, white = self.scale.frames(levels).permute(0, 2, 3, 4, 1)  # (1, 1, 1, 3)
        self.register_buffer("black", black.clone())
        self.register_buffer("span", (white - black) / 255)
        if self._lazy:  # the map is made here, where it is known whether anybody is seen
            self._video = self.network.video
            self.network.add_module("video", nn.Identity())
        if network.modality != "video":
            pooled = arguments["mfcc_frames"] - 4  # the two convolutions before it take 2 frames each
            self.network.audio.add_module("pool", WindowedMax(pooled, network.audio.tokens))

    def forward(
        self, frames: Tensor | None = None, mfcc: Tensor | None = None, present: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """See class."""
        pictures = None if frames is None else self._map(frames, present) if self._lazy else self._scaled(frames)
        voices = None if mfcc is None else self.scale.mfcc(mfcc)
        output = self.network.explain(pictures, voices, present)
        return (output.logits,) if output.attention is None else (output.logits, output.attention)

    def example(self) -> dict[str, Tensor]:
        """Inputs by name, random but the same each time."""
        random = torch.Generator().manual_seed(0)
        inputs: dict[str, Tensor] = {}
        if self.network.modality != "audio":
            inputs["frames"] = torch.randint(0, 256, (BATCH, *self._faces), dtype=torch.uint8, generator=random)
        if self.network.modality != "video":
            mean, std = torch.tensor(self.scale.mfcc_mean), torch.tensor(self.scale.mfcc_std)
            noise = torch.randn(BATCH, *self._voice, generator=random)
            inputs["mfcc"] = noise * std[:, None] + mean[:, None]
        if self.network.modality == "both":
            inputs["present"] = torch.ones(BATCH, 2, dtype=torch.bool)
        return inputs

    def outputs(self) -> list[str]:
        """Their names."""
        return ["logits", "attention"] if hasattr(self.network, "cross_modal") else ["logits"]

    def program(self) -> torch.export.ExportedProgram:
        """The traced graph, for any number of clips."""
        inputs = self.example()
        clips = torch.export.Dim("clips", min=1)
        # Without gradients, which the branches of `torch.cond` would otherwise be traced for.
        with torch.no_grad():
            program = torch.export.export(self, (), inputs, dynamic_shapes={name: {0: clips} for name in inputs})
        for module in program.graph_module.modules():  # branches have graphs of their own
            for node in getattr(getattr(module, "graph", None), "nodes", ()):
                node.meta.pop("stack_trace", None)  # paths of this machine
        return program

    def _scaled(self, frames: Tensor) -> Tensor:
        return (self.black + self.span * frames.float()).permute(0, 4, 1, 2, 3)  # (N, 3, T, H, W)

    def _map(self, frames: Tensor, present: Tensor | None) -> Tensor:
        assert present is not None
        size = self._map_size()

        def seen(frames: Tensor) -> Tensor:
            return self._video(self._scaled(frames)).contiguous()

        def unseen(frames: Tensor) -> Tensor:
            return torch.zeros(frames.shape[0], *size)

        video_map: Tensor = torch.cond(present[:, 0].any(), seen, unseen, (frames,))
        return video_map

    def _map_size(self) -> tuple[int, ...]:
        """Channels, times, rows and columns of the video map; the encoder halves time four times, sides five times."""
        frames, side, *_ = self._faces
        return self._video.channels, -(-frames // 16), -(-side // 32), -(-side // 32)


class WindowedMax(nn.Module):
    """`nn.AdaptiveMaxPool1d` of one input length, as a gather and a maximum: ONNX has no adaptive pooling.

    Args:
        length: of the input.
        tokens: of the output.
    """

    index: Tensor
    """(S, frames of a window)"""

    def __init__(self, length: int, tokens: int) -> None:
        super().__init__()
        begins = torch.arange(tokens) * length // tokens
        ends = -(-torch.arange(1, tokens + 1) * length // tokens)
        steps = torch.arange(int((ends - begins).max()))
        # Windows differ by a frame; a short one takes its last frame twice.
        self.register_buffer("index", torch.minimum(begins[:, None] + steps, ends[:, None] - 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, D, L)` to `(N, D, S)`."""
        return x[..., self.index].amax(dim=-1)
