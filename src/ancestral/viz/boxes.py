"""Boxes, RGB pictures on a common background: text and pictures set beside, above and in tables of one another.

Nothing overlaps and nothing is cut off: a caption that is too long wraps, and a column is as wide as its widest box.
"""

import re
from collections.abc import Sequence
from functools import cache
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (246, 246, 246)  # light and neutral: both black and white images stand out, and grey pictures stay grey
INK = (34, 34, 34)
FAINT = (206, 206, 206)

Box = Image.Image


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the plots' typeface, with Greek, Cyrillic and the ₜ of xₜ."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def blank(width: int, height: int) -> Box:
    return Image.new("RGB", (width, height), BACKGROUND)


def text_width(string: str, size: int) -> int:
    """Width of one unbroken line, px."""
    return ceil(font(size).getlength(string))


def text(string: str, size: int, width: int | None = None) -> Box:
    """`string` in `size` px, broken into lines of at most `width` px (None: one line)."""
    printable = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(string.split()))
    lines = wrapped(printable, size, width)
    ascent, descent = font(size).getmetrics()
    box = blank(max(1, *(text_width(line, size) for line in lines)), (ascent + descent) * len(lines))
    draw = ImageDraw.Draw(box)
    for i, line in enumerate(lines):
        draw.text((0, i * (ascent + descent)), line, INK, font(size))
    return box


def progress(fraction: float, width: int) -> Box:
    """A bar that is dark up to `fraction` in 0..1 of its `width`."""
    box = Image.new("RGB", (width, 4), FAINT)
    box.paste(INK, (0, 0, round(fraction * width), box.height))
    return box


def pad(box: Box, width: int, height: int, across: float = 0.5, down: float = 0.5) -> Box:
    """`box` within `width` x `height`; `across` and `down` share the room: 0 left or top, 0.5 centre, 1 the far end."""
    whole = blank(width, height)
    whole.paste(box, (int((width - box.width) * across), int((height - box.height) * down)))
    return whole


def framed(box: Box, margin: int) -> Box:
    """`box` with `margin` px of background around it."""
    return pad(box, box.width + 2 * margin, box.height + 2 * margin)


def row(boxes: Sequence[Box], gap: int, down: float = 0.5) -> Box:
    """Boxes side by side; `down` as in `pad`."""
    whole = blank(sum(b.width for b in boxes) + gap * (len(boxes) - 1), max(b.height for b in boxes))
    left = 0
    for box in boxes:
        whole.paste(box, (left, int((whole.height - box.height) * down)))
        left += box.width + gap
    return whole


def column(boxes: Sequence[Box], gap: int, across: float = 0.5) -> Box:
    """Boxes from top to bottom; `across` as in `pad`."""
    whole = blank(max(b.width for b in boxes), sum(b.height for b in boxes) + gap * (len(boxes) - 1))
    top = 0
    for box in boxes:
        whole.paste(box, (int((whole.width - box.width) * across), top))
        top += box.height + gap
    return whole


def table(cells: Sequence[Sequence[Box]], gap: int, down: float = 0.5) -> Box:
    """Rows of cells in columns as wide as their widest cell; the last row may be shorter."""
    widths = [max(r[j].width for r in cells if j < len(r)) for j in range(len(cells[0]))]
    rows = [row([pad(b, w, b.height) for b, w in zip(r, widths, strict=False)], gap, down) for r in cells]
    return column(rows, gap, across=0.0)


def wrapped(string: str, size: int, width: int | None) -> list[str]:
    """Greedy lines of at most `width` px, broken between words, behind a hyphen, and within what alone is too wide."""
    lines = [""]
    for piece in re.findall(r"\s*(?:-*[^\s-]+-*|-+)", string):
        longer = (lines[-1] + re.sub(r"^\s+", " ", piece)).strip()
        if width is None or text_width(longer, size) <= width:
            lines[-1] = longer
            continue
        lines.append("")
        for letter in piece.strip():
            if lines[-1] and text_width(lines[-1] + letter, size) > width:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line] or [""]
