"""Drawing on RGB images in face units: smooth shapes, soft shadows.

A face unit (u) is a 240th of the picture's height, less in a narrow picture. The origin lies between the eyes; x goes
to the right of the picture, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

Color = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""

Points = np.ndarray
"""(P, 2) in u."""

_FRACTION_BITS = 4


@dataclass(frozen=True)
class Pen:
    """Draws in place on an image (H, W, 3 or 4) uint8.

    Args:
        image: three channels; or four, the colour multiplied by its opacity and the opacity.
        origin: pixel (x, y) of the origin.
        scale: pixels per unit.
    """

    image: np.ndarray
    origin: tuple[float, float]
    scale: float

    def blank(self) -> Pen:
        """A pen on a new transparent layer of the same size and origin."""
        return replace(self, image=np.zeros((*self.image.shape[:2], 4), np.uint8))

    def lay(self, layer: Pen) -> None:
        """Blend a transparent layer over the image."""
        through = 1 - layer.image[..., 3:] / np.float32(255)
        self.image[:] = np.rint(self.image * through + layer.image[..., : self.image.shape[2]])

    def fill(self, points: Points, color: Color) -> None:
        """Fill a closed outline, anti-aliased."""
        cv2.fillPoly(self.image, [self._pixels(points)], self._paint(color), cv2.LINE_AA, _FRACTION_BITS)

    def line(self, points: Points, color: Color, width: float) -> None:
        """Draw an open line of `width` u, anti-aliased, with round ends."""
        thickness = max(1, round(width * self.scale))
        pixels = [self._pixels(points)]
        cv2.polylines(self.image, pixels, False, self._paint(color), thickness, cv2.LINE_AA, _FRACTION_BITS)

    def disc(self, center: Sequence[float], radius: float, color: Color) -> None:
        """Draw a filled circle, anti-aliased."""
        self.fill(ellipse(center, radius, radius), color)

    def soft(self, points: Points, color: Color, opacity: float, blur: float) -> None:
        """Blend in a closed outline with edges blurred over `blur` u; the alpha channel is unchanged."""
        self._soft(points, color, None, opacity, blur)

    def soft_line(self, points: Points, color: Color, width: float, opacity: float, blur: float) -> None:
        """Blend in an open line with edges blurred over `blur` u; the alpha channel is unchanged."""
        self._soft(points, color, width, opacity, blur)

    def _soft(self, points: Points, color: Color, width: float | None, opacity: float, blur: float) -> None:
        reach = 3 * blur + (1 if width is None else width)
        region = self._region(points.min(axis=0) - reach, points.max(axis=0) + reach)
        if region is None:
            return
        patch, corner = region
        mask = np.zeros(patch.shape[:2], np.uint8)
        pixels = [self._pixels(points, corner)]
        if width is None:
            cv2.fillPoly(mask, pixels, 255, cv2.LINE_AA, _FRACTION_BITS)
        else:
            thickness = max(1, round(width * self.scale))
            cv2.polylines(mask, pixels, False, 255, thickness, cv2.LINE_AA, _FRACTION_BITS)
        self._blend(patch, color, cv2.GaussianBlur(mask, (0, 0), max(blur * self.scale, 0.1)), opacity)

    def _pixels(self, points: Points, corner: tuple[int, int] = (0, 0)) -> np.ndarray:
        pixels = points * self.scale + np.subtract(self.origin, corner)
        return np.rint(pixels * 2**_FRACTION_BITS).astype(np.int32)

    def _paint(self, color: Color) -> tuple[float, ...]:
        return (*color, 255.0) if self.image.shape[2] == 4 else color

    def _region(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, tuple[int, int]] | None:
        """View of the image between two points in u, and its top left pixel; None if outside the image."""
        height, width = self.image.shape[:2]
        left, top = np.clip(np.floor(low * self.scale + self.origin).astype(int), 0, (width, height))
        right, bottom = np.clip(np.ceil(high * self.scale + self.origin).astype(int), 0, (width, height))
        if left >= right or top >= bottom:
            return None
        return self.image[top:bottom, left:right], (int(left), int(top))

    @staticmethod
    def _blend(patch: np.ndarray, color: Color, mask: np.ndarray, opacity: float) -> None:
        share = mask[..., None] * np.float32(opacity / 255)
        rgb = patch[..., :3]
        paint: np.ndarray = np.array(color, np.float32)
        if patch.shape[2] == 4:
            paint = paint * (patch[..., 3:] / np.float32(255))
        patch[..., :3] = np.rint(rgb + (paint - rgb) * share)


def ellipse(center: Sequence[float], x_radius: float, y_radius: float, points: int = 32) -> Points:
    """Outline of an axis-aligned ellipse."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([center[0] + x_radius * np.cos(angle), center[1] + y_radius * np.sin(angle)], axis=1)


def curve(*points: Sequence[float], steps: int = 8) -> Points:
    """Smooth line through points (a Catmull-Rom spline), `steps` points per segment."""
    knots = np.array(points, dtype=float)
    knots = np.concatenate([[2 * knots[0] - knots[1]], knots, [2 * knots[-1] - knots[-2]]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(knots[:-3], knots[1:-2], knots[2:-1], knots[3:], strict=True)
    ]
    return np.concatenate([*parts, knots[-2:-1]])


def mirrored(points: Points) -> Points:
    """The points mirrored to the other side of the face."""
    return points * (-1, 1)


def shade(color: Color, factor: float) -> Color:
    """The colour darkened (factor below 1) or brightened (above 1)."""
    red, green, blue = (min(255.0, channel * factor) for channel in color)
    return red, green, blue


def mix(color: Color, other: Color, share: float) -> Color:
    """Mix of two colours with `share` of the second."""
    red, green, blue = (a + share * (b - a) for a, b in zip(color, other, strict=True))
    return red, green, blue
