"""Averages of the weights by a power of time, and one of any length out of a few that were kept.

After Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3 and appendix C.
theta(k) are the weights after update k, which are held over (k - 1, k]. The average after update t,

    mean(t) = integral of p(tau) theta(tau) over 0..t,     p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1),           (1)

has a profile p that grows with the run: it always forgets its beginning, and reaches back over the same share of the
run. Over 0..t-1 this p is ((t - 1) / t)^(gamma + 1) times the one of t - 1, and the rest, over (t - 1, t], falls to
theta(t) alone. So (1) is kept exactly by

    mean(t) = beta mean(t - 1) + (1 - beta) theta(t),      beta = (1 - 1 / t)^(gamma + 1).                           (2)

tau / t is distributed as Beta(gamma + 1, 1). Its mean is (gamma + 1) / (gamma + 2); its standard deviation, sigma_rel
in the paper, is the length of the average, a share of the run:

    length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).                                                            (3)

It falls from 1 / sqrt(12), where all weights count alike, as gamma rises from 0. Multiplied out, with s = length^-2,

    gamma^3 + 7 gamma^2 + (16 - s) gamma + 12 - s = 0,                                                               (4)

whose largest root is gamma. Two profiles a and b that end at t_a and t_b, with m the earlier of these, have the product

                (gamma_a + 1)(gamma_b + 1)   m^(gamma_a + gamma_b + 1)
    <a, b>  =  ---------------------------- ---------------------------------.                                      (5)
                   gamma_a + gamma_b + 1     t_a^(gamma_a + 1) t_b^(gamma_b + 1)

A wanted profile r is approached by a sum of kept ones, sum x_i p_i, and its average by the same sum of theirs. The x of
least |r - sum x_i p_i|^2 under sum x_i = 1 follow with a multiplier mu from the linear equations

    sum_j <p_i, p_j> x_j + mu = <p_i, r>  for all i,       sum_j x_j = 1.                                            (6)

The paper leaves the last equation out. Without it x adds up to 0.98 for a length of 0.25 out of 16 times two averages,
and every weight comes out 2 % too small, whether it still moved in training or not. What cannot be approached is the

    residual = |r - sum x_i p_i| / |r|.                                                                              (7)
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

LONGEST = 1 / sqrt(12)
"""The length of the average in which all weights count alike."""
PROFILES = {"ema_short": 0.05, "ema_long": 0.10}
"""The lengths that are kept, by the name of their tensors in checkpoints and snapshots."""
CUT = 1e-13  # singular values, as a share of the largest, below which they are rounding

Numbers = Float[Tensor, "n"]


class Profile(NamedTuple):
    """Which weights an average is of: its length, and the number of updates at which it ends."""

    length: float
    updates: float


class Mixture(NamedTuple):
    """The share of each kept average in one that is rebuilt, and what of the wanted profile is missed (7)."""

    shares: Numbers
    residual: float


def gamma_of(length: float) -> float:
    """(4), of a length in (0, `LONGEST`]."""
    assert 0 < length <= LONGEST, "a length of a rising profile"
    s = length**-2
    return max(0.0, float(np.roots([1.0, 7.0, 16.0 - s, 12.0 - s]).real.max()))


def length_of(gamma: float) -> float:
    """(3)"""
    return sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def decay_after(updates: Tensor, gamma: float) -> Tensor:
    """beta of (2) for the update after so many others."""
    return (updates / (updates + 1)) ** (gamma + 1)


def mixture(wanted: Profile, kept: Sequence[Profile]) -> Mixture:
    """The best sum of kept averages for a wanted one (6), in float64. No two of `kept` may be alike."""
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
    return Mixture(found * scale[:-1] / scale[-1], sqrt(max(0.0, float(missed))))


def _products(gamma: Numbers, t: Numbers) -> Float[Tensor, "n n"]:
    """(5), of each with each; in an order in which no power overflows."""
    m = torch.minimum(t[:, None], t)
    powers = (m / t[:, None]) ** gamma[:, None] * (m / t) ** gamma * m / (t[:, None] * t)
    return (gamma[:, None] + 1) * (gamma + 1) / (gamma[:, None] + gamma + 1) * powers
