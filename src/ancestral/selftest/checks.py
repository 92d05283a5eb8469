"""A check: numbers that mathematics says are 0, and how far from it arithmetic may come.

Every check measures errors, the package's numbers less ones found another way, and holds where the largest is within
what is allowed. A check that raises has failed: a broken formula may break the program before it yields a number.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Errors = float | Tensor | Iterable[float | Tensor]
"""Of whatever shapes and signs."""


class Check(NamedTuple):
    """What is compared with what, the error that rounding or the method may leave, and how to measure it."""

    name: str
    allowed: float
    measure: Callable[[torch.device], Errors]


class CheckResult(NamedTuple):
    """What one check found. `error` is infinite where it raised, and `fault` then says what."""

    group: str
    name: str
    error: float
    allowed: float
    fault: str = ""

    @property
    def held(self) -> bool:
        """Whether the error is within what is allowed; NaN is not."""
        return self.error <= self.allowed


Groups = Mapping[str, Sequence[Check]]


def run(groups: Groups, device: torch.device) -> Iterator[CheckResult]:
    """The outcome of every check, in order, each as soon as it is known."""
    for group, checks in groups.items():
        for check in checks:
            yield outcome(group, check, device)


def outcome(group: str, check: Check, device: torch.device) -> CheckResult:
    """What `check` finds on `device`."""
    try:
        return CheckResult(group, check.name, largest(check.measure(device)), check.allowed)
    except Exception as fault:
        return CheckResult(group, check.name, math.inf, check.allowed, f"{type(fault).__name__}: {fault}")


def largest(errors: Errors) -> float:
    """The largest size among numbers and elements, and NaN where one is: Python's `max` may pass it over."""
    parts = [errors] if isinstance(errors, float | int | Tensor) else errors
    return float(torch.stack([torch.as_tensor(part).detach().double().abs().max().cpu() for part in parts]).max())
