"""What Pillow loses of a PNG: the low bytes of 16-bit colours, and a transparent colour in the file's depth.

The transparent colour (tRNS) names one level of grey or one red, green and blue, of which the low bits count where the
depth is under 16 (PNG, third edition, 11.3.1.1). 16 bits are read as their high and their low bytes.
"""

import io

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from ancestral.data.depth import by_rows, eight_bits

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""Colour types of PNG."""
HALVES = {RGB: ("RGB;16B", "RGB;16L"), RGBA: ("RGBA;16B", "RGBA;16L")}
"""How Pillow is asked for the first and for the second byte of each 16-bit number."""
MODES = {GREY: "L", RGB: "RGB", GREY_ALPHA: "LA", RGBA: "RGBA"}
WHITE = 65535


def decode(image: PngImageFile, data: bytes) -> Image.Image:
    """The opened `image`, decoded to 8 bits; a transparent colour becomes alpha or Pillow's "transparency".

    Raises:
        Exception: of many kinds, for a damaged file.
    """
    depth, kind = data[24], data[25]
    if depth == 16 and kind in MODES:
        return _deep(image, data, kind)
    if kind == PALETTE and image.palette is None:
        raise ValueError("it has no palette")
    image.load()
    key = image.info.get("transparency")
    if key is not None and kind == GREY:
        most = 2**depth - 1
        image.info["transparency"] = (int(key) & most) * 255 // most
        return image.convert("RGBA").convert("LA") if image.mode == "1" else image
    if key is not None and kind == RGB:
        image.info["transparency"] = tuple(int(level) & 255 for level in key)
    return image


def _deep(image: PngImageFile, data: bytes, kind: int) -> Image.Image:
    key = image.info.get("transparency")
    values = _sixteen_bits(image, data, kind)
    shown, mode = eight_bits(values, WHITE), MODES[kind]
    if key is not None and kind in (GREY, RGB):
        alpha = by_rows(
            lambda some: np.where((some == key).all(axis=2, keepdims=True), 0, 255).astype(np.uint8), values
        )
        shown, mode = np.concatenate([shown, alpha], axis=2), f"{mode}A"
    deep = Image.frombuffer(mode, image.size, np.ascontiguousarray(shown), "raw", mode, 0, 1)
    deep.info = {name: value for name, value in image.info.items() if name != "transparency"}
    deep.getexif().update(image.getexif())
    return deep


def _sixteen_bits(image: PngImageFile, data: bytes, kind: int) -> np.ndarray:
    """(H, W, bands) uint16."""
    if kind == GREY:
        image.load()
        return np.asarray(image)[..., None].astype(np.uint16)
    if kind == GREY_ALPHA:  # four bytes a pixel, as RGBA has them
        return _bytes_as(image, "RGBA").reshape(image.height, image.width, 2, 2).view(">u2")[..., 0].astype(np.uint16)
    high, low = HALVES[kind]
    values = _bytes_as(image, high).astype(np.uint16)
    values <<= 8
    with PngImageFile(io.BytesIO(data)) as again:
        values |= _bytes_as(again, low)
    return values


def _bytes_as(image: PngImageFile, rawmode: str) -> np.ndarray:
    """What the rows of the file hold, unpacked as `rawmode` says."""
    image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    image.load()
    return np.asarray(image)
