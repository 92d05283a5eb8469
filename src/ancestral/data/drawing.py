"""Scenes to pixels, antialiased: a pixel is covered by as much as it lies inside of the edge, in pixels, plus a half.

Inside a polygon is inside of all its edges; inside a star of five points, of all but one of the five lines through
them. So the depth in a shape is the least distance to its edges, and in the star the least but one. Every pixel is
computed by itself: a scene has the same pixels in every batch.
"""

import math
from collections.abc import Sequence

import numpy as np

from ancestral.data.scenes import COLORS, RADII, SHAPES, Scene

BACKGROUND = 255
FINER = 2  # points a pixel is looked at, in each direction


def _turned(count: int, offset: float, first: float) -> list[tuple[float, float, float]]:
    angles = [math.radians(first + 360 * i / count) for i in range(count)]
    return [(math.cos(angle), math.sin(angle), offset) for angle in angles]


STAR_POINTS = 1.25  # radii that the points of a star are from its centre
EDGES = {
    "square": _turned(4, 0.9, 0),
    "triangle": _turned(3, 0.667, 90),
    "star": _turned(5, STAR_POINTS * math.sin(math.radians(18)), -90),
}
"""Lines: the direction out (x, y), and how far from the centroid, in radii."""
AREAS = {
    "circle": math.pi,
    "square": 4 * 0.9**2,
    "triangle": 3 * math.sqrt(3) * 0.667**2,
    "star": 10 * math.sin(math.radians(18)) * math.sin(math.radians(36)) / math.sin(math.radians(126))
    * STAR_POINTS**2 / 2,
}  # fmt: skip
"""In squared radii."""


def draw(scenes: Sequence[Scene], side: int) -> np.ndarray:
    """(N, side, side, 3) uint8."""
    placed = [
        (row, *each) for row, scene in enumerate(scenes) for each in zip(scene.things, scene.centres, strict=True)
    ]
    shapes = np.array([SHAPES.index(thing.shape) for _, thing, _ in placed])
    x, y = np.array([at for *_, at in placed]).reshape(-1, 2).T * side
    radii = np.array([RADII[thing.size] * side for _, thing, _ in placed])
    half = half_window(side)
    alpha = coverage(shapes, x, y, radii, half)
    canvas = np.full((len(scenes), side + 2 * half, side + 2 * half, 3), BACKGROUND, np.float32)
    for (row, thing, _), covered, left, top in zip(placed, alpha, x.astype(int), y.astype(int), strict=True):
        window = canvas[row, top : top + 2 * half, left : left + 2 * half]
        window += covered[..., None] * (np.array(COLORS[thing.color], np.float32) - BACKGROUND)
    return (canvas[:, half:-half, half:-half] + 0.5).astype(np.uint8)


def half_window(side: int) -> int:
    """Pixels from the centroid of the largest thing that more than hold it."""
    return math.ceil(1.4 * max(RADII.values()) * side) + 1


def coverage(shapes: np.ndarray, x: np.ndarray, y: np.ndarray, radii: np.ndarray, half: int) -> np.ndarray:
    """(n, 2 half, 2 half) float32: how much of each pixel around its centroid each of n things covers, from the pixel
    floor(x) - half, floor(y) - half on. `x`, `y`, `radii`: (n,), in pixels."""
    at = ((np.arange(2 * half * FINER) + 0.5) / FINER - half).astype(np.float32)
    across, down = (at - (place % 1).astype(np.float32)[:, None] for place in (x, y))
    covered = np.empty((len(shapes), 2 * half, 2 * half), np.float32)
    for number, shape in enumerate(SHAPES):
        rows = np.flatnonzero(shapes == number)
        depth = _depth(shape, across[rows, None, :], down[rows, :, None], radii[rows, None, None].astype(np.float32))
        fine = (FINER * depth + 0.5).clip(0, 1).reshape(len(rows), 2 * half, FINER, 2 * half, FINER)
        covered[rows] = fine.mean((2, 4))
    return covered


def _depth(shape: str, across: np.ndarray, down: np.ndarray, radii: np.ndarray) -> np.ndarray:
    if shape == "circle":
        return radii - np.sqrt(across * across + down * down)
    lines = [np.float32(far) * radii - (np.float32(x) * across + np.float32(y) * down) for x, y, far in EDGES[shape]]
    return np.partition(lines, 1, axis=0)[1] if shape == "star" else np.minimum.reduce(lines)
