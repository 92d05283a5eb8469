"""The two logs of a run, a JSON object a line.

`log.jsonl` holds what the computation determines: losses, gradient norms, learning rates. On resume it is cut back to
where the checkpoint left it, so that an interrupted run has the same bytes as one that was not. `timing.jsonl` holds
what the machine determines, images per second and minutes, and only grows.

A full disk tears lines, and people edit files. A line that is none is left out by whoever reads a log, and counted; a
run that goes on removes it.
"""

import math
import os
from collections.abc import Callable
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

from ancestral.errors import InputError
from ancestral.files import cannot_write, flush, open_to_append, parse_json, read_bytes, write_whole

MOST_LOG = 2**27  # bytes of a log that is read: half a million lines
Record = dict[str, Any]


class JsonLines:
    """A file that is appended to, one record at a time; `check` raises where its folder is no longer what it was."""

    def __init__(self, path: Path, check: Callable[[], None] = lambda: None) -> None:
        self.path, self.check = path, check

    def append(self, record: Record) -> None:
        """Writes one line, or nothing where there is no room for all of it."""
        self.check()
        line = dumps(finite(record)).encode() + b"\n"
        try:
            with open_to_append(self.path) as file:
                before = os.fstat(file.fileno()).st_size
                try:
                    written = os.write(file.fileno(), line)
                    if written < len(line):
                        os.write(file.fileno(), line[written:])
                except OSError:
                    os.truncate(file.fileno(), before)
                    raise
        except OSError as fault:
            raise cannot_write(self.path, fault) from None

    def flush(self) -> int:
        """Forces the lines to disk; the length in bytes."""
        if not self.path.exists():
            return 0
        flush(self.path)
        return self.path.stat().st_size

    def cut(self, length: int | None = None, step: int | None = None) -> None:
        """Drops what was written after the first `length` bytes, and of those the lines that are none or are of a later
        step than `step`, as a full disk or an older checkpoint leaves them.
        """
        if not self.path.exists():
            return
        content = read_bytes(self.path, self.path.stat().st_size)
        lines = content[:length].splitlines(keepends=True)
        records = ((line, record_of(line)) for line in lines)
        kept = b"".join(line for line, record in records if record and (step is None or record["step"] <= step))
        if kept != content:
            self.check()
            write_whole(self.path, kept)


class LogLines(NamedTuple):
    """What a log holds, and how many of its lines were left out because they are none."""

    records: list[Record]
    left_out: int


def read_log(path: Path) -> list[Record]:
    return read_lines(path).records


def read_lines(path: Path) -> LogLines:
    lines = read_bytes(path, MOST_LOG).splitlines(keepends=True)
    records = [record for line in lines if (record := record_of(line)) is not None]
    return LogLines(records, len(lines) - len(records))


def record_of(line: bytes) -> Record | None:
    """The record on a whole line; None where it is none."""
    try:
        record = parse_json(line, "the line") if line.endswith(b"\n") else None
    except InputError:
        return None
    if not isinstance(record, dict) or "step" not in record:
        return None
    counts = [record[name] for name in ("step", "images") if name in record]
    fit = all(type(count) is int and 0 <= count < 2**63 for count in counts)
    return record if fit and all(map(_is_quantity, record, record.values())) else None


def _is_quantity(name: str, value: Any) -> bool:
    """Whether a value is a number or null, or four of them where its name says so."""
    if name.endswith("_by_quarter"):
        return isinstance(value, list) and len(value) == 4 and all(_is_quantity("", each) for each in value)
    return value is None or type(value) in (int, float)


def finite(value: Any) -> Any:
    """`value` with null for what JSON has no number for: infinities and NaN."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
