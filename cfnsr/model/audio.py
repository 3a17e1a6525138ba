"""Audio encoder: a 1-D CNN over the MFCC's time axis (paper, section 3.1).

Shapes: N clips, C channels, L MFCC frames, S audio tokens, A attention heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cfnsr.config.sections import AudioPooling

POOL = 8
"""MFCC frames per token (the published network's max-pool)."""

MIN_MFCC_FRAMES = 64

ATTENTION_HEADS = 4


class AttentionPooling(nn.Module):
    """Pools tokens over time to the features of a clip: weighted means and the maximum.

    The weights are those of Lin et al., "A structured self-attentive sentence embedding", ICLR 2017.

    Args:
        channels: C.
        hidden: channels of the hidden layer that computes the weights.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Conv1d(channels, hidden, kernel_size=1)
        self.scores = nn.Conv1d(hidden, ATTENTION_HEADS, kernel_size=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Pool `(N, C, S)` to `(N, (A + 1) C)`."""
        weights = self.scores(self.hidden(tokens).tanh()).softmax(dim=2)  # (N, A, S)
        means = weights @ tokens.transpose(1, 2)  # (N, A, C)
        return torch.cat([means.flatten(1), tokens.amax(dim=2)], dim=1)


class AudioEncoder(nn.Module):
    """Encodes an MFCC as a sequence of tokens; 20,704 parameters with the defaults.

    Args:
        coefficients: MFCC channels.
        mfcc_frames: length of the training input. It fixes the number of tokens, `(mfcc_frames - 4) // 8`; inputs of
            other lengths are pooled to the same number.
        width: channels of the first two convolutions; tokens have twice as many.
        pooling: of the tokens to the features of a clip: "flatten", the paper's, concatenates them; "attention" is
            `AttentionPooling`.

    Attributes:
        channels: C of a token.
        features: number of features of a clip.
    """

    def __init__(
        self, coefficients: int = 13, mfcc_frames: int = 212, width: int = 32, pooling: AudioPooling = "flatten"
    ) -> None:
        super().__init__()
        self.channels = 2 * width
        self.tokens = (mfcc_frames - 4) // POOL  # the two convolutions remove 2 frames each
        self.conv1 = nn.Conv1d(coefficients, width, kernel_size=7, padding=2)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, kernel_size=7, padding=2)
        self.pool = nn.AdaptiveMaxPool1d(self.tokens)  # equal to the published max-pool of 8 at the usual length
        self.bn2 = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.2)
        self.conv3 = nn.Conv1d(width, self.channels, kernel_size=5, padding=2)
        self.bn3 = nn.BatchNorm1d(self.channels)
        self.pooling: nn.Module
        if pooling == "attention":
            self.pooling = AttentionPooling(self.channels, width)
            self.features = (ATTENTION_HEADS + 1) * self.channels
        else:
            self.pooling = nn.Flatten()
            self.features = self.tokens * self.channels

    def forward(self, mfcc: Tensor) -> Tensor:
        """Encode `(N, coefficients, L)` to tokens `(N, C, S)`.

        Raises:
            ValueError: there are fewer than 64 MFCC frames.
        """
        if mfcc.shape[-1] < MIN_MFCC_FRAMES:
            raise ValueError(f"the MFCC has {mfcc.shape[-1]} frames; pad it to at least {MIN_MFCC_FRAMES}")
        x = self.bn1(F.relu(self.conv1(mfcc)))  # (N, C/2, L - 2)
        x = self.bn2(self.pool(F.relu(self.conv2(x))))  # (N, C/2, S)
        return self.bn3(F.relu(self.conv3(self.dropout(x))))  # (N, C, S)
