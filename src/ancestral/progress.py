"""Work that is done piece by piece: a generator of how far it has come, that returns the result."""

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, TypeVar

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


def finish(work: Generator[tuple[Any, ...], None, T], follow: Callable[..., None] | None = None) -> T:
    """The result, once all is done.

    Args:
        follow: called with what the work yields, one argument for each of its values.
    """
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        if follow is not None:
            follow(*progress)
