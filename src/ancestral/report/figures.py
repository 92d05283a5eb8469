"""Charts on the page."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from ancestral.report.html import Html, element, picture
from ancestral.viz.plots import figure_to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
COLORS = 64
"""Thin curves need few colours; a chart of 64 is a third of the size."""


def chart(title: str, alt: str, figure: Figure) -> Html:
    """A chart under its title."""
    content = figure_to_png(figure, DPI)
    with Image.open(BytesIO(content), formats=["PNG"]) as image:
        small, out = (
            image.convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE),
            BytesIO(),
        )
    small.save(out, "PNG", optimize=True)
    return element("figure", element("h3", title), picture(out.getvalue(), alt, small.size, "card"))
