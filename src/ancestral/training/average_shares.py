"""An average of any length out of averages by a power of time (power_average.py) that were kept.

After Karras et al. 2024, appendix C. Two profiles a and b that end at t_a and t_b, with m the earlier of these, have
the product

                (gamma_a + 1)(gamma_b + 1)   m^(gamma_a + gamma_b + 1)
    <a, b>  =  ---------------------------- ---------------------------------.                                      (1)
                   gamma_a + gamma_b + 1     t_a^(gamma_a + 1) t_b^(gamma_b + 1)

A wanted profile r is approached by a sum of kept ones, sum x_i p_i, and its average by the same sum of theirs. The x of
least |r - sum x_i p_i|^2 under sum x_i = 1 follow with a multiplier mu from the linear equations

    sum_j <p_i, p_j> x_j + mu = <p_i, r>  for all i,       sum_j x_j = 1.                                            (2)

The paper leaves the last equation out. Without it x adds up to 0.98 for a length of 0.25 out of 16 times two averages,
and every weight comes out 2 % too small, whether it still moved in training or not. What cannot be approached is the

    residual = |r - sum x_i p_i| / |r|.                                                                              (3)
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.training.power_average import gamma_of

CUT = 1e-13  # singular values, as a share of the largest, below which they are rounding

PerProfile = Float[Tensor, "n"]


class Profile(NamedTuple):
    """Which weights an average is of: its length, and the number of updates at which it ends."""

    length: float
    updates: float


class RebuiltShares(NamedTuple):
    """The share of each kept average in one that is rebuilt, and what of the wanted profile is missed (3)."""

    shares: PerProfile
    residual: float


def shares_for(wanted: Profile, kept: Sequence[Profile]) -> RebuiltShares:
    """The best sum of kept averages for a wanted one (2), in float64. No two of `kept` may be alike."""
    end = max(each.updates for each in (wanted, *kept))
    profiles = [(gamma_of(length), updates / end) for length, updates in (*kept, wanted)]
    gamma, t = torch.tensor(profiles, dtype=torch.float64).T
    products = _products(gamma, t)
    scale = products.diagonal().rsqrt()  # of which each profile has the norm 1
    products = products * scale[:, None] * scale
    system = torch.zeros_like(products)
    system[:-1, :-1] = products[:-1, :-1]
    system[:-1, -1] = system[-1, :-1] = scale[:-1]
    right = torch.cat([products[:-1, -1], torch.ones(1, dtype=torch.float64) * scale[-1]])
    found = torch.linalg.lstsq(system, right[:, None], rcond=CUT, driver="gelsd").solution[:-1, 0]
    missed = 1 - 2 * found @ right[:-1] + found @ products[:-1, :-1] @ found
    return RebuiltShares(found * scale[:-1] / scale[-1], sqrt(max(0.0, float(missed))))


def _products(gamma: PerProfile, t: PerProfile) -> Float[Tensor, "n n"]:
    """(1), of each with each; in an order in which no power overflows."""
    m = torch.minimum(t[:, None], t)
    powers = (m / t[:, None]) ** gamma[:, None] * (m / t) ** gamma * m / (t[:, None] * t)
    return (gamma[:, None] + 1) * (gamma + 1) / (gamma[:, None] + gamma + 1) * powers
