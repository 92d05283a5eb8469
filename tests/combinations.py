"""Rows of a test that depends on several things: a few in `make test`, all in the soak."""

from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

import pytest


def combined(*axes: Collection[Any]) -> Sequence[Any]:
    """Every combination of values. `make test` takes as many as the longest axis has, among them every value."""
    values = [[*axis] for axis in axes]
    at_once = {tuple(i % len(axis) for axis in values) for i in range(max(map(len, values)))}
    return [
        pytest.param(*(axis[i] for axis, i in zip(values, row, strict=True)), marks=marks)
        for row in product(*(range(len(axis)) for axis in values))
        for marks in [() if row in at_once else pytest.mark.slow]
    ]
