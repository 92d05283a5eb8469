"""Threads: many files decoded at once, within a share of the memory that is free; and one that does things ahead.

The threads are daemons: who interrupts the process waits for none of them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import TypeVar

from ancestral.data.images import BadImage, memory_to_decode
from ancestral.machine import free_memory, usable_cores

Result = TypeVar("Result")


class Room:
    """Bytes to share: whoever wants some waits until they are free; what wants more than there are is alone."""

    def __init__(self, size: int) -> None:
        self.size = self._free = size
        self._changed = Condition()

    @contextmanager
    def held(self, wanted: int) -> Iterator[None]:
        """Holds `wanted` bytes, or all."""
        held = min(wanted, self.size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= held)
            self._free -= held
        try:
            yield
        finally:
            with self._changed:
                self._free += held
                self._changed.notify_all()


def each(work: Callable[[Path], Result], paths: Iterable[Path], root: Path = Path()) -> Iterator[Result | BadImage]:
    """`work` of every path below `root`, in order, a bad image in place of its result. Threads decode files ahead."""
    free = free_memory()
    room = Room(2**30 if free is None else free // 2)

    def guarded(path: Path) -> Result | BaseException:
        try:
            with room.held(memory_to_decode(root / path)):
                return work(path)
        except BaseException as error:
            return error

    threads = usable_cores()
    remaining = iter(paths)
    while ahead := list(islice(remaining, 8 * threads)):
        for result in _together(guarded, ahead, threads):
            if isinstance(result, BaseException) and not isinstance(result, BadImage):
                raise result
            yield result


def _together(work: Callable[[Path], Result], paths: list[Path], threads: int) -> list[Result]:
    """`work` of each path, in order; it raises nothing."""
    tasks, results = deque(enumerate(paths)), dict[int, Result]()

    def serve() -> None:
        with suppress(IndexError):  # no task is left
            while True:
                number, path = tasks.popleft()
                results[number] = work(path)

    workers = [Thread(target=serve, daemon=True, name="decode") for _ in range(min(threads, len(paths)))]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    finally:
        tasks.clear()
    return [results[number] for number in range(len(paths))]


class ReadAhead:
    """Calls `do` on what was asked for last, one after another, in a thread that never keeps the process alive.

    What goes wrong there is left to whoever needs the thing itself. The thread ends when there is nothing to do.
    """

    def __init__(self, do: Callable[[str, int], None]) -> None:
        self._do, self._lock = do, Lock()
        self._wanted: deque[tuple[str, int]] = deque()
        self._thread: Thread | None = None

    def ask(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Wants these, in this order, and no longer what was asked for before."""
        with self._lock:
            self._wanted = deque(wanted)
            if self._thread is None and self._wanted:
                self._thread = Thread(target=self._work, daemon=True, name="read-ahead")
                self._thread.start()

    def wait(self) -> None:
        """Until all that was asked for is done."""
        if (thread := self._thread) is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                wanted = self._wanted.popleft()
            with suppress(Exception):
                self._do(*wanted)
