"""What a report means for training: how even the classes are, the size to train at, and what to look at first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ancestral.data.images import Fit

SIZES = (16, 32, 64, 128, 256)
LONG = 1.5
"""How much longer than wide, or wider than long, an image is of which a square crop loses over a third."""
UNEVEN = 10.0
"""Images of the largest class for one of the smallest, from which the small class suffers."""
FEWEST_OF_A_CLASS = 20
"""Images from which a network may learn what a class has in common."""
FEWEST_IMAGES = 500
"""Images below which a network soon knows them by heart."""
MUCH_ENLARGED = 0.1
"""Share of the images from which enlarging shows in what is generated."""


@dataclass(frozen=True)
class Balance:
    """How even the classes are.

    Args:
        smallest, largest: a class and its images.
        ratio: largest to smallest.
        few: the classes with fewer than `FEWEST_OF_A_CLASS` images.
    """

    smallest: tuple[str, int]
    largest: tuple[str, int]
    ratio: float
    few: tuple[str, ...]


def balance(classes: Mapping[str, int]) -> Balance | None:
    """Of the images of each class; None where there are no classes."""
    if not classes:
        return None
    ordered = sorted(classes.items(), key=lambda pair: pair[1])
    few = tuple(name for name, count in classes.items() if count < FEWEST_OF_A_CLASS)
    return Balance(ordered[0], ordered[-1], ordered[-1][1] / ordered[0][1], few)


def suggest_size(short_sides: Sequence[int]) -> int:
    """The largest of 16 .. 256 that at least nine images in ten need not be enlarged to."""
    enough = float(np.percentile(short_sides, 10)) if len(short_sides) else 0.0
    return max([size for size in SIZES if size <= enough], default=SIZES[0])


def suggest_fit(sizes: Sequence[tuple[int, int]]) -> Fit:
    """pad where a crop would cost more than a quarter of the images over a third of their area, else crop."""
    return "pad" if 4 * num_long(sizes) > len(sizes) else "crop"


def num_long(sizes: Sequence[tuple[int, int]]) -> int:
    """How many of the (height, width) are longer than `LONG` allows."""
    return sum(max(size) > LONG * min(size) for size in sizes)


def enlargement(size: tuple[int, int], to: tuple[int, int], fit: Fit) -> float:
    """The factor by which (height, width) is enlarged, in the direction that is most; below 1 where it shrinks."""
    down, across = to[0] / size[0], to[1] / size[1]
    return min(down, across) if fit == "pad" else max(down, across)
