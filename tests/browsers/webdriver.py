"""What Firefox and WebKit have in common: processes that are waited for and ended, and actions of WebDriver."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from browsers.page import Points

SECONDS = 60
"""How long a browser may take to start, or to answer."""
KEYS = dict(
    zip(
        "Backspace Tab Enter Shift Control Alt Escape PageUp PageDown End Home "
        "ArrowLeft ArrowUp ArrowRight ArrowDown Delete Space".split(),
        "\ue003\ue004\ue007\ue008\ue009\ue00a\ue00c\ue00e\ue00f\ue010\ue011\ue012\ue013\ue014\ue015\ue017 ",
        strict=True,
    )
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
            raise RuntimeError(f"{process.args} ended with {process.wait(0.02)}")
        if monotonic() > end:
            raise TimeoutError(f"{process.args} is not ready after {SECONDS} s")
    return value


def key_actions(name: str) -> dict[str, Any]:
    keys = [KEYS.get(key, key) for key in (name.split("+") if len(name) > 1 else [name])]
    down, up = ([{"type": kind, "value": key} for key in keys] for kind in ("keyDown", "keyUp"))
    return {"type": "key", "id": "keyboard", "actions": [*down, *reversed(up)]}


def mouse_actions(points: Points) -> dict[str, Any]:
    first, *moves = ({"type": "pointerMove", "x": x, "y": y, "duration": 0} for x, y in points)
    down, up = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
    return {"type": "pointer", "id": "mouse", "actions": [first, down, *moves, up]}
