"""Single images as PNG: enlarged by whole factors beyond the size at which they are shown, so that they stay crisp."""

from collections.abc import Iterable
from io import BytesIO
from typing import Literal

import numpy as np

from ancestral.data.images import picture_of
from ancestral.report.html import Html, element, picture, styled
from ancestral.tensors import Pixels

SIDE = 128
"""Least side of a tile, about, px. Browsers shrink well and enlarge badly."""
LARGE = 48
"""Shorter side of images from which they are shown large, px."""


def tile(pixels: Pixels, alt: str) -> Html:
    """One image (1, C, H, W) as <img>."""
    content, size = tile_png(pixels)
    return picture(content, alt, size, "tile")


def tile_png(pixels: Pixels) -> tuple[bytes, tuple[int, int]]:
    """The PNG file of one image (1, C, H, W), C = 1 to 4 as in `colors`, and its (width, height)."""
    array = np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())
    scale = max(1, round(SIDE / min(array.shape[:2])))
    large = array.repeat(scale, axis=0).repeat(scale, axis=1)
    image, out = picture_of(large), BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue(), image.size


def plain_wall(figures: Iterable[Html], pixels: Pixels) -> Html:
    """A wall of images as large as `pixels`."""
    return wall(figures, "large" if is_large(pixels) else "small")


def is_large(pixels: Pixels) -> bool:
    """Whether images need room to be seen."""
    return min(pixels.shape[2:]) >= LARGE


def captioned(caption: str, *images: Html) -> Html:
    """Images above one another, with words beneath."""
    return element("figure", *images, element("figcaption", shortened(caption)))


def shortened(text: str, longest: int = 60) -> str:
    """`text` on one line, its end cut off where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def wall(figures: Iterable[Html], size: Literal["small", "large", "pair", "step"]) -> Html:
    """As many figures in a row as the screen has room for."""
    return styled("div", f"wall {size}", *figures)
