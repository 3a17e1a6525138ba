"""Running a network: the interface, and its implementation in PyTorch.

Shapes: N windows, T frames, H x W pixels, C coefficients, L MFCC frames, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import InputError

if TYPE_CHECKING:
    import torch

    from cfnsr.model.metadata import ModelMetadata
    from cfnsr.model.network import CFNSR

Frames = NDArray[np.uint8]
"""(N, T, H, W, 3), RGB."""
Mfccs = NDArray[np.float32]
"""(N, C, L), from `cfnsr.features.mfcc.mfcc`."""


class Backend(Protocol):
    """A network that includes the scaling of its inputs."""

    def logits(self, frames: Frames | None, mfcc: Mfccs | None) -> NDArray[np.float32]:
        """Compute the logits (N, K) from both inputs or one of them."""

    def attention(self, frames: Frames, mfcc: Mfccs | None) -> NDArray[np.float32] | None:
        """Compute the weights (N, T', H', W') of the video map's positions; None without a cross-modal block."""


class TorchBackend:
    """A `CFNSR` in eval mode.

    Args:
        network: to run.
        metadata: of the network.
        device: a PyTorch device; None: a GPU if there is one.

    Raises:
        InputError: the device is not available.
    """

    def __init__(self, network: CFNSR, metadata: ModelMetadata, device: str | None = None) -> None:
        import torch

        try:
            self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self._network = network.eval().to(self._device)
        except (RuntimeError, AssertionError) as error:  # a PyTorch built without CUDA raises the latter
            reason = str(error).splitlines()[0]
            raise InputError(f"device {device!r} can't be used ({reason}); name another, such as cpu.") from None
        self._normalization = metadata.normalization

    def logits(self, frames: Frames | None, mfcc: Mfccs | None) -> NDArray[np.float32]:
        """See `Backend`."""
        import torch

        with torch.inference_mode():
            return self._network(*self._inputs(frames, mfcc)).float().cpu().numpy()

    def attention(self, frames: Frames, mfcc: Mfccs | None) -> NDArray[np.float32] | None:
        """See `Backend`."""
        import torch

        with torch.inference_mode():
            weights = self._network.explain(*self._inputs(frames, mfcc)).attention
        return None if weights is None else weights.float().cpu().numpy()

    def _inputs(self, frames: Frames | None, mfcc: Mfccs | None) -> list[torch.Tensor | None]:
        import torch

        scale = self._normalization
        pictures = None if frames is None else scale.frames(torch.from_numpy(frames).permute(0, 1, 4, 2, 3))
        voices = None if mfcc is None else scale.mfcc(torch.from_numpy(mfcc))
        return [value if value is None else value.to(self._device) for value in (pictures, voices)]
