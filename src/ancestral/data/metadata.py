"""What is written beside images about each of them (metadata.csv, metadata.jsonl, dataset.json), and which is meant.

metadata.csv and .jsonl have file_name with a label, a text, and columns of numbers, which are attributes. dataset.json,
of the tools of StyleGAN and EDM, has a number for each name: {"labels": [["00000/img00000000.png", 6], ...]}, or
{"img00000000.png": 6, ...}.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ancestral.errors import InputError
from ancestral.files import json_object, parse_json, read_bytes, read_text
from ancestral.text import as_utf8, normal_form, printable

MOST_BYTES = 2**28  # of a file about images
MOST = 3.4e38  # what an attribute may be, either way: float32 has no more
WORDS = {"": math.nan, None: math.nan, "true": 1.0, "false": 0.0}


class Annotation(NamedTuple):
    """What the metadata says of one image; None where it has no such column."""

    label: str | None
    text: str | None
    attributes: Mapping[str, float]  # by column; not a number where nothing is said
    row: Mapping[str, Any]  # every column, as it stands there


NOTHING_SAID = Annotation(None, None, {}, {})


def read_metadata(path: Path) -> tuple[dict[str, Annotation], tuple[str, ...]]:
    """File name -> annotation, in the order of the file, and notes on columns that are nearly attributes; nothing for a
    dataset.json that is something else."""
    where = printable(path)
    annotations: dict[str, Annotation] = {}
    found, notes = (_numbered(path, where), ()) if path.suffix == ".json" else _described(path, where)
    for name, annotation in found:
        if name in annotations:
            raise InputError(f"expected each file_name once in {where}, got {printable(name)!r} twice")
        annotations[name] = annotation
    return annotations, notes


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
                found.append((_inside(name, where), NOTHING_SAID._replace(label=str(number))))
            case _:
                return []
    return found


def _described(path: Path, where: str) -> tuple[list[tuple[str, Annotation]], tuple[str, ...]]:
    text = read_text(path, MOST_BYTES)
    if path.suffix == ".csv":
        rows = _csv(text, where)
    else:
        lines = enumerate(text.split("\n"), 1)
        rows = [json_object(line, f"line {i} of {where}") for i, line in lines if line.strip()]
    keys = {key: 0 for row in rows for key in row if key}
    columns = tuple(column for column in ("label", "text") if column in keys)
    attributes, notes = _columns_of_numbers(rows, [key for key in keys if key not in ("file_name", *columns)], where)
    if "file_name" not in keys or not (columns or attributes):
        got = ", ".join(map(str, keys)) or "no rows"
        raise InputError(f"expected file_name and label or text, or columns of numbers, in {where}, got {got}")
    found = [_annotation(f"row {number} of {where}", row, columns) for number, row in enumerate(rows, 1)]
    said = [{name: values[i] for name, values in attributes.items()} for i in range(len(rows))]
    return [(name, each._replace(attributes=its)) for (name, each), its in zip(found, said, strict=True)], notes


def _columns_of_numbers(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], where: str
) -> tuple[dict[str, list[float]], tuple[str, ...]]:
    """The columns all of whose values are numbers, by name, and notes on those of which most are."""
    columns: dict[str, list[float]] = {}
    notes: list[str] = []
    for name in names:
        values = [row.get(name) for row in rows]
        numbers = [number_in(value) for value in values]
        others = [value for value, number in zip(values, numbers, strict=True) if number is None]
        told = sum(number is not None and not math.isnan(number) for number in numbers)
        if told and not others:
            columns[printable(name)] = [number for number in numbers if number is not None]
        elif told > len(others):
            got = f"{len(others):,} of {told + len(others):,} values are no numbers, such as {str(others[0])[:20]!r}"
            notes.append(f"the column {printable(name)} of {where} is no attribute: {got}")
    return columns, tuple(notes)


def number_in(value: Any) -> float | None:
    """A number, true or false as 1 or 0; not a number where there is nothing, None where there is something else."""
    try:
        number = float(WORDS.get(value.strip().lower() if isinstance(value, str) else value, value))
    except (TypeError, ValueError, OverflowError):
        return None
    return None if abs(number) > MOST else number


def _csv(text: str, where: str) -> list[Any]:
    """The rows, none of which has more values than there are columns; empty columns at the end do not count."""
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    csv.field_size_limit(MOST_BYTES)  # a text may be longer than what the module allows
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
        if not isinstance(value, str | int) or isinstance(value, bool) or (value == "" and column != "text"):
            raise InputError(f"expected {column} in {where}, got {value!r}")
    label, text = (str(row[column]) if column in columns else None for column in ("label", "text"))
    return _inside(str(row["file_name"]), where), Annotation(label, text, {}, row)


def _inside(name: str, where: str) -> str:
    """The name, which does not lead out of the folder, whichever way its folders are separated."""
    form = PurePosixPath(name.replace("\\", "/"))
    if form.is_absolute() or ".." in form.parts:
        raise InputError(f"expected a file_name inside the folder in {where}, got {printable(name)!r}")
    return str(form) if "\\" not in name else str(PurePosixPath(name))
