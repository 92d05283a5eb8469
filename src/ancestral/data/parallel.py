"""Many files at once: on the cores this process may use, within a share of the memory that is free.

The threads are daemons: who interrupts the process waits for none of them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Condition, Thread
from typing import TypeVar

from ancestral.data.images import BadImage, memory_to_decode
from ancestral.machine import free_memory, usable_cores

SHARE = 0.5
"""Of the free memory, for all images that are being decoded."""
WITHOUT_ANSWER = 2**30
"""Bytes, where the machine does not say what is free."""
AHEAD = 8
"""Files a thread that are decoded before the first of them is used."""

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
    """`work` of every path, in order, a bad image in place of its result. Threads decode a few files ahead.

    Args:
        root: the folder that the paths are relative to.
    """
    room = Room(_share())

    def guarded(path: Path) -> Result | BadImage:
        try:
            with room.held(memory_to_decode(root / path)):
                return work(path)
        except BadImage as error:
            return error

    threads = usable_cores()
    remaining = iter(paths)
    while ahead := list(islice(remaining, AHEAD * threads)):
        yield from _together(guarded, ahead, threads)


def _share() -> int:
    free = free_memory()
    return WITHOUT_ANSWER if free is None else int(SHARE * free)


def _together(work: Callable[[Path], Result], paths: list[Path], threads: int) -> list[Result]:
    """`work` of each path, in order; the first error it raises is raised here."""
    tasks: SimpleQueue[tuple[int, Path]] = SimpleQueue()
    done: SimpleQueue[tuple[int, Result | None, BaseException | None]] = SimpleQueue()

    def serve() -> None:
        while True:
            try:
                number, path = tasks.get_nowait()
            except Empty:
                return
            try:
                done.put((number, work(path), None))
            except BaseException as error:
                done.put((number, None, error))

    for task in enumerate(paths):
        tasks.put(task)
    for _ in range(min(threads, len(paths))):
        Thread(target=serve, daemon=True, name="decode").start()
    results: dict[int, Result] = {}
    try:
        for _ in paths:
            number, result, error = done.get()
            if error is not None:
                raise error
            results[number] = result  # type: ignore[assignment]  # there is a result or an error
    finally:
        while not tasks.empty():
            tasks.get()
    return [results[number] for number in range(len(paths))]
