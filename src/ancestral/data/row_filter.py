"""The images of a folder that data.where leaves, by what metadata and captions.tsv say of each in any column."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ancestral.data.captions import rows_of_tables
from ancestral.data.listing import Listing
from ancestral.data.metadata import Annotation, number_in
from ancestral.errors import InputError
from ancestral.names import meant
from ancestral.text import printable, shortened


def filtered(listing: Listing, annotations: dict[str, Annotation], where: Sequence[str]) -> dict[str, Annotation]:
    """The annotations of the files of which all of `where` holds, COLUMN=VALUE each; of one column any of its values.

    Values are compared as texts, or as numbers where both are. Metadata counts before captions.tsv. Raises InputError
    for a column that there is not, for a value that no image has, and where nothing is left.
    """
    if not where:
        return annotations
    tables, wanted = rows_of_tables(listing, []), dict[str, list[str]]()
    rows = {name: {**tables.get(name, {}), **each.row} for name, each in annotations.items()}
    for column, _, value in (each.partition("=") for each in where):
        wanted.setdefault(column.strip(), []).append(value.strip())
    for column, values in wanted.items():
        _check(column, values, rows)
    kept = {
        name: annotations[name]
        for name, row in rows.items()
        if all(any(_is(row, column, value) for value in values) for column, values in wanted.items())
    }
    if not kept:
        raise InputError(f"expected images of which all of data.where holds, got none of {len(rows):,}; say less")
    return kept


def _check(column: str, values: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """That there is such a column, with such values."""
    if column not in (columns := {str(name): 0 for row in rows.values() for name in row}):
        raise InputError(
            "expected data.where with a column of the folder's metadata or captions.tsv, got "
            f"{printable(column)!r}; {_there_are(column, columns)}"
        )
    for value in values:
        if not any(_is(row, column, value) for row in rows.values()):
            said = {_text(row[column]): 0 for row in rows.values() if row.get(column) is not None}
            raise InputError(
                f"expected data.where with a value of the column {printable(column)}, got {printable(value)!r}; "
                f"{_there_are(value, said)}"
            )


def _there_are(word: str, names: Iterable[str]) -> str:
    known = [shortened(printable(name)) for name in names]
    return meant(printable(word), known) if known else "there is none"


def _is(row: Mapping[str, Any], column: str, value: str) -> bool:
    if column not in row:
        return False
    number = number_in(row[column])
    return _text(row[column]) == value or (number is not None and number == number_in(value))


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
