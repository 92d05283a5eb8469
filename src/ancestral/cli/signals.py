"""The first SIGINT or SIGTERM is remembered until the next step; the second leaves at once.

A launcher of several processes passes on what it gets, and a scheduler sends to the launcher and to the processes: so
there a second one that comes soon is the first one's echo.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ancestral.cli.output import say
from ancestral.machine import started_together

ECHO_SECONDS = 5.0
"""Within which the same wish may arrive twice by way of a launcher."""
SHOW_CURSOR = "\x1b[?25h"


class Asked:
    """`signal` is the number of the signal that asked to stop, 0 until then."""

    def __init__(self) -> None:
        self.signal = 0
        self.since = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.signal and started_together() and time.monotonic() - self.since < ECHO_SECONDS:
            return
        if self.signal:
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), SHOW_CURSOR.encode())
            os._exit(128 + number)
        self.signal, self.since = number, time.monotonic()
        say("stopping after this step to save; once more to leave at once")


@contextmanager
def stop_asked() -> Iterator[Asked]:
    """Watches for both signals, and puts the former handlers back."""
    asked = Asked()
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
