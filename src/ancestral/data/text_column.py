"""Texts in a file, of any length: where each begins and ends, (count + 1) uint64, little-endian, from 0; then the texts
one after another in UTF-8, half a pair of surrogates as Python's `surrogatepass` has it."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

ENDS = np.dtype("<u8")


def encoded(texts: Iterable[str]) -> bytes:
    pieces = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join([np.cumsum([0, *map(len, pieces)]).astype(ENDS).tobytes(), *pieces])


def decoded(ends: list[int], content: bytearray) -> list[str]:
    """Neighbouring texts out of `content`, which begins at the first of the `ends`; a ValueError where it is none."""
    return [content[a - ends[0] : b - ends[0]].decode("utf-8", "surrogatepass") for a, b in pairwise(ends)]
