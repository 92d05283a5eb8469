"""The two logs of a run, a JSON object a line.

`log.jsonl` holds what the computation determines: losses, gradient norms, learning rates. A run that was interrupted
has the same bytes as one that was not: on resume it is cut back to where the checkpoint left it. `timing.jsonl` holds
what the machine determines, images per second and minutes, and only grows.
"""

import json
import os
from pathlib import Path
from typing import Any

from ancestral.errors import CannotWrite, InputError
from ancestral.files import flush


class JsonLines:
    """A file that is appended to, one record at a time, and can be cut back.

    Raises:
        CannotWrite: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: dict[str, Any]) -> None:
        """Writes one line."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as fault:
            raise CannotWrite(f"cannot write {self.path}: {fault.strerror}") from None

    def flush(self) -> int:
        """Forces the lines to disk; the length in bytes."""
        if not self.path.exists():
            return 0
        flush(self.path)
        return self.path.stat().st_size

    def cut(self, length: int) -> None:
        """Drops what was written after the first `length` bytes."""
        if self.path.exists():
            os.truncate(self.path, length)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a log; a half-written last line, as a kill leaves it, is dropped.

    Raises:
        InputError: no such file, or lines before the last that are not JSON.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
    except (OSError, ValueError) as fault:
        raise InputError(f"cannot read the log {path}: {fault}") from None
