"""The network for other programs: with raw inputs, and in operations that graph formats support.

Shapes: N clips, T frames, H x W pixels, C coefficients, L MFCC frames, D audio channels, S audio tokens, K classes.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from cfnsr.model.metadata import ModelMetadata
from cfnsr.model.network import CFNSR

BATCH = 2
"""Clips in the example for tracing; `torch.export` would treat a size of 1 as a constant."""


class RawNetwork(nn.Module):
    """A `CFNSR` that includes its scaling, so that other programs need not know the constants.

    Its inputs depend on the modality: `frames` (N, T, H, W, 3) uint8 RGB, `mfcc` (N, C, L) float32 and, for both,
    `present` (N, 2) bool, whether each clip has a face and a voice; the values of a missing input are ignored. Its
    outputs are `logits` (N, K) and, if the network has a cross-modal block, `attention` (N, T', H', W').

    Args:
        network: is copied.
        metadata: of the network.
        lazy: skip the video encoder if no clip of the batch has a face.
    """

    black: Tensor
    span: Tensor

    def __init__(self, network: CFNSR, metadata: ModelMetadata, lazy: bool = True) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
        self.metadata, self.scale = metadata, metadata.normalization
        faces, config = metadata.faces, network.config
        self._frames_shape = (faces.frames, faces.size, faces.size, 3)
        self._mfcc_shape = (config.coefficients, config.mfcc_frames)
        self._lazy = lazy and network.modality == "both"
        # Frames are scaled by two constants, because a branch of a graph can't make tensors of its own.
        levels = torch.tensor([0, 255]).to(torch.uint8)[:, None, None, None, None].expand(2, 1, 3, 1, 1)
        black, white = self.scale.frames(levels).permute(0, 2, 3, 4, 1)  # (1, 1, 1, 3)
        self.register_buffer("black", black.clone())
        self.register_buffer("span", (white - black) / 255)
        if self._lazy:  # computed by `_map`, which knows whether the batch has a face
            self._video = self.network.video
            self.network.add_module("video", nn.Identity())
        if network.modality != "video":
            pooled = config.mfcc_frames - 4  # the two convolutions before it remove 2 frames each
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
        """Random but reproducible inputs, by name."""
        random = torch.Generator().manual_seed(0)
        inputs: dict[str, Tensor] = {}
        if self.network.modality != "audio":
            inputs["frames"] = torch.randint(0, 256, (BATCH, *self._frames_shape), dtype=torch.uint8, generator=random)
        if self.network.modality != "video":
            mean, std = torch.tensor(self.scale.mfcc_mean), torch.tensor(self.scale.mfcc_std)
            noise = torch.randn(BATCH, *self._mfcc_shape, generator=random)
            inputs["mfcc"] = noise * std[:, None] + mean[:, None]
        if self.network.modality == "both":
            inputs["present"] = torch.ones(BATCH, 2, dtype=torch.bool)
        return inputs

    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return ["logits", "attention"] if hasattr(self.network, "cross_modal") else ["logits"]

    def program(self) -> torch.export.ExportedProgram:
        """Trace the graph, for any number of clips."""
        inputs = self.example()
        clips = torch.export.Dim("clips", min=1)
        # Otherwise the branches of `torch.cond` are traced with gradients.
        with torch.no_grad():
            program = torch.export.export(self, (), inputs, dynamic_shapes={name: {0: clips} for name in inputs})
        for module in program.graph_module.modules():  # branches have graphs of their own
            for node in getattr(getattr(module, "graph", None), "nodes", ()):
                node.meta.pop("stack_trace", None)  # contains paths of this machine
        return program

    def _scaled(self, frames: Tensor) -> Tensor:
        return (self.black + self.span * frames.float()).permute(0, 4, 1, 2, 3)  # (N, 3, T, H, W)

    def _map(self, frames: Tensor, present: Tensor | None) -> Tensor:
        assert present is not None
        size = self._map_size()

        def with_faces(frames: Tensor) -> Tensor:
            return self._video(self._scaled(frames)).contiguous()

        def without_faces(frames: Tensor) -> Tensor:
            return torch.zeros(frames.shape[0], *size)

        video_map: Tensor = torch.cond(present[:, 0].any(), with_faces, without_faces, (frames,))
        return video_map

    def _map_size(self) -> tuple[int, ...]:
        """Channels, time steps, rows and columns of the video map: 1/16 of the frames, 1/32 of the sides."""
        frames, side, *_ = self._frames_shape
        return self._video.channels, -(-frames // 16), -(-side // 32), -(-side // 32)


class WindowedMax(nn.Module):
    """`nn.AdaptiveMaxPool1d` for a fixed input length, as a gather and a maximum: ONNX has no adaptive pooling.

    Args:
        length: of the input.
        tokens: of the output.
    """

    index: Tensor
    """(S, frames of a window)"""

    def __init__(self, length: int, tokens: int) -> None:
        super().__init__()
        starts = torch.arange(tokens) * length // tokens
        ends = -(-torch.arange(1, tokens + 1) * length // tokens)
        steps = torch.arange(int((ends - starts).max()))
        # Windows differ by one frame; shorter ones repeat their last frame.
        self.register_buffer("index", torch.minimum(starts[:, None] + steps, ends[:, None] - 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, D, L)` to `(N, D, S)`."""
        return x[..., self.index].amax(dim=-1)
