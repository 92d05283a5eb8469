"""The page of `ancestral data check`: what is in a folder of images and what is wrong with it, in pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ancestral.data.check import Report
from ancestral.data.images import to_array
from ancestral.data.listing import by_reason
from ancestral.files import write_whole
from ancestral.report.html import Html, element, joined, pairs, picture, section, styled, table
from ancestral.report.page import document
from ancestral.report.tiles import SIDE, captioned, shortened, tile, wall
from ancestral.viz.boxes import Box
from ancestral.viz.pictures import png_bytes

SHOWN = 24
"""Groups and flat images that are shown as pictures."""
LISTED = 500
"""Rows of a table."""


@dataclass(frozen=True)
class Findings:
    """What the page shows.

    Args:
        report: the whole of it.
        overview: what there is, in names and numbers.
        remarks: what to mind, a sentence each.
        recipe: the command to train with, then what it takes, a sentence each; empty where there is too little.
        sheet: images as the network sees them; None where there are too few.
        picture: the whole picture of a name in the report.
    """

    report: Report
    overview: Sequence[tuple[str, str]]
    remarks: Sequence[str]
    recipe: Sequence[str]
    sheet: Box | None
    picture: Callable[[str], Image.Image]


def write_page(file: Path, found: Findings) -> None:
    """Writes all that was found as one self-contained HTML file.

    Raises:
        InputError: `file` is no regular file.
        CannotWrite: it cannot be written.
    """
    write_whole(file, page(found))


def page(found: Findings) -> Html:
    """The whole document; what there is none of has no section."""
    parts = {
        "sheet": ("What the network sees", _sheet(found)),
        "recipe": ("Training", _recipe(found)),
        "bad": ("Files that cannot be used", _bad(found)),
        "unused": ("Left out, by reason", _left_out(found)),
        "classes": ("Classes", _classes(found)),
        "shared": ("In more than one class", _groups(found, [(group, "") for group in found.report.shared])),
        "same": ("The same pixels", _groups(found, [(group, "") for group in found.report.duplicates])),
        "alike": ("Look the same", _alike(found)),
        "flat": ("One colour or little else", _flat(found)),
    }
    there = {anchor: part for anchor, part in parts.items() if part[1]}
    sections = [section(anchor, title, content) for anchor, (title, content) in there.items()]
    links = [element("a", title, attributes={"href": f"#{anchor}"}) for anchor, (title, _) in there.items()]
    name = Path(found.report.source).name
    return document(f"Ancestral: {name}", _top(found, name, links), sections, "ancestral data check")


def _top(found: Findings, name: str, links: Sequence[Html]) -> Html:
    warnings = element("ul", *(element("li", remark) for remark in found.remarks))
    contents = element("nav", *links, attributes={"aria-label": "Contents"})
    numbers = pairs(found.overview, "facts")
    return element("header", element("h1", name), element("p", found.report.source), numbers, warnings, contents)


def _sheet(found: Findings) -> Html:
    if found.sheet is None:
        return Html("")
    words = "Fitted, on the background and in the colours that training uses; of every class as many as there is room."
    alt = "a contact sheet of images as the network sees them"
    return joined([element("p", words), picture(png_bytes(found.sheet), alt, found.sheet.size, "card")])


def _recipe(found: Findings) -> Html:
    if not found.recipe:
        return Html("")
    command, *takes = found.recipe
    return joined([element("pre", element("code", command)), *(element("p", line) for line in takes)])


def _bad(found: Findings) -> Html:
    return _table(("file", "why"), found.report.bad, "They are left out of training.")


def _left_out(found: Findings) -> Html:
    rows = [*by_reason(found.report.left_out).items()]
    return _table(("why", "suffix and files"), rows, "All that is not used, hidden folders as one each.")


def _classes(found: Findings) -> Html:
    rows = [(name, f"{count:,}") for name, count in sorted(found.report.classes.items(), key=lambda pair: -pair[1])]
    unused = "" if found.report.labelled else " Training does not use them."
    return _table(("class", "images"), rows, f"The largest first.{unused}")


def _alike(found: Findings) -> Html:
    return _groups(
        found, [(group.files, f"{group.difference:.1%} of the contrast") for group in found.report.near_duplicates]
    )


def _flat(found: Findings) -> Html:
    names = [*found.report.constant, *found.report.nearly_constant]
    figures = [captioned(name, _tile(found, name)) for name in names[:SHOWN]]
    return joined([wall(figures, "small"), _more(len(names), "image")]) if names else Html("")


def _groups(found: Findings, groups: Sequence[tuple[Sequence[str], str]]) -> Html:
    """The first two of each group beside one another, with what is said of them."""
    if not groups:
        return Html("")
    figures = [_pair(found, names, words) for names, words in groups[:SHOWN]]
    return joined([wall(figures, "pair"), _more(len(groups), "group")])


def _pair(found: Findings, names: Sequence[str], words: str) -> Html:
    both = styled("div", "row", *(_tile(found, name) for name in names[:2]))
    lines = [*map(shortened, names[:2]), *([f"and {len(names) - 2:,} more"] if len(names) > 2 else []), words]
    return element("figure", both, element("figcaption", *(element("div", line) for line in lines if line)))


def _tile(found: Findings, name: str) -> Html:
    image = found.picture(name)
    image.thumbnail((SIDE, SIDE))
    return tile(torch.from_numpy(to_array(image).copy()).permute(2, 0, 1)[None], shortened(name))


def _more(count: int, noun: str) -> Html:
    words = f"{count - SHOWN:,} more {noun}s: ancestral data check --json lists all." if count > SHOWN else ""
    return element("p", words) if words else Html("")


def _table(head: tuple[str, str], rows: Sequence[tuple[str, str]], caption: str) -> Html:
    more = f" The first {LISTED} of {len(rows):,}; --json lists all." if len(rows) > LISTED else ""
    return table(head, rows[:LISTED], caption + more) if rows else Html("")
