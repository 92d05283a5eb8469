"""What Firefox and WebKit have in common: processes that are waited for and ended, and actions of WebDriver."""

import os
import signal
import subprocess
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from browsers.page import LONGEST, Page, Points

SECONDS = LONGEST + 30
"""How long a browser may take to start, or to answer."""
KEYS = (
    {"Backspace": "\ue003", "Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Space": " ", "Delete": "\ue017"}
    | {"Shift": "\ue008", "Control": "\ue009", "Alt": "\ue00a"}
    | {"PageUp": "\ue00e", "PageDown": "\ue00f", "End": "\ue010", "Home": "\ue011"}
    | {"ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015"}
)

T = TypeVar("T")


@contextmanager
def running(command: Sequence[str], output: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to a file; it and those that it started are ended."""
    with output.open("wb") as file:
        environ = {**os.environ, **environment}
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environ, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(process: subprocess.Popen[bytes], found: Callable[[], T | None]) -> T:
    """What `found` returns once it is not None, if that is before the process ends and before SECONDS are over."""
    end = monotonic() + SECONDS
    while (value := found()) is None:
        with suppress(subprocess.TimeoutExpired):
            raise RuntimeError(f"{process.args!r} ended with {process.wait(0.02)}")
        if monotonic() > end:
            raise TimeoutError(f"{process.args!r} is not ready after {SECONDS} s")
    return value


class DrivenPage(Page):
    @abstractmethod
    def act(self, actions: dict[str, Any]) -> None:
        """Has one device do what WebDriver's standard calls a sequence of actions."""

    def key(self, name: str) -> None:
        keys = [KEYS.get(key, key) for key in (name.split("+") if len(name) > 1 else [name])]
        down, up = ([{"type": kind, "value": key} for key in keys] for kind in ("keyDown", "keyUp"))
        self.act({"type": "key", "id": "keyboard", "actions": [*down, *reversed(up)]})

    def drag(self, points: Points) -> None:
        first, *moves = ({"type": "pointerMove", "x": x, "y": y, "duration": 0} for x, y in points)
        down, up = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
        self.act({"type": "pointer", "id": "mouse", "actions": [first, down, *moves, up]})
