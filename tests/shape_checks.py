"""Shapes and types, checked in the first calls of every function in every test.

The ten thousand calls of a training run say nothing that the first few do not, and checking them takes as long as
making them.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from beartype import beartype

CALLS = 3
"""Of a function in a test."""
tests_begun = 0


def begin_test() -> None:
    """Every function is checked again."""
    global tests_begun
    tests_begun += 1


def first_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    """What beartype makes of a function, called no more than `CALLS` times in a test."""
    checked = None  # most functions are called in few of the processes, and made to be checked in no time but their own
    test, calls = 0, 0

    @wraps(function)
    def check(*args: Any, **named: Any) -> Any:
        nonlocal checked, test, calls
        if test != tests_begun:
            test, calls = tests_begun, 0
        calls += 1
        if calls > CALLS:
            return None
        checked = checked or beartype(function)
        return checked(*args, **named)

    return check
