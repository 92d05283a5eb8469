"""Pictures on the page: charts, and single images enlarged by whole factors beyond the size at which they are shown, so
that they stay crisp.
"""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from ancestral.data.images import picture_of
from ancestral.errors import InputError
from ancestral.files import read_bytes
from ancestral.report.html import Html, element, picture, styled
from ancestral.tensors import Pixels
from ancestral.text import shortened
from ancestral.viz.pictures import png_bytes
from ancestral.viz.plots import figure_to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
COLORS = 64  # thin curves need few colours; a chart of 64 is a third of the size
SIDE = 128  # least side of a tile, about, px; browsers shrink well and enlarge badly
WIDEST = 1600  # px, of a picture that was made by another command
MOST_BYTES = 2**26  # of its file
LARGE = 48  # shorter side of images from which they are shown large, px


def chart(title: str, alt: str, figure: Figure) -> Html:
    with Image.open(BytesIO(figure_to_png(figure, DPI)), formats=["PNG"]) as image:
        cover, plain = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
        small = image.convert("RGB").quantize(COLORS, cover, kmeans=1, dither=plain)
    return element("figure", element("h3", title), picture(png_bytes(small), alt, small.size, "card"))


def tile(pixels: Pixels, alt: str) -> Html:
    """One image (1, C, H, W), C = 1 to 4 as in `colors`, as <img>."""
    array = np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())
    scale = max(1, round(SIDE / min(array.shape[:2])))
    image = picture_of(array.repeat(scale, axis=0).repeat(scale, axis=1))
    return picture(png_bytes(image), alt, image.size, "tile")


def size_of(pixels: Pixels) -> Literal["small", "large"]:
    """How much room images need to be seen."""
    return "large" if min(pixels.shape[2:]) >= LARGE else "small"


def saved(file: Path, words: str) -> Html:
    """A PNG file that another command left, below words; shrunk where it is wider than a page can show."""
    try:
        with Image.open(BytesIO(read_bytes(file, MOST_BYTES)), formats=["PNG"]) as image:
            shown = image.convert("RGB")
    except OSError:
        raise InputError(f"expected {file} to be a whole PNG file, got another; remove it") from None
    shown.thumbnail((WIDEST, shown.height))
    content = picture(png_bytes(shown), words, shown.size, "card")
    return element("figure", element("figcaption", words), content)


def captioned(caption: str, *images: Html) -> Html:
    """Images above one another, with words beneath."""
    return element("figure", *images, element("figcaption", shortened(caption)))


def wall(figures: Iterable[Html], size: Literal["small", "large", "pair", "step"]) -> Html:
    """As many figures in a row as the screen has room for."""
    return styled("div", f"wall {size}", *figures)
