"""Pictures made from arrays, without a file."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

from cfnsr.media.picture import Picture


def picture(image: NDArray[np.uint8], time: float = 0.0) -> Picture:
    """A decoded picture of an RGB image (H, W, 3)."""
    return Picture.of(time, av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"))
