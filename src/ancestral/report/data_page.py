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
from ancestral.report.pictures import SIDE, captioned, shortened, tile, wall
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
    report = found.report
    left_out, classes = by_reason(report.left_out), sorted(report.classes.items(), key=lambda pair: -pair[1])
    unused = "" if report.labelled else " Training does not use them."
    alike = [(group.files, f"{group.difference:.1%} of the contrast") for group in report.near_duplicates]
    parts = {
        "sheet": ("What the network sees", _sheet(found)),
        "recipe": ("Training", _recipe(found)),
        "bad": ("Files that cannot be used", _table("file", "why", report.bad, "They are left out of training.")),
        "unused": (
            "Left out, by reason",
            _table("why", "suffix and files", [*left_out.items()], "All that is not used, hidden folders as one each."),
        ),
        "classes": (
            "Classes",
            _table("class", "images", [(name, f"{n:,}") for name, n in classes], f"The largest first.{unused}"),
        ),
        "shared": ("In more than one class", _groups(found, [(group, "") for group in report.shared])),
        "same": ("The same pixels", _groups(found, [(group, "") for group in report.duplicates])),
        "alike": ("Look the same", _groups(found, alike)),
        "flat": ("One colour or little else", _flat(found)),
    }
    there = {anchor: (title, content) for anchor, (title, content) in parts.items() if content}
    sections = [section(anchor, title, content) for anchor, (title, content) in there.items()]
    warnings = element("ul", *(element("li", remark) for remark in found.remarks))
    top = element("p", report.source), pairs(found.overview, "facts"), warnings
    contents = {anchor: title for anchor, (title, _) in there.items()}
    return document(Path(report.source).name, top, contents, sections, "ancestral data check")


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


def _table(left: str, right: str, rows: Sequence[tuple[str, str]], caption: str) -> Html:
    more = f" The first {LISTED} of {len(rows):,}; --json lists all." if len(rows) > LISTED else ""
    return table((left, right), rows[:LISTED], caption + more) if rows else Html("")
