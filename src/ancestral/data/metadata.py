"""metadata.csv or metadata.jsonl beside the images: file_name with a label, a text, or both, for each image."""

import csv
import io
import json
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ancestral.errors import InputError
from ancestral.text import printable


class Annotation(NamedTuple):
    """What the metadata says of one image; None where it has no such column."""

    label: str | None
    text: str | None


def read_metadata(path: Path) -> dict[str, Annotation]:
    """File name -> annotation, in the order of the file.

    Raises:
        InputError: not UTF-8, malformed, without file_name or without label and text, a row that lacks a value, a file
            name twice, or one that leads out of the folder.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = _csv(text) if path.suffix == ".csv" else [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"cannot read {printable(path)}: {error}") from None
    annotations: dict[str, Annotation] = {}
    columns = _columns(path, rows)
    for number, row in enumerate(rows, 1):
        name, annotation = _annotation(f"row {number} of {printable(path)}", row, columns)
        if name in annotations:
            raise InputError(f"expected each file_name once in {printable(path)}, got {printable(name)!r} twice")
        annotations[name] = annotation
    return annotations


def _csv(text: str) -> list[Any]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def _columns(path: Path, rows: list[Any]) -> tuple[str, ...]:
    """Those of label and text that the first row has."""
    keys = rows[0] if rows and isinstance(rows[0], dict) else {}
    columns = tuple(column for column in ("label", "text") if column in keys)
    if "file_name" not in keys or not columns:
        raise InputError(
            f"expected file_name and label or text in {printable(path)}, got {', '.join(map(str, keys)) or 'no rows'}"
        )
    return columns


def _annotation(where: str, row: Any, columns: tuple[str, ...]) -> tuple[str, Annotation]:
    values = row if isinstance(row, dict) else {}
    for column in ("file_name", *columns):
        if not isinstance(values.get(column), str | int) or values[column] == "":
            raise InputError(f"expected {column} in {where}, got {values.get(column)!r}")
    name = PurePosixPath(str(values["file_name"]))
    if name.is_absolute() or ".." in name.parts:
        raise InputError(f"expected a file_name inside the folder in {where}, got {printable(str(name))!r}")
    label, text = (str(values[column]) if column in columns else None for column in ("label", "text"))
    return str(name), Annotation(label, text)
