"""One thread that does ahead what will be needed; whatever becomes of it, nothing depends on it."""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock, Thread


class ReadAhead:
    """Calls `do` on what was asked for last, one after another, in a thread that never keeps the process alive.

    What goes wrong there is left to whoever needs the thing itself. The thread ends when there is nothing to do.
    """

    def __init__(self, do: Callable[[int], None]) -> None:
        self._do, self._lock = do, Lock()
        self._wanted: deque[int] = deque()
        self._thread: Thread | None = None

    def ask(self, wanted: Iterable[int]) -> None:
        """Wants these, in this order, and no longer what was asked for before."""
        with self._lock:
            self._wanted = deque(wanted)
            if self._thread is None and self._wanted:
                self._thread = Thread(target=self._work, daemon=True, name="read-ahead")
                self._thread.start()

    def wait(self) -> None:
        """Until all that was asked for is done."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while (wanted := self._next()) is not None:
            with suppress(Exception):
                self._do(wanted)

    def _next(self) -> int | None:
        with self._lock:
            if self._wanted:
                return self._wanted.popleft()
            self._thread = None
            return None
