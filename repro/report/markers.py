"""Marks that matplotlib has no letter for, by their corners; those of ratios show the ratio's shape."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
from matplotlib.path import Path

Corners = tuple[tuple[float, float], ...]

HOURGLASS: Corners = ((-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1))
BOW: Corners = ((-1, -1), (-1, 1), (1, -1), (1, 1), (-1, -1))
BAR: Corners = ((-1, -0.45), (1, -0.45), (1, 0.45), (-1, 0.45), (-1, -0.45))
PILLAR: Corners = ((-0.45, -1), (0.45, -1), (0.45, 1), (-0.45, 1), (-0.45, -1))
FALLING: Corners = ((-1, 1), (-1, -1), (1, -1), (-1, 1))
PLUNGING: Corners = ((-1, 1), (-1, -1), (1, -1), (-0.4, -0.4), (-1, 1))
RISING: Corners = ((1, 1), (1, -1), (-1, -1), (1, 1))
HOUSE: Corners = ((-1, -1), (1, -1), (1, 0.2), (0, 1), (-1, 0.2), (-1, -1))
CHEVRON: Corners = ((-1, -0.9), (0, -0.1), (1, -0.9), (1, 0.1), (0, 0.9), (-1, 0.1), (-1, -0.9))
TUB: Corners = ((-1, 0.8), (-0.45, -0.8), (0.45, -0.8), (1, 0.8), (-1, 0.8))
LEANING: Corners = ((-1, -0.75), (0.3, -0.75), (1, 0.75), (-0.3, 0.75), (-1, -0.75))
STAIRS: Corners = (
    (-1, 1),
    (-1, -1),
    (1, -1),
    (1, -0.3),
    (0.3, -0.3),
    (0.3, 0.35),
    (-0.35, 0.35),
    (-0.35, 1),
    (-1, 1),
)
TEE: Corners = (
    (-1, 1),
    (-1, 0.3),
    (-0.35, 0.3),
    (-0.35, -1),
    (0.35, -1),
    (0.35, 0.3),
    (1, 0.3),
    (1, 1),
    (-1, 1),
)
ARROW: Corners = ((0, 1), (-1, 0), (-0.4, 0), (-0.4, -1), (0.4, -1), (0.4, 0), (1, 0), (0, 1))
ANGLE: Corners = ((-1, 1), (-1, -1), (1, -1), (1, -0.25), (-0.25, -0.25), (-0.25, 1), (-1, 1))
TRIANGLE: Corners = ((-1, -1), (1, 0), (-1, 1), (-1, -1))
PLUS: Corners = (
    *((-1, -0.35), (-0.35, -0.35), (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35)),
    *((0.35, 0.35), (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35)),
)
DOME: Corners = (*((cos(pi * i / 12), 1.3 * sin(pi * i / 12) - 0.65) for i in range(13)), (1.0, -0.65))
SPARK: Corners = tuple(
    ((1.0 if i % 2 == 0 else 0.4) * sin(pi * i / 4), (1.0 if i % 2 == 0 else 0.4) * cos(pi * i / 4))
    for i in range(9)
)

CUP: Corners = ((-1, 1), (-1, -1), (1, -1), (1, 1), (0.4, 1), (0.4, -0.4), (-0.4, -0.4), (-0.4, 1), (-1, 1))
CROWN: Corners = (*((-1, -0.8), (1, -0.8), (1, 0.9), (0.5, 0), (0, 0.9), (-0.5, 0), (-1, 0.9), (-1, -0.8)),)
FLAG: Corners = ((-1, 0.75), (0.3, 0.75), (1, 0), (0.3, -0.75), (-1, -0.75), (-0.4, 0), (-1, 0.75))
LENS: Corners = (
    *((1.3 * cos(pi * i / 24) - 0.65, 1.3 * sin(pi * i / 24)) for i in range(-8, 9)),
    *((0.65 - 1.3 * cos(pi * i / 24), -1.3 * sin(pi * i / 24)) for i in range(-8, 9)),
)
DROP: Corners = (
    (0, 1.1),
    *((-0.75 * sin(pi * i / 12), 0.75 * cos(pi * i / 12) - 0.35) for i in range(4, 21)),
    (0, 1.1),
)
BOLT: Corners = (
    (-0.3, 1.1),
    (0.7, 1.1),
    (0.15, 0.2),
    (0.8, 0.2),
    (-0.5, -1.1),
    (-0.1, -0.2),
    (-0.7, -0.2),
    (-0.3, 1.1),
)


def flipped(mark: Corners) -> Corners:
    """Turn a mark upside down."""
    return tuple((x, -y) for x, y in mark)


def mirrored(mark: Corners) -> Corners:
    """Swap a mark's left and right."""
    return tuple((-x, y) for x, y in mark)


def turned(mark: Corners, eighths: int) -> Corners:
    """Turn a mark to the left by some eighths of a full turn."""
    c, s = cos(pi * eighths / 4), sin(pi * eighths / 4)
    return tuple((c * x - s * y, s * x + c * y) for x, y in mark)


def repeated(mark: Corners, times: int) -> Path:
    """Put smaller copies of a mark above each other, as for training that is so many times as long."""
    step = 2.0 / times
    corners = np.asarray(mark) * [0.65, 0.42 * step]
    heights = [step * (i + 0.5) - 1 for i in range(times)]
    return Path.make_compound_path_from_polys(np.stack([np.add(corners, (0, height)) for height in heights]))
