"""Work that is done piece by piece: a generator of how much is done, of how much, that returns the result."""

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
StepwiseWork = Generator[tuple[int, int], None, T]


def finish(work: StepwiseWork[T]) -> T:
    """The result, once all is done."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
