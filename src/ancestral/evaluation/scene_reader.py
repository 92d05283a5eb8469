"""Reads a scene of the data set `shapes` out of pixels: how many things, and of each its colour, shape, size and place.

A pixel is between the background and a colour; the colour whose line it lies nearest to says how much of it is covered.
Pixels that are covered by half hang together as things, and each thing has the pixels around it that are nearest to it.
A thing's colour is that of its core, its place the centroid of what is covered; its shape is the one that, drawn there
as large as to cover as much, sharp or a little blurred, differs least, or none where all differ by more than
`MOST_MISFIT`; its size is the nearer one by ratio. What covers less than a third of the smallest thing is a speck and
not counted.
"""

import math

import numpy as np

from ancestral.data.drawing import AREAS, BACKGROUND, coverage, half_window
from ancestral.data.scenes import COLORS, RADII, SHAPES, SIZES, Scene, Thing

BLUR = 0.7 / 32  # of the side: deviation of the blur
AROUND = 2.5  # pixels from a thing's own, as far as its edge may be blurred
SPECK = 1 / 3  # of the area of the smallest thing
MOST_MISFIT = 0.1  # sum of squared differences over that of squared coverage
_AXES = BACKGROUND - np.array(list(COLORS.values()), np.float64)


def read_scene(image: np.ndarray) -> Scene:
    """What is in an image (H, W, 3) uint8, which is square; the largest thing first."""
    from scipy import ndimage

    side = len(image)
    alpha, _ = _covered(BACKGROUND - image.astype(np.float64))
    labels, count = ndimage.label(alpha > 0.5, np.ones((3, 3)))
    if not count:
        return Scene((), ())
    distance, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    owner = np.where(distance <= AROUND, labels[rows, columns], 0)
    found = []
    least = SPECK * min(AREAS.values()) * (min(RADII.values()) * side) ** 2
    for label in range(1, count + 1):
        own = np.where(owner == label, alpha, 0)
        if (area := float(own.sum())) >= least:
            mask = labels == label
            core = ndimage.binary_erosion(mask)
            _, color = _covered(BACKGROUND - image[core if core.any() else mask].mean(0, keepdims=True))
            found.append((area, *_shaped(own, area, tuple(COLORS)[int(color[0])])))
    found.sort(key=lambda one: -one[0])
    return Scene(tuple(thing for _, thing, _ in found), tuple((x / side, y / side) for *_, (x, y) in found))


def _covered(darkness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of a colour each (..., 3) holds, 0 to 1, and the number of that colour: the one it lies nearest to."""
    share = (darkness @ _AXES.T / (_AXES * _AXES).sum(1)).clip(0, 1)
    off = ((darkness[..., None, :] - share[..., None] * _AXES) ** 2).sum(-1)
    color = off.argmin(-1)
    return np.take_along_axis(share, color[..., None], -1)[..., 0], color


def _shaped(own: np.ndarray, area: float, color: str) -> tuple[Thing, tuple[float, float]]:
    """The thing that `own` (H, W) covers, and its centroid in pixels."""
    from scipy import ndimage

    side = len(own)
    y, x = (float((own.sum(axis) * (np.arange(side) + 0.5)).sum() / area) for axis in (1, 0))
    radii = np.sqrt(area / np.array([AREAS[shape] for shape in SHAPES]))
    half, count = half_window(side), len(SHAPES)
    expected = coverage(np.arange(count), np.full(count, x), np.full(count, y), radii, half)
    seen = np.pad(own, half)[int(y) : int(y) + 2 * half, int(x) : int(x) + 2 * half]
    blurred = ndimage.gaussian_filter(expected, (0, BLUR * side, BLUR * side))
    misfit = np.minimum(*(((each - seen) ** 2).sum((1, 2)) for each in (expected, blurred))) / (own * own).sum()
    best = int(misfit.argmin())
    size = min(SIZES, key=lambda size: abs(math.log(radii[best] / (RADII[size] * side))))
    return Thing(color, SHAPES[best] if misfit[best] <= MOST_MISFIT else "", size), (x, y)
