"""What there is to know of one image: its file, its upright size, and what its pixels are like.

A large photograph is held once and never as floating-point numbers: what is measured comes from its histogram and from
a thumbnail.
"""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageStat

from ancestral.data.folder import is_grey
from ancestral.data.images import FileFacts, flatten, load, parse_color, to_array

THUMBNAIL = 16
"""Side of the thumbnails by which images are compared, px."""
SAME_COLOUR = 8
"""Levels of 0..255 within which two pixels count as of one colour."""


class Finding(NamedTuple):
    """One image, decoded.

    Args:
        facts: the file's.
        height, width: upright.
        grey: whether red, green and blue are equal everywhere.
        spread: standard deviation of the channel that varies most, in levels of 0..255.
        filled: share of the pixels that have one colour, within `SAME_COLOUR`.
        pixels: SHA-256 of size and pixels, in hexadecimal.
        thumbnail: (16, 16, 3) uint8, each number the average of a cell.
    """

    facts: FileFacts
    height: int
    width: int
    grey: bool
    spread: float
    filled: float
    pixels: str
    thumbnail: np.ndarray


def examine(path: Path, background: str) -> Finding:
    """Decodes one file as training would.

    Raises:
        BadImage: for every fault of the file.
    """
    image, facts = load(path)
    return describe(flatten(image, parse_color(background)), facts)


def describe(image: Image.Image, facts: FileFacts) -> Finding:
    """The finding on an upright, opaque "L" or "RGB" image."""
    pixels = to_array(image)
    content = sha256(str(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).data)
    spread = max(ImageStat.Stat(image).stddev)
    thumbnail = np.array(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).convert("RGB"))
    looks = is_grey(pixels), spread, _filled(image), content.hexdigest(), thumbnail
    return Finding(facts, image.height, image.width, *looks)


def _filled(image: Image.Image) -> float:
    """The share of pixels near the commonest level, of the channel in which that is least."""
    counts = np.array(image.histogram(), dtype=np.float64).reshape(-1, 256)
    commonest = counts.argmax(axis=1)
    near = abs(np.arange(256) - commonest[:, None]) <= SAME_COLOUR
    return float((counts * near).sum(axis=1).min() / counts[0].sum())
