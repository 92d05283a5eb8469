"""A check: a number that mathematics says is 0, and how far from it arithmetic may come.

Every check measures an error, the package's number against one found another way, and holds where the error is within
what is allowed. A check that raises has failed: a broken formula may break the program before it yields a number.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MeasuredError = Callable[[torch.device], float]
"""Computes on a device; the error that it finds there."""


class Check(NamedTuple):
    """What is compared with what, the error that rounding or the method may leave, and how to measure it."""

    name: str
    allowed: float
    measure: MeasuredError


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
        return CheckResult(group, check.name, float(check.measure(device)), check.allowed)
    except Exception as fault:
        return CheckResult(group, check.name, math.inf, check.allowed, f"{type(fault).__name__}: {fault}")


def apart(found: Tensor, expected: Tensor | float) -> float:
    """The largest absolute difference; NaN where there is one."""
    return float((found - expected).abs().max())


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of what was expected."""
    return float(((found - expected) / expected).abs().max())


def largest(errors: Iterable[float | int]) -> float:
    """The largest of some errors, and NaN where one is: Python's `max` may pass it over."""
    return float(torch.tensor([*errors], dtype=torch.float64).max())
