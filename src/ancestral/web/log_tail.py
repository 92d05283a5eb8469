"""The lines of a run's log, as many as are whole, from where one has read so far."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ancestral.errors import InputError
from ancestral.files import open_regular
from ancestral.training.logs import MOST_LOG, Record, record_of


class NewRecords(NamedTuple):
    """Records, and the byte after the last of them."""

    records: list[Record]
    next: int


def read_from(log: Path, start: int) -> NewRecords:
    """What a log holds from a byte on; all of it where it has become shorter than that."""
    with suppress(InputError, OSError), open_regular(log) as file:
        start = 0 if start > os.fstat(file.fileno()).st_size else start
        file.seek(start)
        lines = file.read(MOST_LOG).splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        records = [record for line in whole if (record := record_of(line)) is not None]
        return NewRecords(records, start + sum(map(len, whole)))
    return NewRecords([], 0)


class LogTail:
    """What is new in a log since the last look.

    A run that goes on from a checkpoint cuts its log back to where that was, and writes the same lines again, bit for
    bit. So nothing is said until the log is longer than it was; whether it then holds the same as before tells its last
    line that was read. Where that is another (the run went back and on otherwise), all of it is new: of two records of
    one step the later counts.
    """

    def __init__(self, log: Path, from_the_end: bool) -> None:
        self.log, self.size, self.offset, self.last = log, 0, 0, b""
        if from_the_end:
            self.news()

    def news(self) -> list[Record]:
        """The records that came since the last call."""
        with suppress(InputError, OSError):
            size = self.log.stat().st_size
            if size <= self.offset or size == self.size:
                return []
            with open_regular(self.log) as file:
                file.seek(self.offset - len(self.last))
                if file.read(len(self.last)) != self.last:
                    file.seek(0)
                    self.offset = 0
                lines = file.read(MOST_LOG).splitlines(keepends=True)
            whole = [line for line in lines if line.endswith(b"\n")]
            self.size, self.offset = size, self.offset + sum(map(len, whole))
            self.last = whole[-1] if whole else self.last
            return [record for line in whole if (record := record_of(line)) is not None]
        return []
