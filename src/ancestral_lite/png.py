"""Images as a PNG file, by zlib alone."""

import struct
import zlib
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by channels: grey, grey and opacity, RGB, RGB and opacity
MARK = b"tEXtSoftware\0ancestral_lite"  # the chunk that tells who wrote a file
GAP = 2  # pixels between images
SIDE = 96  # pixels, about, of an image that is enlarged

ByteImages = NDArray[np.uint8]


def grid(images: ByteImages) -> ByteImages:
    """Images (B, C, H, W) in reading order as one, (C, H, W), about as many rows as columns, white between them. Small
    ones are enlarged by a whole factor."""
    count, channels, *sides = images.shape
    factor = max(1, SIDE // max(sides))
    images = images.repeat(factor, axis=2).repeat(factor, axis=3)
    columns = ceil(sqrt(count))
    height, width = (factor * side + GAP for side in sides)
    whole = np.full((channels, ceil(count / columns) * height - GAP, columns * width - GAP), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * height, number % columns * width
        whole[:, top : top + height - GAP, left : left + width - GAP] = image
    return whole


def png(image: ByteImages) -> bytes:
    """The file of an image (C, H, W) of 1 to 4 channels."""
    channels, height, width = image.shape
    if channels not in COLOR_TYPES:
        raise ValueError(f"expected images of 1 to 4 channels for a PNG file, got {channels}; take them as arrays")
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each behind a 0: it is not filtered
    lines[:, 1:] = image.transpose(1, 2, 0).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPES[channels], 0, 0, 0)
    chunks = (b"IHDR" + header, MARK, b"IDAT" + zlib.compress(lines.tobytes(), 9), b"IEND")
    framed = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)
