"""Cross-modal block: self-attention over the audio weights the video map, with a residual (paper, section 3.2).

Shapes: N clips, C video channels, T x H x W video map, D audio channels, S audio tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HEADS = 8
DROPOUT = 0.1  # of attention, ReLU and residual, as published
EMBEDDING_DROPOUT = 0.3


def sinusoidal_positions(tokens: int, channels: int) -> Tensor:
    """Position table `(tokens, channels)`: sines, then cosines, with positions counted from 1."""
    half = channels // 2
    frequencies = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
    angles = torch.arange(1, tokens + 1).unsqueeze(1) * frequencies  # (S, D/2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)  # (S, D)


class AudioSummary(nn.Module):
    """A pre-norm, causal Transformer encoder over the audio tokens; its last token is their summary."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            channels, HEADS, dim_feedforward=4 * channels, dropout=DROPOUT, batch_first=True, norm_first=True
        )
        # Nested tensors are for padded batches, which do not occur here; enabling them prints a warning.
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(channels), enable_nested_tensor=False)
        self.dropout = nn.Dropout(EMBEDDING_DROPOUT)

    def forward(self, tokens: Tensor) -> Tensor:
        """Summarise tokens `(N, D, S)` as `(N, D)`."""
        x = tokens.transpose(1, 2)  # (N, S, D)
        positions = sinusoidal_positions(x.shape[1], x.shape[2]).to(x)
        x = self.dropout(math.sqrt(x.shape[2]) * x + positions)
        causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1], device=x.device, dtype=x.dtype)
        return self.encoder(x, mask=causal, is_causal=True)[:, -1]  # (N, D)


class CrossModalBlock(nn.Module):
    """Weights each position of the video map by its relevance to the audio; 385,345 parameters with the defaults.

    Args:
        video_channels: C.
        audio_channels: D, also the size of the joint space of both modalities.
        layers: number of layers of the audio Transformer.
        attention: False replaces the Transformer by the mean of the audio tokens (ablation).
        residual: False returns only the weighted map (ablation).
    """

    def __init__(
        self,
        video_channels: int = 2048,
        audio_channels: int = 64,
        layers: int = 5,
        attention: bool = True,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.summary = AudioSummary(audio_channels, layers) if attention else None
        self.video_projection = nn.Linear(video_channels, audio_channels)
        self.audio_projection = nn.Linear(audio_channels, audio_channels, bias=False)
        self.score = nn.Linear(audio_channels, 1)

    def forward(
        self, video_map: Tensor, audio_tokens: Tensor | None, heard: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Weight `(N, C, T, H, W)` by `(N, D, S)`.

        Args:
            video_map: of the faces.
            audio_tokens: of the voices; None if there are none.
            heard: (N, 1), 0 for clips without a voice, whose weights depend on the video alone; None: all have a voice.

        Returns:
            The weighted map `(N, C, T, H, W)` and the attention `(N, T, H, W)`, which sums to 1 over each time step.
        """
        score = self.video_projection(video_map.movedim(1, -1))  # (N, T, H, W, D)
        if audio_tokens is not None:
            summary = self.summary(audio_tokens) if self.summary is not None else audio_tokens.mean(dim=2)  # (N, D)
            audio = self.audio_projection(summary)  # (N, D); without a bias, so that a missing voice adds nothing
            audio = audio if heard is None else audio * heard
            score = score + audio[:, None, None, None]
        score = self.score(torch.tanh(score)).squeeze(-1)  # (N, T, H, W)
        attention = score.flatten(2).softmax(dim=2).view_as(score)
        weighted = video_map * attention.unsqueeze(1)  # (N, C, T, H, W)
        return (weighted + video_map if self.residual else weighted), attention
