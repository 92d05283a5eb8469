"""What is written beside images about each of them (metadata.csv, metadata.jsonl, dataset.json), and which is meant.

metadata.csv and .jsonl have file_name with a label, a text, or both. dataset.json, of the tools of StyleGAN and EDM,
has a number for each name: {"labels": [["00000/img00000000.png", 6], ...]}, or {"img00000000.png": 6, ...}.
"""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ancestral.errors import InputError
from ancestral.files import json_object, parse_json, read_bytes, read_text
from ancestral.text import as_utf8, normal_form, printable

MOST_BYTES = 2**28  # of a file about images


class Annotation(NamedTuple):
    """What the metadata says of one image; None where it has no such column."""

    label: str | None
    text: str | None


def read_metadata(path: Path) -> dict[str, Annotation]:
    """File name -> annotation, in the order of the file; empty for a dataset.json that is something else."""
    where = printable(path)
    annotations: dict[str, Annotation] = {}
    for name, annotation in _numbered(path, where) if path.suffix == ".json" else _described(path, where):
        if name in annotations:
            raise InputError(f"expected each file_name once in {where}, got {printable(name)!r} twice")
        annotations[name] = annotation
    return annotations


def finder(files: Iterable[str]) -> Callable[[str], str | None]:
    r"""A function from a name as somebody wrote it to the one of `files` that is meant; None where there is none. As it
    stands first; then in one form of Unicode, whatever the locale; then with \ for /, as Windows has it. A name that
    two files share in such a form stands for neither."""
    exact, forms = {*files}, dict[str, str | None]()
    for file in exact:
        form = _form(file)
        forms[form] = None if form in forms else file

    def find(name: str) -> str | None:
        if name in exact:
            return name
        return forms.get(_form(name)) or forms.get(_form(str(PurePosixPath(name.replace("\\", "/")))))

    return find


def _form(name: str) -> str:
    return normal_form(as_utf8(name))


def _numbered(path: Path, where: str) -> list[tuple[str, Annotation]]:
    tree = parse_json(read_bytes(path, MOST_BYTES), where)
    labels = tree.get("labels", tree) if isinstance(tree, dict) else ()
    found = []
    for pair in labels.items() if isinstance(labels, dict) else labels if isinstance(labels, list) else ():
        match pair:
            case [str(name), int(number)] if name and not isinstance(number, bool):
                found.append((_inside(name, where), Annotation(str(number), None)))
            case _:
                return []
    return found


def _described(path: Path, where: str) -> list[tuple[str, Annotation]]:
    text = read_text(path, MOST_BYTES)
    if path.suffix == ".csv":
        rows = _csv(text, where)
    else:
        lines = enumerate(text.split("\n"), 1)
        rows = [json_object(line, f"line {i} of {where}") for i, line in lines if line.strip()]
    keys = rows[0] if rows else {}
    columns = tuple(column for column in ("label", "text") if column in keys)
    if "file_name" not in keys or not columns:
        got = ", ".join(map(str, keys)) or "no rows"
        raise InputError(f"expected file_name and label or text in {where}, got {got}")
    return [_annotation(f"row {number} of {where}", row, columns) for number, row in enumerate(rows, 1)]


def _csv(text: str, where: str) -> list[Any]:
    """The rows, none of which has more values than there are columns; empty columns at the end do not count."""
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns, rows = table.fieldnames or (), [*table]
    except csv.Error as error:
        raise InputError(f"cannot read {where}: {error}") from None
    if twice := [name for name, count in Counter(filter(None, columns)).items() if count > 1]:
        raise InputError(f"expected each column once in {where}, got {printable(twice[0])!r} twice")
    if (long := next((i for i, row in enumerate(rows, 1) if any(row.get(None, ()))), None)) is not None:
        raise InputError(
            f"expected {len(columns)} values in row {long} of {where}, got more; put quotes around what holds commas"
        )
    return rows


def _annotation(where: str, row: dict[str, Any], columns: tuple[str, ...]) -> tuple[str, Annotation]:
    for column in ("file_name", *columns):
        value = row.get(column)
        if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
            raise InputError(f"expected {column} in {where}, got {value!r}")
    label, text = (str(row[column]) if column in columns else None for column in ("label", "text"))
    return _inside(str(row["file_name"]), where), Annotation(label, text)


def _inside(name: str, where: str) -> str:
    """The name, which does not lead out of the folder, whichever way its folders are separated."""
    form = PurePosixPath(name.replace("\\", "/"))
    if form.is_absolute() or ".." in form.parts:
        raise InputError(f"expected a file_name inside the folder in {where}, got {printable(name)!r}")
    return str(form) if "\\" not in name else str(PurePosixPath(name))
