"""Averages of the weights by a power of time, which always span the same share of the run.

After Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models", section 3.
theta(k) are the weights after update k, which are held over (k - 1, k]. The average after update t,

    mean(t) = integral of p(tau) theta(tau) over 0..t,     p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1),           (1)

has a profile p that grows with the run and reaches back over the same share of it. Over 0..t-1 it is
((t - 1) / t)^(gamma + 1) times the one of t - 1, and the rest falls to theta(t) alone. So (1) is kept exactly by

    mean(t) = beta mean(t - 1) + (1 - beta) theta(t),      beta = (1 - 1 / t)^(gamma + 1).                           (2)

tau / t is distributed as Beta(gamma + 1, 1). Its mean is (gamma + 1) / (gamma + 2); its standard deviation, sigma_rel
in the paper, is the length of the average, a share of the run:

    length^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).                                                            (3)

It falls from 1 / sqrt(12), where all weights count alike, as gamma rises from 0. Multiplied out, with s = length^-2,

    gamma^3 + 7 gamma^2 + (16 - s) gamma + 12 - s = 0,                                                               (4)

whose largest root is gamma.
"""

from math import sqrt

import numpy as np
from torch import Tensor

LONGEST = 1 / sqrt(12)
"""The length of the average in which all weights count alike."""
PROFILES = {"ema_short": 0.05, "ema_long": 0.10}
"""The lengths that are kept, by the name of their tensors in checkpoints and snapshots."""


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
