"""The first SIGINT, SIGTERM or SIGHUP stops where that costs nothing; the second leaves at once.

Training remembers the first until its next step. Every other verb stops where it is: `Stopped` is raised, and is told
at the end with what was finished by then.

Python runs a signal's handler between two instructions of the main thread only, and one call into torch can last for
minutes. So a thread waits for signals as well, by the descriptor that Python writes their numbers to at once: whichever
of the two comes first counts a signal, and the second one ends the process there.

`Stopped` is raised wherever the main thread happens to be, and some code swallows what is raised in it: a bare `except`
in the midst of an import, a C library that asks for an attribute. So it is raised again until it gets through.
"""

import os
import select
import signal
import sys
import threading
import time
from _thread import interrupt_main
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from math import inf
from types import FrameType
from weakref import ref

from ancestral.cli.output import say
from ancestral.machine import started_together

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ECHO_SECONDS = 5.0  # within which the same wish may arrive twice, by way of a launcher or scheduler and its processes
SWALLOWED = 0  # among the numbers of signals: `Stopped` was raised, and is gone though the work goes on
SHOW_CURSOR = b"\x1b[?25h"


class Stopped(KeyboardInterrupt):
    """A signal asked to stop; its notes say what was finished by then."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class StopRequest:
    """`signal`: the one that asked to stop, 0 until then; `promise`: what is then done, None: `Stopped` is raised."""

    def __init__(self, promise: str | None) -> None:
        self.promise, self.signal, self.since = promise, 0, inf
        self.arrivals, self.over = count(), False
        self.repeated: deque[int] = deque()
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)

    def watch(self) -> None:
        """Counts signals until the writing end is closed: the work of the thread."""
        waiting = select.poll()
        waiting.register(self.reader, select.POLLIN)
        while True:
            waiting.poll()
            with suppress(BlockingIOError):
                numbers = os.read(self.reader, 64)
                if not numbers:
                    return
                self._count(numbers)
                if SWALLOWED in numbers:
                    time.sleep(0.1)  # by then what goes away is gone, and what is raised anew is not swallowed with it
                    if not self.over:
                        self.repeated.append(self.signal)
                        interrupt_main(signal.Signals(self.signal))

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler: counts what the thread has not counted yet; raises Stopped where nothing is promised."""
        with suppress(BlockingIOError):
            self._count(os.read(self.reader, 64))
        if self.promise is None:
            raise self._stopped(number)

    def _stopped(self, number: int) -> Stopped:
        """To be raised. No frame that it passes holds it, so that it is gone as soon as nobody handles it."""
        stop = Stopped(number)
        self.raised = ref(stop, self._swallowed)
        return stop

    def _swallowed(self, raised: "ref[Stopped]") -> None:
        """Tells the thread: what is raised here, while an object goes away, would be swallowed again."""
        if not self.over:
            os.write(self.writer, bytes([SWALLOWED]))

    def _count(self, numbers: bytes) -> None:
        for number in numbers:
            if number not in WATCHED:
                continue
            with suppress(IndexError):
                self.repeated.pop()
                continue
            if next(self.arrivals) == 0:
                self.signal, self.since = number, time.monotonic()
                with suppress(OSError, RuntimeError):  # nobody there to read it, or in the middle of another line
                    if self.promise is not None:
                        say(f"{self.promise}; once more to leave at once")
            elif not started_together() or time.monotonic() - self.since >= ECHO_SECONDS:
                if sys.stderr.isatty():
                    os.write(sys.stderr.fileno(), SHOW_CURSOR)
                os._exit(128 + number)


@contextmanager
def stop_asked(promise: str | None = "stopping after this step to save") -> Iterator[StopRequest]:
    """Watches for the signals, and puts the former handlers back. In a thread, which hears none, it does nothing."""
    asked = StopRequest(promise)
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    by_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # what it ignores stays ignored
    watched = [number for number in WATCHED if not (by_nohup and number == signal.SIGHUP)]
    thread = threading.Thread(target=asked.watch, daemon=True, name="signals")
    told = signal.set_wakeup_fd(asked.writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, asked.handle) for number in watched}
    thread.start()
    try:
        yield asked
    finally:
        asked.over = True
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(told)
        os.close(asked.writer)
        thread.join()
        os.close(asked.reader)
