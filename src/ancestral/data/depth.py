"""Samples of other depths -> 8 bits, a stretch of rows at a time: a large image is never held as wider numbers."""

from collections.abc import Callable

import numpy as np

STRETCH = 2**18
"""Numbers that are converted at once."""


def by_rows(convert: Callable[[np.ndarray], np.ndarray], values: np.ndarray, weight: int = 1) -> np.ndarray:
    """`convert` of all rows of `values`; `weight`: how many numbers it makes on the way of each."""
    count = max(1, STRETCH // max(1, weight * values[:1].size))
    parts = [convert(values[start : start + count]) for start in range(0, len(values), count)]
    return np.concatenate(parts)


def eight_bits(values: np.ndarray, white: int, inverted: bool = False) -> np.ndarray:
    """round(255 v / white) as uint8; what is above `white` is white. `inverted`: 0 is white."""
    if white == 255:
        return 255 - values if inverted else values

    def scaled(some: np.ndarray) -> np.ndarray:
        levels = ((np.minimum(some, white).astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
        return 255 - levels if inverted else levels

    return by_rows(scaled, values)


def straight(color: np.ndarray, alpha: np.ndarray, white: int) -> np.ndarray:
    """Colour (H, W, C) that was multiplied by `alpha` (H, W, 1), as it was before; where alpha is 0 it is 0."""
    bands = color.shape[2]

    def divided(some: np.ndarray) -> np.ndarray:
        alpha = np.maximum(some[..., bands:], 1).astype(np.uint32)
        return np.minimum(some[..., :bands].astype(np.uint32) * white // alpha, white).astype(some.dtype)

    return by_rows(divided, np.concatenate([color, alpha], axis=2))
