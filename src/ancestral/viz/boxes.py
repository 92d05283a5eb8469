"""A small algebra of boxes: text and pictures set beside, above and in tables of one another.

A box is an RGB picture on the common background. Boxes are only ever put next to each other, so nothing overlaps and
nothing is cut off: a caption that is too long wraps, and a column is as wide as the widest box in it.
"""

from collections.abc import Sequence
from functools import cache
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (246, 246, 246)
"""Light and neutral: both black and white images stand out, and grey pictures stay grey."""
INK = (34, 34, 34)
FAINT = (206, 206, 206)
BAR_HEIGHT = 4

Box = Image.Image
Cells = Sequence[Sequence[Box]]


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the plots' typeface, with Greek, Cyrillic and the ₜ of xₜ."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def blank(width: int, height: int) -> Box:
    """An empty box of `width` x `height` pixels."""
    return Image.new("RGB", (width, height), BACKGROUND)


def text_width(string: str, size: int) -> int:
    """Width of one unbroken line, px."""
    return ceil(font(size).getlength(_printable(string)))


def text(string: str, size: int, width: int | None = None) -> Box:
    """`string` in `size` px, broken into lines of at most `width` px (None: one line)."""
    lines = wrapped(_printable(string), size, width)
    ascent, descent = font(size).getmetrics()
    box = blank(max(1, *(text_width(line, size) for line in lines)), (ascent + descent) * len(lines))
    draw = ImageDraw.Draw(box)
    for i, line in enumerate(lines):
        draw.text((0, i * (ascent + descent)), line, INK, font(size))
    return box


def progress(fraction: float, width: int) -> Box:
    """A bar that is dark up to `fraction` in 0..1 of its `width`."""
    box = Image.new("RGB", (width, BAR_HEIGHT), FAINT)
    box.paste(INK, (0, 0, round(fraction * width), BAR_HEIGHT))
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


def table(cells: Cells, gap: int, down: float = 0.5) -> Box:
    """Rows of cells in columns as wide as their widest cell; the last row may be shorter."""
    widths = [max(r[j].width for r in cells if j < len(r)) for j in range(len(cells[0]))]
    rows = [row([pad(b, w, b.height) for b, w in zip(r, widths, strict=False)], gap, down) for r in cells]
    return column(rows, gap, across=0.0)


def flush_left(boxes: Sequence[Box], room: int) -> list[Box]:
    """Boxes made `room` px wider than the widest of them, their contents at the left: a column of row labels."""
    width = max(b.width for b in boxes) + room
    return [pad(b, width, b.height, across=0.0) for b in boxes]


def _printable(string: str) -> str:
    """`string` on one line, with � for what no font can show (a file name that is not UTF-8, for example)."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(string.split()))


def wrapped(string: str, size: int, width: int | None) -> list[str]:
    """Greedy lines of at most `width` px, broken between words, and within a word that alone is too wide."""
    lines = [""]
    for word in string.split():
        longer = f"{lines[-1]} {word}".strip()
        if width is None or text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines += _pieces(word, size, width)
    return [line for line in lines if line] or [""]


def _pieces(word: str, size: int, width: int) -> list[str]:
    """`word` cut into pieces of at most `width` px, of one letter at least."""
    pieces = [""]
    for letter in word:
        fits = text_width(pieces[-1] + letter, size) <= width or not pieces[-1]
        pieces = [*pieces[:-1], pieces[-1] + letter] if fits else [*pieces, letter]
    return pieces
