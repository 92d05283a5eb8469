"""Images as a PNG file, by zlib alone."""

import struct
import zlib
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of PNG, by channels: grey, grey and opacity, RGB, RGB and opacity
GAP = 2  # pixels between images

Pixels = NDArray[np.uint8]


def grid(images: Pixels, columns: int | None = None) -> Pixels:
    """Images (B, C, H, W) in reading order as one, (C, H, W), white between them. `columns`, None: as many as rows."""
    count, channels, height, width = images.shape
    columns = columns or ceil(sqrt(count))
    rows = ceil(count / columns)
    whole = np.full((channels, rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        whole[:, top : top + height, left : left + width] = image
    return whole


def png(image: Pixels) -> bytes:
    """The file of an image (C, H, W) of 1 to 4 channels."""
    channels, height, width = image.shape
    if channels not in COLOR_TYPES:
        raise ValueError(f"expected images of 1 to 4 channels for a PNG file, got {channels}; take them as arrays")
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each behind a 0: it is not filtered
    lines[:, 1:] = image.transpose(1, 2, 0).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOR_TYPES[channels], 0, 0, 0)
    chunks = (b"IHDR" + header, b"IDAT" + zlib.compress(lines.tobytes(), 9), b"IEND")
    framed = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)
