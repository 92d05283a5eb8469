"""Work that is done piece by piece: a generator of how far it has come, that returns the result."""

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

P = TypeVar("P")
Q = TypeVar("Q")
T = TypeVar("T")


class ProgressEvent(NamedTuple):
    """So much is done, of how much, of what."""

    what: str
    done: int
    total: int


StepwiseWork = Generator[tuple[int, int], None, T]
"""Yields how much is done, and of how much."""
StagedWork = Generator[ProgressEvent, None, T]
"""Of several stages, each with a name."""


def finish(work: Generator[P, None, T], follow: Callable[[P], object] = lambda progress: None) -> T:
    """The result, once all is done; `follow` is called with whatever the work yields."""
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            return end.value
        follow(progress)


def mapped(work: Generator[P, None, T], function: Callable[[P], Q]) -> Generator[Q, None, T]:
    """The same work, with a function of whatever it yields in place of that."""
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            return end.value
        yield function(progress)
