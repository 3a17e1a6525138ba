"""An animated face: brows, eyes and mouth over a portrait, with head motion, blinks, gaze and camera noise.

Shapes: T frames of H x W pixels. Lengths are in u, see `drawing.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from cfnsr.corpus.ravdess import Take
from cfnsr.corpus.sample.drawing import Pen, Points, curve, ellipse, mix, shade
from cfnsr.corpus.sample.plan import Expression, face_half, random_for
from cfnsr.corpus.sample.portrait import Looks, paint_head, paint_scene
from cfnsr.corpus.sample.speech import articulate

_HEAD_SIZE = (176, 208)  # u, width and height of the moving layer
_HEAD_ORIGIN = (88, 96)  # u, position of the origin in it
_DETAIL = 2  # the head is drawn at twice the size, for fine lines and smooth motion
_NOISE = 1.6  # standard deviation of the camera noise, on a scale of 255


class Pose(NamedTuple):
    """Positions of the features: offsets in u from a calm face unless stated otherwise."""

    brow_inner: float = 0.0  # raised
    brow_outer: float = 0.0  # raised
    brow_pinch: float = 0.0  # drawn together
    eye: float = 0.0  # opened wider, as a share of the calm height
    lid_slope: float = 0.0  # inner end of the upper lid raised, outer end lowered
    lower_lid: float = 0.0  # raised
    corner: float = 0.0  # of the mouth, raised
    stretch: float = 0.0  # mouth wider
    gape: float = 0.0  # mouth open without speaking
    snarl: float = 0.0  # upper lip raised, its opening square
    fold: float = 0.0  # line from nose to mouth, 0 to 1
    furrow: float = 0.0  # lines between the brows, 0 to 1
    wrinkle: float = 0.0  # lines over the brows, 0 to 1
    cheek: float = 0.0  # raised and full, 0 to 1


_POSES = {
    Expression.RELAXED: Pose(),
    Expression.SMILING: Pose(
        brow_inner=7, brow_outer=7, eye=0.12, corner=8.5, stretch=5, gape=6, fold=0.35, wrinkle=0.3, cheek=1
    ),
    Expression.GRIEVING: Pose(
        brow_inner=9.5, brow_outer=-4.5, brow_pinch=4, eye=-0.02, lid_slope=3, corner=-8.5, stretch=-1.5,
        furrow=0.35, wrinkle=0.7,
    ),
    Expression.SCOWLING: Pose(
        brow_inner=-8, brow_outer=3, brow_pinch=5, eye=-0.3, lid_slope=-3.5, lower_lid=1.8, corner=-3.5, stretch=2.5,
        gape=3, snarl=4.5, fold=0.9, furrow=1,
    ),
}  # fmt: skip
"""Expressions at strength 1, after the action units of Ekman and Friesen: 1+2+12+25, 1+4+15, 4+7+9+10."""


def render_face(take: Take, seed: int, width: int, height: int, fps: int, seconds: float) -> np.ndarray:
    """Frames of a take, (T, H, W, 3) uint8 RGB with T = fps x seconds; deterministic."""
    looks = Looks.of(take.actor, seed)
    scene, head = (layer.copy() for layer in _portrait(take.actor, seed, width, height))
    random = random_for("face", seed, take)
    expression, strength = face_half(take)
    strength *= random.uniform(0.9, 1.1)
    pose = Pose(*(value * strength * random.uniform(0.88, 1.12) for value in _POSES[expression]))
    pose = pose._replace(
        brow_inner=pose.brow_inner + random.normal(0, 0.7),
        brow_outer=pose.brow_outer + random.normal(0, 0.7),
        eye=pose.eye + random.normal(0, 0.04),
        corner=pose.corner + random.normal(0, 0.7),
    )

    times = np.arange(round(fps * seconds)) / fps
    speech = articulate(take, seed, seconds, times).opening
    eyes = 1 - _blinks(times, random)
    gaze = np.stack([_wander(times, random, 0.6, 1.6), _wander(times, random, 0.6, 0.9)], axis=1)
    liveliness = 1 + _wander(times, random, 0.7, 0.06)
    motions = _head_motion(times, random, width, height)
    brightness = random.uniform(0.94, 1.05)
    noise = _noise(random, width, height)

    scale = _DETAIL * _unit(width, height)
    still = Pen(head, (_HEAD_ORIGIN[0] * scale, _HEAD_ORIGIN[1] * scale), scale)
    _paint_folds(still, looks, pose)
    frames = np.empty((len(times), height, width, 3), np.uint8)
    for index, motion in enumerate(motions):
        pen = Pen(head.copy(), still.origin, scale)
        now = Pose(*(value * liveliness[index] for value in pose))
        _draw_brows(pen, looks, now)
        _draw_eyes(pen, looks, now, eyes[index], gaze[index])
        _draw_mouth(pen, looks, now, speech[index])
        moved = cv2.warpAffine(pen.image, motion, (width, height), flags=cv2.INTER_LINEAR)
        behind = cv2.multiply(scene, cv2.cvtColor(255 - moved[..., 3], cv2.COLOR_GRAY2RGB), scale=1 / 255)
        lit = cv2.convertScaleAbs(cv2.add(behind, moved[..., :3]), alpha=brightness)
        x, y = random.integers(0, width), random.integers(0, height)
        frames[index] = cv2.add(lit, noise[y : y + height, x : x + width], dtype=cv2.CV_8U)
    return frames


@lru_cache(maxsize=2)
def _portrait(actor: int, seed: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Scene (H, W, 3) and head layer (…, 4) of an actor, without brows, eyes and mouth."""
    looks = Looks.of(actor, seed)
    unit = _unit(width, height)
    scene = np.empty((height, width, 3), np.uint8)
    paint_scene(Pen(scene, _origin(width, height), unit), looks)
    scale = _DETAIL * unit
    head = np.zeros((round(_HEAD_SIZE[1] * scale), round(_HEAD_SIZE[0] * scale), 4), np.uint8)
    paint_head(Pen(head, (_HEAD_ORIGIN[0] * scale, _HEAD_ORIGIN[1] * scale), scale), looks)
    return scene, head


def _unit(width: int, height: int) -> float:
    """Pixels per u."""
    return min(height / 240, width / 200)


def _origin(width: int, height: int) -> tuple[float, float]:
    return width / 2, 0.47 * height


def _wander(times: np.ndarray, random: np.random.Generator, speed: float, size: float) -> np.ndarray:
    """Smooth random motion (T) around zero at about `speed` Hz, rarely beyond `size`."""
    frequency = speed * random.uniform(0.4, 1.4, 3)
    waves = np.sin(2 * np.pi * (times[:, None] * frequency + random.uniform(size=3)))
    return size * waves.mean(axis=1) * 1.3


def _blinks(times: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Closure of the lids (T), 0 to 1: a blink of 0.2 s every few seconds."""
    closed = np.zeros(len(times))
    moment = random.uniform(0.1, 2.5)
    while moment < times[-1]:
        closed = np.maximum(closed, np.clip(1.4 - np.abs(times - moment) / 0.085, 0, 1))
        moment += random.uniform(1.5, 4)
    return closed


def _head_motion(times: np.ndarray, random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Affine maps (T, 2, 3) from the head layer to the picture."""
    unit = _unit(width, height)
    angle = np.radians(random.normal(0, 1.2) + _wander(times, random, 0.6, 2.5))
    size = (random.uniform(0.96, 1.04) + _wander(times, random, 0.4, 0.012)) / _DETAIL
    x = random.normal(0, 3) + _wander(times, random, 0.5, 3.5)
    y = random.normal(0, 1.5) + _wander(times, random, 0.8, 2)
    origin = _origin(width, height)
    cos, sin = size * np.cos(angle), size * np.sin(angle)
    pivot_x, pivot_y = (value * _DETAIL * unit for value in _HEAD_ORIGIN)
    return np.stack(
        [
            np.stack([cos, -sin, origin[0] + x * unit - cos * pivot_x + sin * pivot_y], axis=1),
            np.stack([sin, cos, origin[1] + y * unit - sin * pivot_x - cos * pivot_y], axis=1),
        ],
        axis=1,
    )


def _noise(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Grey camera noise (2H, 2W, 3) int16, from which each frame takes a different crop."""
    small = random.normal(0, _NOISE, (height, width)).astype(np.int16)
    return np.repeat(np.tile(small, (2, 2))[..., None], 3, axis=2)


def _paint_folds(pen: Pen, looks: Looks, pose: Pose) -> None:
    """Lines and shadows of the skin that do not change during a take."""
    for side in (-1, 1):
        if pose.cheek > 0:
            full = ellipse((side * 29, 24), 12, 8)
            pen.soft(full, shade(looks.skin, 1.12), min(0.6 * pose.cheek, 1), 5)
            under = curve((side * 16, 33), (side * 28, 37), (side * 39, 31))
            pen.soft_line(under, looks.shadow, 2, min(0.25 * pose.cheek, 1), 2.5)
        if pose.fold > 0:
            end = looks.mouth_width + pose.stretch + 5
            start = (side * (looks.nose_width + 1.5), looks.nose_length - 2)
            fold = curve(start, (side * (end - 3), looks.mouth_y - 9), (side * end, looks.mouth_y + 2))
            pen.soft_line(fold, looks.shadow, 1.6, min(0.75 * pose.fold, 1), 1)
        if pose.furrow > 0:
            furrow = curve((side * 2.6, -19), (side * 3.4, -14), (side * 2.2, -9))
            pen.soft_line(furrow, looks.shadow, 1.4, min(0.7 * pose.furrow, 1), 0.9)
    if pose.wrinkle > 0:
        for y in (-31, -26.5):
            across = curve((-17, y + 1), (0, y - 1), (17, y + 1))
            pen.soft_line(across, looks.shadow, 1.1, min(0.4 * pose.wrinkle, 1), 0.9)


def _draw_brows(pen: Pen, looks: Looks, pose: Pose) -> None:
    y, weight = -looks.brow_height, looks.brow_weight
    inner = (10 - pose.brow_pinch, y + 1 - pose.brow_inner)
    middle = (looks.eye_distance + 1, y - 2.5 - (0.4 * pose.brow_inner + 0.6 * pose.brow_outer))
    outer = (looks.eye_distance + 14, y + 3 - pose.brow_outer)
    upper = curve(inner, middle, outer)
    thickness = weight * np.interp(np.linspace(0, 1, len(upper)), [0, 0.1, 0.5, 1], [0.7, 1, 1, 0.3])
    brow = np.concatenate([upper, (upper + np.stack([0 * thickness, thickness], axis=1))[::-1]])
    for side in (-1, 1):
        pen.fill(brow * (side, 1), looks.brow)


def _draw_eyes(pen: Pen, looks: Looks, pose: Pose, openness: float, gaze: np.ndarray) -> None:
    half = looks.eye_width
    x = np.linspace(-half, half, 17)
    arch = (1 - (x / half) ** 2) ** 0.8
    for side in (-1, 1):
        slope = -pose.lid_slope * (-side * x / half) * arch * 1.1
        height = looks.eye_height * max(1 + pose.eye, 0.3)
        low = 4.0 * looks.eye_height - pose.lower_lid
        lower = arch * (low * (0.35 + 0.65 * openness) if openness < 1 else low)
        upper = lower + (-(7.2 * height) * arch + slope - lower) * openness
        upper = np.minimum(upper, lower)
        center = np.array([side * looks.eye_distance, 0.0])
        x_shown = x + center[0]
        top, bottom = np.stack([x_shown, upper], axis=1), np.stack([x_shown, lower], axis=1)
        if openness > 0.15:
            pen.fill(np.concatenate([top, bottom[::-1]]), (234, 231, 227))
            for radius, color, shift in (
                (6.0, shade(looks.iris, 0.6), 0.0),
                (5.2, looks.iris, 0.0),
                (2.7, (18, 14, 14), 0.0),
                (1.5, (255, 255, 255), 2.0),
            ):
                disc = ellipse(center + gaze + (shift * looks.light, -shift - 0.8), radius, radius, 24)
                low_limit = np.interp(disc[:, 0], x_shown, upper), np.interp(disc[:, 0], x_shown, lower)
                pen.fill(np.stack([disc[:, 0], disc[:, 1].clip(*low_limit)], axis=1), color)
        else:
            pen.fill(np.concatenate([top - (0, 6), bottom[::-1]]), shade(looks.skin, 0.86))
        pen.line(bottom, mix(looks.shadow, looks.skin, 0.25), 0.8)
        pen.line(top, mix((34, 22, 22), looks.shadow, 0.15), 2.0 if looks.lashes else 1.6)
        if looks.lashes:
            edge = 0 if side < 0 else -1
            pen.line(np.stack([top[edge], top[edge] + (side * 3.2, -2.6)]), (34, 22, 22), 1.4)


def _draw_mouth(pen: Pen, looks: Looks, pose: Pose, speech: float) -> None:
    """Lips, opening, teeth and tongue; each edge is a function of t, from -1 (left corner) to 1 (right corner)."""
    t = np.linspace(-1, 1, 25)
    half = looks.mouth_width + pose.stretch - 2.5 * speech
    x = half * t
    arch = 1 - t**2
    square = 1 - t**4 if pose.snarl > 0.5 else arch
    spoken = speech * max(8 - 0.5 * pose.gape, 4)  # an open mouth opens less when speaking
    middle = looks.mouth_y + pose.corner * (0.2 - t**2)
    upper = middle - (0.25 * pose.gape + 0.2 * spoken) * arch - pose.snarl * square
    lower = middle + (0.75 * pose.gape + spoken) * arch**0.7
    bow = 1 + 0.22 * np.cos(2.2 * np.pi * t) - 0.25 * np.exp(-((t / 0.14) ** 2))
    lip_upper = upper - looks.lip_weight * bow * arch**0.6
    lip_lower = lower + 1.35 * looks.lip_weight * arch**0.6

    def between(top: np.ndarray, bottom: np.ndarray) -> Points:
        return np.concatenate([np.stack([x, top], axis=1), np.stack([x, bottom], axis=1)[::-1]])

    pen.fill(between(lip_upper, upper + 0.5), shade(looks.lip, 0.86))
    pen.fill(between(lower - 0.5, lip_lower), looks.lip)
    if (lower - upper).max() > 1.2:
        pen.fill(between(upper, lower), (72, 22, 26))
        teeth = np.minimum(upper + 4.2 + 0.4 * pose.snarl, lower - 0.2 * (lower - upper))
        inside = np.abs(t) < 0.86
        pen.fill(between(upper, np.maximum(teeth, upper))[np.concatenate([inside, inside[::-1]])], (246, 244, 238))
        tongue = np.maximum(lower - 0.35 * (lower - upper) * arch, teeth)
        pen.fill(between(np.minimum(tongue, lower), lower), (176, 70, 74))
    else:
        pen.line(np.stack([x, (upper + lower) / 2], axis=1), shade(looks.shadow, 0.55), 1.3)
    for side in (0, -1):
        pen.disc((x[side], middle[side]), 1.1, shade(looks.shadow, 0.7))
