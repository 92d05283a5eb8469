"""The variance of a reverse step p(x_s | x_t), as a log.

The mean of p is that of q(x_s | x_t, x_0) at the predicted x_0; its variance is a choice between two extremes
(Ho et al. 2020, section 3.2): beta(t, s), exact when the data is N(0, I), and beta_tilde(t, s), exact when the data
is one point. On a strided chain only beta_tilde is safe: beta adds noise that the data does not have.

A reverse step onto s = 0 has beta_tilde = 0, whose log would make the likelihood of x_0 infinite. There the variance
is that of the step onto s = 1 (from t = 2 in the full chain), the smallest the chain knows; samplers add no noise.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from ancestral.diffusion.schedules import Schedule
from ancestral.tensors import Timesteps

Variance = Callable[[Schedule, Timesteps, Timesteps], Float64[Tensor, "..."]]
"""(schedule, t, s) -> log-variance of p(x_s | x_t), shaped as t."""


def beta(schedule: Schedule, t: Timesteps, s: Timesteps) -> Float64[Tensor, "..."]:
    """log beta(t, s), the upper extreme ("fixed large")."""
    return schedule.beta(t, s).log()


def beta_tilde(schedule: Schedule, t: Timesteps, s: Timesteps) -> Float64[Tensor, "..."]:
    """log beta_tilde(t, s), the lower extreme ("fixed small"), with s = 0 treated as s = 1."""
    first = min(1, schedule.num_timesteps - 1)
    return schedule.beta_tilde(torch.clamp(t, min=first + 1), torch.clamp(s, min=first)).log()
