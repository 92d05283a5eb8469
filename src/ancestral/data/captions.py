"""Where the captions of a folder's images come from: its metadata, captions.tsv, a .txt beside each image, or names.

captions.tsv has the columns file and caption, apart by tabs; it may stand above the folders that the images lie in. Of
several that say something of an image the first counts, in the order above.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ancestral.data.listing import Listing, stem_of
from ancestral.data.metadata import MOST_BYTES, Annotation, finder
from ancestral.errors import InputError
from ancestral.files import read_text
from ancestral.text import as_utf8, printable

Captions = Literal["auto", "none", "metadata", "txt", "names"]  # as in `DataSettings`
MOST_CAPTION = 2**20  # bytes of a .txt
FILE_COLUMNS, CAPTION_COLUMNS = ("file", "file_name"), ("caption", "text")
NUMBERS = re.compile(r"[\s(]*\d+\)?$")
Texts = dict[str, str | None]
Row = dict[str, str]


class Captioned(NamedTuple):
    """The caption of each file, None where nothing says one; the files that were read for it; what is in doubt."""

    texts: Texts
    read: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def captioned(listing: Listing, annotations: Mapping[str, Annotation], how: Captions) -> Captioned:
    """The captions of the files that have an annotation."""
    if how == "none":
        return Captioned(dict.fromkeys(annotations))
    if how == "names":
        return Captioned({name: of_name(name) for name in annotations})
    found: Texts = {name: each.text if how != "txt" else None for name, each in annotations.items()}
    read, notes = list[str](), list[str]()
    rows = rows_of_tables(listing, notes) if how == "auto" else {}
    tables = {name: row[_column(row, CAPTION_COLUMNS)] for name, row in rows.items()}
    beside = _beside(listing, [*found], how, notes) if how in ("auto", "txt") else {}
    for kind, texts, files in (("captions.tsv", tables, listing.tables), ("a .txt beside each", beside, listing.texts)):
        mine = {name: text for name, text in texts.items() if name in found}
        fresh = {name: text for name, text in mine.items() if found[name] is None}
        others = sum(found[name] != text for name, text in mine.items() if name not in fresh)
        found |= fresh
        read += files if mine else ()
        if fresh:
            notes.append(f"{len(fresh):,} captions are read from {kind}; --data.captions none trains without captions")
        if others:
            notes.append(f"{others:,} captions differ in {kind}, and what is said before it counts")
    return Captioned(found, tuple(read), tuple(notes))


def of_name(name: str) -> str:
    """a-red_fox (2).png -> a red fox."""
    words = " ".join(re.sub("[-_]", " ", printable(as_utf8(stem_of(name.rpartition("/")[2])))).split())
    return NUMBERS.sub("", words)


def _beside(listing: Listing, files: Sequence[str], how: Captions, notes: list[str]) -> Texts:
    """What the .txt files say, their lines as one; unless asked for by name, not where none of them has a letter, as
    those of detectors that hold boxes."""
    if not listing.texts:
        if how == "txt":
            raise InputError(
                f"expected a .txt beside images in {printable(listing.root)}, got none; leave --data.captions out"
            )
        return {}
    there = {stem_of(text): text for text in listing.texts}
    said = {text: _line(listing.root / text) for text in listing.texts}
    if how == "auto" and not any(character.isalpha() for text in said.values() for character in text):
        notes.append(
            "the .txt files beside images hold no words and are no captions; --data.captions txt makes them so"
        )
        return {}
    return {name: said[there[stem_of(name)]] for name in files if stem_of(name) in there}


def _line(path: Path) -> str:
    try:
        return " ".join(read_text(path, MOST_CAPTION).split())
    except InputError as fault:
        raise InputError(f"{fault}; mend it, or set --data.captions metadata") from None


def rows_of_tables(listing: Listing, notes: list[str]) -> dict[str, Row]:
    """File -> what a captions.tsv says of it, by column; of several the nearest above the file. A name is that of a
    file in the same folder, or of the only one below whose path ends so."""
    found: dict[str, Row] = {}
    for table in listing.tables:
        folder = table.removesuffix(table.rpartition("/")[2])
        below = [name for name in listing.files if name.startswith(folder)]
        ends = _by_end({name[len(folder) :]: name for name in below})
        find, rows = finder(ends), _rows(listing.root / table)
        named = {name: find(name) for name in rows}
        found |= {ends[meant]: rows[name] for name, meant in named.items() if meant is not None}
        if missing := [name for name, meant in named.items() if meant is None]:
            where = f"{len(missing):,} of {len(rows):,} names in {printable(table)}"
            notes.append(f"{where} are of no image, or of several, such as {printable(missing[0])}")
    return found


def _by_end(files: Mapping[str, str]) -> dict[str, str]:
    """Path -> file, and what a path ends with, after a /, where no other does and none is called so."""
    ends: dict[str, str | None] = {}
    for path, file in files.items():
        while path := path.partition("/")[2]:
            ends[path] = None if path in ends else file
    return {**{end: file for end, file in ends.items() if file is not None}, **files}


def _rows(path: Path) -> dict[str, Row]:
    """Name -> the values of its row by column."""
    where = printable(path)
    head, *lines = read_text(path, MOST_BYTES).replace("\r\n", "\n").split("\n")
    columns = head.split("\t")
    if twice := [name for name, count in Counter(filter(None, columns)).items() if count > 1]:
        raise InputError(f"expected each column once in {where}, got {printable(twice[0])!r} twice; rename one")
    if not {*FILE_COLUMNS} & {*columns} or not {*CAPTION_COLUMNS} & {*columns}:
        raise InputError(
            f"expected columns file and caption, apart by tabs, in {where}, got {head[:60]!r}; rename them"
        )
    file, rows = _column(columns, FILE_COLUMNS), dict[str, Row]()
    for number, line in enumerate(lines, 2):
        values = line.split("\t")
        if not line:
            continue
        if len(values) != len(columns):
            raise InputError(f"expected {len(columns)} values in line {number} of {where}, got {len(values)}; mend it")
        row = dict(zip(columns, map(str.strip, values), strict=True))
        name = values[columns.index(file)]
        if name in rows:
            raise InputError(f"expected each file once in {where}, got {printable(name)!r} twice; remove one")
        rows[name] = row
    return rows


def _column(columns: Collection[str], names: Sequence[str]) -> str:
    """The first of the names that is a column."""
    return next(name for name in names if name in columns)
