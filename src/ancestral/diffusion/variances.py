"""The variance of a reverse step p(x_s | x_t), as a log.

The mean of p is that of q(x_s | x_t, x_0) at the predicted x_0; its variance is a choice between two extremes
(Ho et al. 2020, section 3.2): beta(t, s), exact when the data is N(0, I), and beta_tilde(t, s), exact when the data
is one point. On a strided chain only beta_tilde is safe: beta adds noise that the data does not have.

A network with a variance coefficient v chooses by itself, for every element and any stride (Nichol and Dhariwal 2021,
eq. 15):

    log variance = w log beta(t, s) + (1 - w) log beta_tilde(t, s),   w = (v + 1) / 2            (1)

Without one, the best variance that depends on t alone is known (Bao et al. 2022, theorem 1). The mean of
q(x_s | x_t, x_0) moves with x_0 by c = sqrt(alpha_bar_s) beta(t, s) / (1 - alpha_bar_t). With e_t the mean squared
error of the predicted x_0, per element, the law of total variance gives

    variance(t, s) = beta_tilde(t, s) + c^2 e_t                                                 (2)
    e_t = (1 - alpha_bar_t) / alpha_bar_t (1 - Gamma_t),  Gamma_t = E||eps||^2 / D               (3)

where (3), for the exact denoiser, is the paper's form. As c^2 (1 - alpha_bar_t) = beta - beta_tilde, (2) is

    variance(t, s) = beta_tilde + r_t (beta - beta_tilde),   r_t = e_t / (1 - alpha_bar_t)      (4)

and one table of r serves every stride. Data with a variance of at most 1 has 0 <= r_t <= 1.

A reverse step onto s = 0 has beta_tilde = 0, whose log would make the likelihood of x_0 infinite. There no variance
is below that of the step onto s = 1 (from t = 2 in the full chain), the least the chain knows; samplers add no noise.
beta has nothing to mend there, and is beta(t, 0) on. The program of Ho et al. (2020) gives the last step beta_tilde
with its other choice, "fixed large", too: that is `beta_published`, and between the two only the likelihood differs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.tensors import Timesteps, broadcast_like

Variance = Callable[[Schedule, Timesteps, Timesteps, Prediction], Float[Tensor, "..."]]
"""(schedule, t, s, prediction at x_t) -> log-variance of p(x_s | x_t), broadcastable over x_t."""


def beta(schedule: Schedule, t: Timesteps, s: Timesteps, prediction: Prediction) -> Float[Tensor, "..."]:
    """log beta(t, s), the upper extreme ("fixed large"), down to beta(t, 0): () or (B, 1, ...)."""
    return broadcast_like(schedule.beta(t, s).log(), prediction.x0)


def beta_published(schedule: Schedule, t: Timesteps, s: Timesteps, prediction: Prediction) -> Float[Tensor, "..."]:
    """log beta(t, s), but onto s = 0 that of `beta_tilde`, as in the program of Ho et al.: () or (B, 1, ...)."""
    return broadcast_like(torch.where(s == 0, _least(schedule, t, s), schedule.beta(t, s)).log(), prediction.x0)


def beta_tilde(schedule: Schedule, t: Timesteps, s: Timesteps, prediction: Prediction) -> Float[Tensor, "..."]:
    """log beta_tilde(t, s), the lower extreme ("fixed small"), with s = 0 treated as s = 1: () or (B, 1, ...)."""
    return broadcast_like(_least(schedule, t, s).log(), prediction.x0)


def interpolated(schedule: Schedule, t: Timesteps, s: Timesteps, prediction: Prediction) -> Float[Tensor, "B ..."]:
    """(1), element by element ("learned range"), with s = 0 treated as s = 1 in beta_tilde: (B, ...)."""
    if prediction.variance_coeff is None:
        raise ValueError(
            "expected a variance coefficient for a learned variance, got none; it takes a network of twice the channels"
        )
    upper = broadcast_like(schedule.beta(t, s).log(), prediction.variance_coeff)
    lower = broadcast_like(_least(schedule, t, s).log(), prediction.variance_coeff)
    return lower + 0.5 * (prediction.variance_coeff + 1) * (upper - lower)


@dataclass(frozen=True)
class Analytic:
    """The best variance that depends on t alone (4), at any stride: () or (B, 1, ...)."""

    ratio: Float64[Tensor, "T"]  # r_t for t = 1..T: the mean of those of batches of one size is that of them all
    num_images: int | None = None  # that it was measured on, where this is known

    def __call__(self, schedule: Schedule, t: Timesteps, s: Timesteps, prediction: Prediction) -> Float[Tensor, "..."]:
        """log of (4), kept between beta_tilde and beta."""
        if len(self.ratio) != schedule.num_timesteps:
            raise ValueError(
                f"expected an analytic variance for T = {schedule.num_timesteps}, got one for {len(self.ratio)}; "
                "estimate it again"
            )
        upper, ratio = schedule.beta(t, s), self.ratio[t.cpu() - 1].clamp(0, 1)
        best = torch.lerp(schedule.beta_tilde(t, s), upper, ratio)
        return broadcast_like(torch.maximum(best, _least(schedule, t, s)).log(), prediction.x0)


def _least(schedule: Schedule, t: Timesteps, s: Timesteps) -> Float64[Tensor, "..."]:
    """beta_tilde(t, s) > 0, with s = 0 treated as s = 1; a chain of one step knows its beta only."""
    if schedule.num_timesteps == 1:
        return schedule.beta(t, s)
    return schedule.beta_tilde(torch.clamp(t, min=2), torch.clamp(s, min=1))
