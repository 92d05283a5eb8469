"""A check: numbers that mathematics says are 0, and how far from it arithmetic may come.

Every check measures errors, the package's numbers less ones found another way, and holds where the largest is within
what is allowed. A check that raises has failed: a broken formula may break the program before it yields a number.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

Errors = float | int | Tensor | Iterable[float | int | Tensor]  # of whatever shapes and signs


class Check(NamedTuple):
    """What is compared with what, the error that rounding or the method may leave, and how to measure it."""

    name: str
    allowed: float | int
    measure: Callable[[torch.device], Errors]


Function = TypeVar("Function", bound=Callable[..., Errors])


class Checks(list[Check]):
    """The checks of a file, in order. `@CHECKS(name, allowed)` makes one of a function of the device."""

    def __call__(
        self, name: str, allowed: float | int, /, *first: object, **each: Iterable[object]
    ) -> Callable[[Function], Function]:
        """Adds the function that is decorated, and gives it `first`, then a value of `each`, then the device.

        `each` has values of its next parameters, in order: a check for every combination, which is put into the name.
        """

        def add(measure: Function) -> Function:
            for values in itertools.product(*each.values()):
                filled = name.format(**dict(zip(each, values, strict=True)))
                self.append(Check(filled, allowed, partial(measure, *first, *values)))
            return measure

        return add


class CheckResult(NamedTuple):
    """What one check found. `error` is infinite where it raised, and `fault` then says what."""

    group: str
    name: str
    error: float
    allowed: float | int
    fault: str = ""

    @property
    def held(self) -> bool:
        """Whether the error is within what is allowed; NaN is not."""
        return self.error <= self.allowed


def run(groups: Mapping[str, Sequence[Check]], device: torch.device) -> Iterator[CheckResult]:
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
    return float(
        torch.stack([torch.as_tensor(part, dtype=torch.float64).detach().abs().max().cpu() for part in parts]).max()
    )
