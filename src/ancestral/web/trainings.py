"""Trainings that the page begins: commands like any other, in sessions of their own, which outlive the studio.

The number of each process is in a file that the process holds the lock of, by a descriptor that it inherits and knows
nothing of: as long as the file is locked, the number is that of the training. So a studio that is started again, even
after it was killed, finds those that go on, and never signals a process that only has the same number.
"""

import fcntl
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ancestral.errors import InputError
from ancestral.files import open_regular, open_to_append, read_json

PLACE = ".studio"  # in the studio's folder: a number and the output of each training
MOST_OUTPUT = 2**14  # bytes, at the end of what a training has said
MOST_LINES = 20
BEGINNING = "$ ancestral "  # of the line before what a training has said
ERROR = "ancestral: error: "
ONCE_MORE = "once more to leave at once"  # the end of what it says when it is asked to stop
PROGRESS = re.compile(r" *\d+%  step ")


class Trainings:
    """Those of one studio's folder, by the ids of their runs."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / PLACE
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.asked_to_stop: set[str] = set()
        self.looking = threading.Lock()  # to look whether a file is locked is to lock it for a moment

    def start(self, id: str, words: Sequence[str]) -> None:
        """Runs `ancestral WORDS`, whose output goes to a file, after what the training before said at last: one that is
        refused leaves that to be read."""
        self.place.mkdir(exist_ok=True)
        with self.looking, open_to_append(self.output(id)) as output, open_to_append(self._number(id)) as number:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"expected a run that nobody trains, got {id}; wait for it or stop it") from None
            lines = [*self.said(id), BEGINNING + shlex.join(words)]
            output.truncate(0)
            output.write("".join(f"{line}\n" for line in lines).encode())
            output.flush()
            child = subprocess.Popen(
                [sys.executable, "-m", "ancestral", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[number.fileno()],
            )
            number.truncate(0)
            number.write(f'{{"process": {child.pid}}}\n'.encode())
        self.children[id] = child
        self.asked_to_stop.discard(id)

    def process(self, id: str) -> int | None:
        """The number of the process that trains a run; None: none that was begun here does."""
        with self.looking, suppress(InputError, OSError, LookupError), open_regular(self._number(id)) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(read_json(self._number(id))["process"])
            if (child := self.children.pop(id, None)) is not None:
                child.wait()  # it has let go of its number: it is ending
        return None

    def running(self) -> list[str]:
        """The ids of the runs that are trained."""
        ids = [each.stem for each in sorted(self.place.glob("*.process"))] if self.place.is_dir() else []
        return [id for id in ids if self.process(id) is not None]

    def stop(self, id: str, now: bool = False) -> None:
        """Asks a training to save and stop, once; `now`: tells one that was asked already to leave."""
        if (process := self.process(id)) is None:
            raise InputError(
                f"expected a training that was begun on this page, got {id}, which none is; stop it where it was begun"
            )
        if now or not self.is_stopping(id):
            self.asked_to_stop.add(id)
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM if now else signal.SIGINT)

    def is_stopping(self, id: str) -> bool:
        """Whether a training was asked to save and stop, also by a studio before this one."""
        return id in self.asked_to_stop or any(line.endswith(ONCE_MORE) for line in self._last_said(id))

    def fault(self, id: str, since: float = 0.0) -> str:
        """Why the last training of a run ended, where it said so after that time; empty where it did not."""
        with suppress(OSError):
            if self.output(id).stat().st_mtime >= since:
                faults = [line.removeprefix(ERROR) for line in self._last_said(id) if line.startswith(ERROR)]
                return faults[-1] if faults else ""
        return ""

    def said(self, id: str) -> list[str]:
        """The last lines of the trainings of a run, each after its command, but for those that only say how far it
        is."""
        with suppress(InputError, OSError), open_regular(self.output(id)) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - MOST_OUTPUT))
            lines = file.read().decode(errors="replace").splitlines()
            return [line for line in lines if not PROGRESS.match(line)][-MOST_LINES:]
        return []

    def _last_said(self, id: str) -> list[str]:
        """Those of the last training alone."""
        said = self.said(id)
        begun = [number for number, line in enumerate(said) if line.startswith(BEGINNING)]
        return said[begun[-1] :] if begun else said

    def output(self, id: str) -> Path:
        """The file of what trainings of a run have said."""
        return self.place / f"{id}.output"

    def _number(self, id: str) -> Path:
        return self.place / f"{id}.process"
