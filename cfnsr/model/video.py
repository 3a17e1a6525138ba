"""Video encoder: 3-D ResNeXt (Hara, Kataoka and Satoh, CVPR 2018; the paper's 50-layer form).

Shapes: N clips, C channels, T frames, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

EXPANSION = 2
"""Ratio of a bottleneck's output channels to its inner channels; 2 for ResNeXt, 4 for ResNet."""

MIN_FRAMES = 8
MIN_SIZE = 32


class Bottleneck(nn.Module):
    """1x1x1, grouped 3x3x3 and 1x1x1 convolutions; if the shape changes, the shortcut is projected (type B)."""

    def __init__(self, channels_in: int, channels: int, cardinality: int, stride: int) -> None:
        super().__init__()
        channels_out = EXPANSION * channels
        self.conv1 = nn.Conv3d(channels_in, channels, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(
            channels, channels, kernel_size=3, stride=stride, padding=1, groups=cardinality, bias=False
        )
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = nn.Conv3d(channels, channels_out, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm3d(channels_out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv3d(channels_in, channels_out, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm3d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C_in, T, H, W)` to `(N, 2 channels, T/stride, H/stride, W/stride)`."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.downsample(x))


class VideoEncoder(nn.Module):
    """Encodes face frames as a feature map; 25,865,664 parameters with the defaults.

    Args:
        layers: number of bottlenecks in each of the four stages.
        width: channels of the stem; the map has 32 times as many.
        cardinality: groups of the 3x3x3 convolutions.
        stem_relu: apply a ReLU after the stem's batch norm. The published stand-alone encoder has it; the published
            fused network does not.
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        cardinality: int = 32,
        stem_relu: bool = True,
    ) -> None:
        super().__init__()
        if (2 * width) % cardinality:
            raise ValueError(f"cardinality {cardinality} must divide twice the width, {2 * width}")
        self.stem_relu = stem_relu
        self.conv1 = nn.Conv3d(3, width, kernel_size=7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.pool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        one, two, three, four = layers
        self.layer1 = _stage(width, 2 * width, one, cardinality, stride=1)
        self.layer2 = _stage(4 * width, 4 * width, two, cardinality, stride=2)
        self.layer3 = _stage(8 * width, 8 * width, three, cardinality, stride=2)
        self.layer4 = _stage(16 * width, 16 * width, four, cardinality, stride=2)
        self.channels = 32 * width
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, frames: Tensor) -> Tensor:
        """Encode `(N, 3, T, H, W)` to a map `(N, C, T/16, H/32, W/32)`, sizes rounded up.

        Raises:
            ValueError: there are fewer than 8 frames, or they are smaller than 32 x 32.
        """
        if frames.shape[2] < MIN_FRAMES or min(frames.shape[3:]) < MIN_SIZE:
            time, height, width = frames.shape[2:]
            raise ValueError(
                f"the clip is {time} frames of {height} x {width}; the network needs at least {MIN_FRAMES} frames of "
                f"{MIN_SIZE} x {MIN_SIZE}"
            )
        x = self.bn1(self.conv1(frames))  # (N, width, T, H/2, W/2)
        if self.stem_relu:
            x = F.relu(x)
        x = self.pool(x)  # (N, width, T/2, H/4, W/4)
        x = self.layer1(x)
        x = self.layer2(x)  # (N, 8 width, T/4, H/8, W/8)
        x = self.layer3(x)
        return self.layer4(x)  # (N, 32 width, T/16, H/32, W/32)


def _stage(channels_in: int, channels: int, blocks: int, cardinality: int, stride: int) -> nn.Sequential:
    """Bottlenecks of one size; the first has the stride and changes the number of channels."""
    first = Bottleneck(channels_in, channels, cardinality, stride)
    rest = [Bottleneck(EXPANSION * channels, channels, cardinality, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
