"""Appearance of an actor, and the static parts of the picture: head, hair, shoulders, background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cfnsr.corpus.sample.drawing import Color, Pen, Points, curve, ellipse, mirrored, mix, shade
from cfnsr.corpus.sample.plan import random_for

_SKINS: tuple[Color, ...] = (
    (250, 219, 196), (241, 200, 170), (228, 180, 144), (208, 153, 115), (176, 121, 88), (140, 94, 69),
)  # fmt: skip
_HAIRS: tuple[Color, ...] = (
    (34, 28, 30), (62, 42, 32), (98, 64, 40), (140, 74, 42), (206, 164, 98), (150, 146, 146),
)  # fmt: skip
_IRISES: tuple[Color, ...] = ((86, 54, 32), (60, 92, 130), (74, 110, 76), (112, 82, 44))
_SHIRTS: tuple[Color, ...] = (
    (52, 84, 132), (150, 60, 62), (66, 112, 92), (92, 76, 122), (196, 140, 62), (64, 68, 78),
)  # fmt: skip
_BACKGROUNDS: tuple[Color, ...] = (
    (206, 218, 230), (226, 216, 202), (208, 226, 214), (224, 212, 226), (218, 218, 214), (232, 222, 196),
)  # fmt: skip
_MALE_STYLES = ("short", "parted", "curly", "cropped")
_FEMALE_STYLES = ("long", "bob", "bun", "curls")
_HAIR_OVER_NECK = ("long", "bob", "curls")


@dataclass(frozen=True)
class Looks:
    """Individual appearance of an actor; lengths in u, see `drawing.py`."""

    skin: Color
    hair: Color
    brow: Color
    iris: Color
    lip: Color
    shirt: Color
    background: Color
    style: str
    lashes: bool
    width: float  # half width of the face
    chin: float  # y of the chin
    jaw: float  # 2: round, above: square
    eye_distance: float  # from the midline
    eye_width: float  # half
    eye_height: float
    brow_height: float  # above the eye
    brow_weight: float
    nose_length: float
    nose_width: float
    mouth_y: float
    mouth_width: float  # half
    lip_weight: float
    beard: float  # 0 none, 1 dense
    light: float  # -1 from the left, 1 from the right

    @classmethod
    def of(cls, actor: int, seed: int) -> Looks:
        """Looks of an actor; skin, hair and style differ between actors of neighbouring numbers."""
        random = random_for("looks", seed, actor)
        male = actor % 2 == 1
        deal = random_for("cast", seed, 0)
        skin_share = deal.permutation(24)[actor - 1] / 23 * (len(_SKINS) - 1)
        hair_order, shirt_order, background_order = (deal.permutation(6) for _ in range(3))
        lower = int(min(skin_share, len(_SKINS) - 2))
        skin = mix(_SKINS[lower], _SKINS[lower + 1], skin_share - lower)
        dark = skin_share > 3.2
        hair = _HAIRS[hair_order[actor % 6] % 2 if dark else hair_order[actor % 6]]
        styles = _MALE_STYLES if male else _FEMALE_STYLES
        return cls(
            skin=skin,
            hair=hair,
            brow=mix(shade(hair, 0.7), (40, 28, 24), 0.55),
            iris=_IRISES[0] if dark else _IRISES[random.integers(len(_IRISES))],
            lip=mix(shade(skin, 0.8), (184, 62, 70), 0.3 if male else 0.55),
            shirt=_SHIRTS[shirt_order[(actor // 2) % 6]],
            background=_BACKGROUNDS[background_order[(actor + actor // 6) % 6]],
            style=styles[(actor - 1) // 2 % 4],
            lashes=not male,
            width=random.uniform(47, 52) - (0 if male else 2),
            chin=random.uniform(64, 71),
            jaw=random.uniform(2.2, 2.7) if male else random.uniform(1.85, 2.2),
            eye_distance=random.uniform(20, 22.5),
            eye_width=random.uniform(10, 11.5),
            eye_height=random.uniform(0.9, 1.15),
            brow_height=random.uniform(15, 17.5),
            brow_weight=random.uniform(4.2, 5.2) if male else random.uniform(3.0, 3.9),
            nose_length=random.uniform(22, 27),
            nose_width=random.uniform(7.5, 10) - (0 if male else 1),
            mouth_y=random.uniform(43, 46),
            mouth_width=random.uniform(16, 19),
            lip_weight=random.uniform(2.4, 3.2) if male else random.uniform(3.0, 4.0),
            beard=random.choice([0.0, 0.0, 0.5, 0.9]) if male else 0.0,
            light=random.choice([-1.0, 1.0]) * random.uniform(0.4, 1.0),
        )

    @property
    def shadow(self) -> Color:
        """Colour of shadows on the skin."""
        return mix(shade(self.skin, 0.5), (92, 34, 30), 0.3)

    @property
    def outline(self) -> Points:
        """Outline of the face."""
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        x, y = np.cos(angle), np.sin(angle)
        power = np.where(y > 0, 2 / self.jaw, 1.0)
        narrow = 1 - 0.10 * np.clip(y, 0, 1) ** 2
        return np.stack(
            [
                self.width * np.sign(x) * np.abs(x) ** power * narrow,
                4 + np.where(y > 0, (self.chin - 4) * np.abs(y) ** power, 58 * y),
            ],
            axis=1,
        )


class _Cut(NamedTuple):
    """Front hair of a style, in u."""

    rise: float  # of the top above the eyes
    volume: float  # thickness over the head
    bottom: float  # y where it ends at the sides
    beyond: float  # how far it extends beyond the face there
    temples: tuple[tuple[float, float], tuple[float, float]]  # left and right: inset from the face's edge, y
    forehead: tuple[tuple[float, float], ...]  # the hairline between the temples


_CUTS = {
    "short": _Cut(66, 3, 6, 1, ((6, -18), (6, -18)), ((-30, -33), (0, -36), (30, -33))),
    "parted": _Cut(68, 3, 4, 1, ((3, -14), (9, -22)), ((-36, -26), (-4, -31), (22, -40))),
    "curly": _Cut(66, 3, 2, 1, ((6, -18), (6, -18)), ((-30, -31), (0, -33), (30, -31))),
    "cropped": _Cut(58, 0, -2, 1, ((8, -22), (8, -22)), ((-33, -37), (0, -40), (33, -37))),
    "long": _Cut(67, 3, 40, 4, ((-1, -4), (1, -6)), ((-32, -27), (-8, -40), (26, -32))),
    "bob": _Cut(66, 3, 34, 5, ((4, -8), (4, -8)), ((-36, -26), (0, -28), (36, -26))),
    "bun": _Cut(63, 3, 2, 1, ((7, -18), (7, -18)), ((-26, -36), (0, -40), (26, -36))),
    "curls": _Cut(66, 3, 10, 2, ((4, -14), (4, -14)), ((-28, -32), (0, -35), (28, -32))),
}


def paint_scene(pen: Pen, looks: Looks) -> None:
    """Background and shoulders, which fill the image."""
    height, width = pen.image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot((x / width - 0.5 - 0.25 * looks.light), y / height - 0.35)[..., None]
    pen.image[:] = np.clip(np.array(looks.background) * (1.04 - 0.42 * distance**1.3), 0, 255).astype(np.uint8)

    chin = looks.chin
    shoulders = curve((-26, chin + 14), (-48, chin + 26), (-82, chin + 36), (-98, chin + 70), (-100, 200), steps=6)
    shoulders = np.concatenate([shoulders, [(-100, 600), (100, 600)], mirrored(shoulders)[::-1]])
    pen.soft(shoulders + np.array((0, 4)), (40, 40, 50), 0.18, 6)
    pen.fill(shoulders, looks.shirt)
    sleeve = curve((-70, chin + 62), (-66, chin + 80), (-68, 200))
    for line in (sleeve, mirrored(sleeve)):
        pen.soft_line(line, shade(looks.shirt, 0.55), 2, 0.6, 2)
    collar = _neck(looks)
    pen.line(collar[len(collar) // 4 : -len(collar) // 4], shade(looks.shirt, 0.7), 7)
    _paint_neck(pen, looks)


def paint_head(pen: Pen, looks: Looks) -> None:
    """Head with ears, nose, hair and the shadows of a calm face; `face.py` draws eyes, brows and mouth."""
    _paint_hair_behind(pen, looks)
    skin = pen.blank()  # a separate layer, so that soft shadows stay on the skin
    if looks.style in _HAIR_OVER_NECK:
        _paint_neck(skin, looks)
    for side in (-1, 1):
        skin.fill(ellipse((side * (looks.width - 0.5), 12), 8, 13), shade(looks.skin, 0.93))
        skin.soft(ellipse((side * (looks.width + 1), 12), 3.5, 8), looks.shadow, 0.45, 2)
    skin.fill(looks.outline, looks.skin)
    _paint_light(skin, looks)
    _paint_beard(skin, looks)
    _paint_eye_sockets(skin, looks)
    _paint_nose(skin, looks)
    pen.lay(skin)
    _paint_hair_in_front(pen, looks)


def _neck(looks: Looks) -> Points:
    half, chin = 0.5 * looks.width, looks.chin
    side = curve((-half, 30), (-half, chin + 2), (-half - 5, chin + 15), (-half + 6, chin + 24), (0, chin + 32))
    return np.concatenate([side, mirrored(side)[::-1]])


def _paint_neck(pen: Pen, looks: Looks) -> None:
    pen.fill(_neck(looks), shade(looks.skin, 0.9))
    pen.soft(ellipse((0, looks.chin - 3), 0.6 * looks.width, 15), looks.shadow, 0.55, 4)


def _paint_light(pen: Pen, looks: Looks) -> None:
    outline, side = looks.outline, looks.light
    pen.soft_line(np.concatenate([outline, outline[:1]]), looks.shadow, 5, 0.5, 5)
    pen.soft(ellipse((-side * 42, 26), 12, 44), looks.shadow, 0.30 * abs(side), 9)
    pen.soft(ellipse((0, -26), 30, 13), shade(looks.skin, 1.14), 0.75, 9)
    for cheek in (-1, 1):
        brighter = 0.75 if cheek * side > 0 else 0.45
        pen.soft(ellipse((cheek * 27, 22), 12, 9), shade(looks.skin, 1.14), brighter, 6)
        pen.soft(ellipse((cheek * 30, 27), 10, 7), mix(looks.skin, (226, 92, 84), 0.6), 0.32, 5)
    pen.soft(ellipse((0, looks.chin - 9), 9, 5), shade(looks.skin, 1.12), 0.6, 3)


def _paint_beard(pen: Pen, looks: Looks) -> None:
    if not looks.beard:
        return
    jaw = 0.985 * looks.outline[looks.outline[:, 1] > 22]  # from right to left
    top = curve((-looks.width, 22), (-30, 40), (0, 35), (30, 40), (looks.width, 22))
    pen.soft(np.concatenate([jaw, top]), looks.brow, 0.30 * looks.beard, 3.5)


def _paint_eye_sockets(pen: Pen, looks: Looks) -> None:
    for side in (-1, 1):
        x = side * looks.eye_distance
        pen.soft(ellipse((x, -3), 15, 9), looks.shadow, 0.52, 4)
        pen.soft(ellipse((x - side * 10, -4), 5, 8), looks.shadow, 0.35, 3)
        pen.soft(ellipse((x, 8), 10, 2.5), looks.shadow, 0.28, 2)


def _paint_nose(pen: Pen, looks: Looks) -> None:
    length, width = looks.nose_length, looks.nose_width
    pen.soft(curve((-1.5, -8), (-2.6, length - 5), (2.6, length - 5), (1.5, -8)), shade(looks.skin, 1.18), 0.75, 2.2)
    away = -np.sign(looks.light)
    pen.soft_line(curve((away * 5, -8), (away * 4.6, 8), (away * 7, length - 4)), looks.shadow, 2.5, 0.35, 2)
    pen.soft(ellipse((0, length + 2.5), width, 3.2), looks.shadow, 0.45, 2)
    pen.soft(ellipse((0, length - 3), 4.2, 4.2), shade(looks.skin, 1.22), 0.8, 2)
    for side in (-1, 1):
        wing = curve(
            (side * (width - 1), length - 6), (side * (width + 0.6), length - 1), (side * (width - 2), length + 2)
        )
        pen.soft_line(wing, looks.shadow, 1.2, 0.7, 0.7)
        pen.soft(ellipse((side * width * 0.45, length + 1.3), 2.2, 1.2), shade(looks.shadow, 0.5), 0.9, 0.5)
    pen.soft(ellipse((0, (length + looks.mouth_y) / 2 + 1), 1.8, 4), looks.shadow, 0.28, 1.2)


def _paint_hair_behind(pen: Pen, looks: Looks) -> None:
    dark, width = shade(looks.hair, 0.72), looks.width
    if looks.style == "long":
        side = curve((0, -60), (-38, -53), (-59, -20), (-59, 30), (-63, 70), (-54, 98), (-34, 104), (-20, 92))
        pen.fill(np.concatenate([side, mirrored(side)[::-1]]), dark)
    elif looks.style == "bob":
        side = curve((0, -60), (-38, -53), (-60, -20), (-63, 30), (-52, 56), (-30, 58))
        pen.fill(np.concatenate([side, mirrored(side)[::-1]]), dark)
    elif looks.style == "bun":
        pen.disc((0, -68), 21, dark)
        pen.disc((0, -70), 18, looks.hair)
        pen.soft(ellipse((-5, -77), 8, 5), shade(looks.hair, 1.5), 0.5, 3)
    elif looks.style == "curls":
        for index, angle in enumerate(np.linspace(0.28 * np.pi, -1.28 * np.pi, 22)):
            center = ((width + 5) * np.cos(angle), -2 + 56 * np.sin(angle))
            pen.disc(center, 13 + 2 * (index % 2), dark)


def _paint_hair_in_front(pen: Pen, looks: Looks) -> None:
    width, bright = looks.width, shade(looks.hair, 1.45)
    cut = _CUTS[looks.style]
    reach = width + cut.beyond
    (left_inset, left_y), (right_inset, right_y) = cut.temples
    line = curve(
        (-reach, cut.bottom),
        (left_inset - width, left_y),
        *cut.forehead,
        (width - right_inset, right_y),
        (reach, cut.bottom),
    )
    reach, rise = reach + cut.volume, cut.rise
    over = ((reach, cut.bottom), (reach + 1, -18), (reach - 16, 14 - rise), (0, -rise))
    skull = curve(*over, *((-x, y) for x, y in over[-2::-1]))
    cap = np.concatenate([line, skull])
    pen.soft_line(line[6:-6] + np.array((0, 2)), looks.shadow, 3, 0.4, 2.5)
    pen.fill(cap, looks.hair)
    if looks.style in ("curly", "curls"):
        for index, angle in enumerate(np.linspace(-0.02 * np.pi, -0.98 * np.pi, 13)):
            center = ((width - 3) * np.cos(angle), -8 + (rise - 14) * np.sin(angle))
            pen.disc(center, 11 + 2 * (index % 2), shade(looks.hair, 0.92 + 0.16 * (index % 2)))
        for x in np.linspace(-30, 30, 6):
            pen.disc((x, -42 + abs(x) / 9), 9, shade(looks.hair, 1.0 + 0.12 * (int(x) % 2)))
    else:
        for x in np.linspace(-0.7, 0.7, 9):
            end = np.interp(52 * x, line[:, 0], line[:, 1]) - 3
            strand = curve((x * 12 + looks.light * 8, -rise + 3), (x * 44, (end - rise) / 2 - 3), (52 * x, end))
            pen.soft_line(strand, bright if int(x * 40) % 2 else shade(looks.hair, 0.6), 1.2, 0.22, 1)
    pen.soft(ellipse((looks.light * 16, -rise + 15), 20, 5), bright, 0.4, 4)
