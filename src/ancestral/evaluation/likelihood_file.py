"""The record of an unfinished measurement: one line of JSON that says what it belongs to, then a line for each chunk.

A chunk is written whole and forced to disk before the next one begins, so whatever ends the process, what is lost is
the chunk it was at; a line torn by that is cut off.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from ancestral.errors import InputError
from ancestral.evaluation.bound_sums import Sums
from ancestral.files import cannot_write, open_to_append, parse_json, read_bytes

MOST_BYTES = 2**30
"""Of a record."""


@dataclass
class ChunkFile:
    """The open file, locked. `sums` are those of the first chunks, in their order."""

    path: Path
    file: BinaryIO
    sums: list[Sums]
    restarted: bool = False
    """Whether what it held belonged to something else, and is gone."""

    def append(self, sums: Sums) -> None:
        """Keeps the sums of the next chunk.

        Raises:
            CannotWrite: disk full, or folder gone.
        """
        self.write({"chunk": len(self.sums), "sums": sums.model_dump()})
        self.sums.append(sums)

    def write(self, line: dict[str, Any]) -> None:
        """Adds a line, which is on the disk then."""
        try:
            self.file.write(json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as fault:
            raise cannot_write(self.path, fault) from None


@contextmanager
def record(path: Path, belongs_to: dict[str, Any]) -> Iterator[ChunkFile]:
    """The record at `path`, cut back to what can be used; anew where it belongs to something else.

    Args:
        belongs_to: everything that the sums depend on, as JSON has it.

    Raises:
        InputError: another process is at work on it, or it is no regular file.
        CannotWrite: it cannot be written.
    """
    with open_to_append(path) as file:
        _lock(file, path)
        lines = read_bytes(path, MOST_BYTES).splitlines(keepends=True)
        here = ChunkFile(path, file, [])
        if not lines or _line(lines[0]) != belongs_to:
            here.restarted = bool(lines)
            file.truncate(0)
            here.write(belongs_to)
        else:
            here.sums = [*_readable(lines[1:])]
            file.truncate(sum(map(len, lines[: 1 + len(here.sums)])))
        yield here


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError(f"{path} is being written by another process; wait for it") from None


def _readable(lines: list[bytes]) -> Iterator[Sums]:
    """The sums of chunk 0, 1, ... up to the first line that does not hold them."""
    for number, text in enumerate(lines):
        line = _line(text)
        try:
            sums = Sums.model_validate(line["sums"])
        except (KeyError, TypeError, ValidationError):
            return
        if line["chunk"] != number:
            return
        yield sums


def _line(text: bytes) -> Any:
    """The value of a line; None where it is torn."""
    try:
        return parse_json(text, "a line") if text.endswith(b"\n") else None
    except InputError:
        return None
