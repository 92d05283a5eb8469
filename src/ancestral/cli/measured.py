"""Measured numbers in words."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ancestral.evaluation.evaluate import Number

LONGEST = 6
"""Decimals, beyond which a number is told with an exponent."""


def number(measured: "Number") -> str:
    """A value with its standard error, to the error's second digit."""
    return rounded(measured.value, measured.standard_error)


def rounded(value: float, error: float | None) -> str:
    """A value with its error, where there is one, to the error's second digit."""
    if not error:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > LONGEST:
        return f"{value:.2g} ± {error:.1g}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"
