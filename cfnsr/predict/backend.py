"""What runs the network: PyTorch here. Others only have to take and give the same arrays.

Shapes: N windows, T frames, H x W pixels, C coefficients, L MFCC frames, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cfnsr.errors import InputError

if TYPE_CHECKING:
    import torch

    from cfnsr.model import CFNSR

Frames = NDArray[np.uint8]
"""(N, T, H, W, 3), RGB."""
Mfccs = NDArray[np.float32]
"""(N, C, L), as `cfnsr.features.mfcc.mfcc` makes it."""


class Backend(Protocol):
    """A network with its scaling."""

    def logits(self, frames: Frames | None, mfcc: Mfccs | None) -> NDArray[np.float32]:
        """Logits (N, K) from both inputs or one of them."""

    def attention(self, frames: Frames, mfcc: Mfccs | None) -> NDArray[np.float32] | None:
        """Weights (N, T', H', W') of the video map's positions; None where the network has no cross-modal block."""


class TorchBackend:
    """A `CFNSR` in eval mode, on a GPU where there is one.

    Raises:
        InputError: there is no such device here.
    """

    def __init__(self, network: CFNSR, config: dict[str, Any], device: str | None = None) -> None:
        import torch

        from cfnsr.model.normalize import Normalization

        try:
            self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self._network = network.eval().to(self._device)
        except (RuntimeError, AssertionError) as error:  # a PyTorch built without CUDA raises the latter
            reason = str(error).splitlines()[0]
            raise InputError(f"device {device!r} can't be used ({reason}); name another, such as cpu.") from None
        self._normalization = Normalization.from_dict(config["normalization"])

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
