"""The page of `ancestral data check`: what is in a folder of images and what is wrong with it, in pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image

from ancestral.colors import NAMES
from ancestral.data.caption_check import VERY_LONG
from ancestral.data.check import Report, remarks
from ancestral.data.images import to_array
from ancestral.data.listing import by_reason
from ancestral.files import write_whole
from ancestral.report.html import Html, element, joined, pairs, picture, section, styled, table
from ancestral.report.page import document
from ancestral.report.pictures import SIDE, captioned, tile, wall
from ancestral.text import shortened
from ancestral.viz.boxes import Box
from ancestral.viz.pictures import png_bytes

SHOWN = 24  # Groups and flat images that are shown as pictures
LISTED = 500  # Rows of a table

PictureOf = Callable[[str], Image.Image]  # The whole picture of a name in a report


def write_page(file: Path, report: Report, recipe: Sequence[str], sheet: Box | None, picture_of: PictureOf) -> None:
    """Writes all that was found as one self-contained HTML file; what there is none of has no section. `recipe`: the
    command to train with, then what it takes, a sentence each; `sheet`: images as the network sees them."""
    left_out = [*by_reason(report.left_out).items()]
    classes = [(name, f"{n:,}") for name, n in sorted(report.classes.items(), key=lambda pair: -pair[1])]
    hidden = "All that is not used, hidden folders as one each."
    unused = "" if report.labelled else " Training does not use them."
    alike = [(group.files, f"{group.difference:.1%} of the contrast") for group in report.near_duplicates]
    flat = [*report.constant, *report.nearly_constant]
    parts = {
        "sheet": ("What the network sees", _sheet(sheet)),
        "recipe": ("Training", _recipe(*recipe)),
        "bad": ("Files that cannot be used", _table("file", "why", report.bad, "They are left out of training.")),
        "unused": ("Left out, by reason", _table("why", "suffix and files", left_out, hidden)),
        "classes": ("Classes", _table("class", "images", classes, f"The largest first.{unused}")),
        "attributes": ("Attributes", _table("attribute", "values", attribute_rows(report), "Numbers in the metadata.")),
        "captions": ("Captions", _captions(report)),
        "shared": ("In more than one class", _groups([(group, "") for group in report.shared], picture_of)),
        "same": ("The same pixels", _groups([(group, "") for group in report.duplicates], picture_of)),
        "alike": ("Look the same", _groups(alike, picture_of)),
        "flat": ("One colour or little else", _flat(flat, picture_of)),
    }
    there = {anchor: (title, content) for anchor, (title, content) in parts.items() if content}
    sections = [section(anchor, title, content) for anchor, (title, content) in there.items()]
    warnings = element("ul", *(element("li", words) for words in (*report.notes, *remarks(report))))
    top = element("p", report.source), pairs(overview(report), "facts"), warnings
    contents = {anchor: title for anchor, (title, _) in there.items()}
    write_whole(file, document(Path(report.source).name, top, contents, sections, "ancestral data check"))


def overview(report: Report) -> list[tuple[str, str]]:
    """What there is, in names and numbers; what there is none of is left out."""
    found = {
        "usable images": f"{report.num_images:,}",
        "formats": _counts(report.formats),
        "modes": _counts(report.modes),
        "heights": _range(report.heights),
        "widths": _range(report.widths),
        "width by height": _range(report.aspect_ratios),
        "smaller than trained at": f"{report.num_enlarged:,}",
        "with transparency": f"{report.num_alpha:,}",
        "more than 8 bits a channel": f"{report.num_16_bit:,}",
        "colours of another profile": _counts(report.profiles),
        "turned by EXIF": f"{report.num_rotated:,}",
        "captions": f"{report.num_captions:,}",
        "attributes": f"{len(report.attributes)}",
        "colours": NAMES[report.channels] if report.num_images else "",
        "labels": f"{len(report.classes)} classes" if report.labelled else "none",
        "parts": ", ".join(f"{name} {count:,}" for name, count in report.parts.items()) if report.num_images else "",
        "left out": f"{sum(each.count for each in report.left_out):,}",
    }
    return [(name, text) for name, text in found.items() if text not in ("", "0") or name == "usable images"]


def caption_rows(report: Report) -> list[tuple[str, str]]:
    """What the captions are like, in names and numbers; what there is none of is left out."""
    if (of := report.captions) is None:
        return []
    tokens = f"{of.mean_tokens:.1f} on average, {of.longest:,} at most, of a vocabulary of {of.vocabulary:,}"
    rows = {
        "say something": f"{report.num_captions:,}",
        "distinct": f"{of.distinct:,}",
        "missing": _named(of.missing),
        "empty": _named(of.empty),
        "repeat another": f"{of.num_repeated:,}" if of.num_repeated else "",
        "tokens": tokens,
        f"cut at {of.length} tokens": _named(of.cut),
        f"over {VERY_LONG} tokens": _named(of.very_long),
        "words": f"{of.num_words:,}, of which {of.num_once:,} stand there once",
    }
    return [(name, text) for name, text in rows.items() if text]


def word_rows(report: Report) -> list[tuple[str, str]]:
    """The commonest words of captions, and how often they stand there."""
    return [(word, f"{count:,}") for word, count in report.captions.words] if report.captions else []


def _named(names: Sequence[str]) -> str:
    """How many, and the first of them; nothing where there are none."""
    return f"{len(names):,}, such as {', '.join(names[:3])}" if names else ""


def _captions(report: Report) -> Html:
    if report.captions is None:
        return Html("")
    repeated = [(shortened(text), f"{count:,}") for text, count in report.captions.repeated]
    return joined(
        [
            pairs(caption_rows(report), "facts"),
            _table("word", "times", word_rows(report), f"The commonest of {report.captions.num_words:,} words."),
            _table("caption", "images", repeated, "Captions of several images, the commonest first."),
        ]
    )


def attribute_rows(report: Report) -> list[tuple[str, str]]:
    """Name and values of each attribute."""
    return [(a.name, f"{_range((a.least, a.most))}, of {a.told:.0%} of the images") for a in report.attributes]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))


def _range(ends: tuple[float, float] | tuple[int, int]) -> str:
    low, high = (f"{end:.2f}".rstrip("0").rstrip(".") for end in ends)
    return low if low == high else f"{low} to {high}"


def _sheet(sheet: Box | None) -> Html:
    words = "Fitted, on the background and in the colours that training uses; of every class as many as there is room."
    alt = "a contact sheet of images as the network sees them"
    return joined([element("p", words), picture(png_bytes(sheet), alt, sheet.size, "card")] if sheet else [])


def _recipe(command: str = "", *takes: str) -> Html:
    return joined(
        [element("pre", element("code", command)), *(element("p", line) for line in takes)] if command else []
    )


def _flat(names: Sequence[str], picture_of: PictureOf) -> Html:
    figures = [captioned(name, _tile(name, picture_of)) for name in names[:SHOWN]]
    return joined([wall(figures, "small"), _more(len(names), "image")] if names else [])


def _groups(groups: Sequence[tuple[Sequence[str], str]], picture_of: PictureOf) -> Html:
    """The first two of each group beside one another, with what is said of them."""
    figures = []
    for names, words in groups[:SHOWN]:
        both = styled("div", "row", *(_tile(name, picture_of) for name in names[:2]))
        lines = [*map(shortened, names[:2]), f"and {len(names) - 2:,} more" if len(names) > 2 else "", words]
        caption = element("figcaption", *(element("div", line) for line in lines if line))
        figures.append(element("figure", both, caption))
    return joined([wall(figures, "pair"), _more(len(groups), "group")] if groups else [])


def _tile(name: str, picture_of: PictureOf) -> Html:
    image = picture_of(name)
    image.thumbnail((SIDE, SIDE))
    return tile(torch.from_numpy(to_array(image).copy()).permute(2, 0, 1)[None], shortened(name))


def _more(count: int, noun: str) -> Html:
    words = f"{count - SHOWN:,} more {noun}s: ancestral data check --json lists all."
    return element("p", words) if count > SHOWN else Html("")


def _table(left: str, right: str, rows: Sequence[tuple[str, str]], caption: str) -> Html:
    more = f" The first {LISTED} of {len(rows):,}; --json lists all." if len(rows) > LISTED else ""
    return table((left, right), rows[:LISTED], caption + more) if rows else Html("")
