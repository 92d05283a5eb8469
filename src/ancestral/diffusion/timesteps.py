"""Which timesteps a training batch visits, and what each image's loss then weighs.

The objective is a mean over t of losses l_t. Drawing t with probability p_t instead of 1 / T keeps its expectation if
each loss is weighted by

    w_t = 1 / (T p_t),    E[w_t l_t] = sum_t p_t l_t / (T p_t) = mean_t l_t                      (1)

and by the Cauchy-Schwarz inequality its variance is least at p_t ~ sqrt(E[l_t^2]): Nichol and Dhariwal 2021, section
3.3, estimate that from the last 10 losses of every t, and draw uniformly until every t has 10.

A density of t may also be part of the objective. Which noise trains best is around where x_0 is neither plain nor lost:
log-SNR drawn from N(mean, std^2), that is tau = sigma / (alpha + sigma) logit-normal,

    log-SNR = -2 logit(tau),    logit(tau) ~ N(m, s^2)  <=>  log-SNR ~ N(-2 m, 4 s^2)            (2)

Esser et al. 2024 (Stable Diffusion 3: m = 0, s = 1) and, with weights of their own, Karras et al. 2022 train at such t
without (1): the density itself weighs the levels of noise, which is another objective than that of uniform t. With (1)
it is the objective of uniform t by draws of another variance, as Kingma et al. 2021 and Nichol and Dhariwal 2021 do.

Draws are the inverse of the distribution function at numbers u in [0, 1). Independent u give independent t. Stratified
u, one in each of B equal parts of [0, 1) and in random order, give t of the same law one by one, spread evenly over
a batch: the variance between strata leaves the mean over the batch. Both serve any p, and continuous time as they are.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64

from ancestral.diffusion.schedules import Schedule
from ancestral.tensors import PerImage, Timesteps

REMEMBERED = 10  # losses kept of every timestep
UNIFORM_SHARE = 0.001  # of the draws, so that no timestep is ever forgotten and no weight exceeds 1000


class SampledTimesteps(NamedTuple):
    """Timesteps in 1..T, (B,) int64, and the weight (1) of each one's loss, (B,) float64.

    `within`, (B,) float64 in [0, 1), is uniform and says where between t - 1 and t a continuous time lies.
    """

    t: Timesteps
    weight: PerImage
    within: PerImage


def independent(batch: int, generator: torch.Generator) -> Float64[torch.Tensor, "B"]:
    """(B,) independent uniform numbers in [0, 1)."""
    return torch.rand(batch, generator=generator, dtype=torch.float64)


def stratified(batch: int, generator: torch.Generator) -> Float64[torch.Tensor, "B"]:
    """(B,) uniform numbers, one in each of B equal parts of [0, 1), in random order."""
    part = torch.randperm(batch, generator=generator)
    return (part + independent(batch, generator)) / batch


def even(num_timesteps: int) -> Float64[torch.Tensor, "T"]:
    """p_t = 1 / T for t = 1..T."""
    return torch.full((num_timesteps,), 1 / num_timesteps, dtype=torch.float64)


def normal(schedule: Schedule, mean: float, std: float) -> Float64[torch.Tensor, "T"]:
    """p_t of the timestep that is nearest to a log-SNR (2) from N(mean, std^2)."""
    below, zero = torch.special.ndtr((schedule.borders - mean) / std), torch.zeros(1, dtype=torch.float64)
    return torch.cat([zero, below, zero + 1]).diff().flip(0).clamp(min=torch.finfo(torch.float64).tiny)


def around(
    probabilities: Float64[torch.Tensor, "T"], u: Float64[torch.Tensor, "B"], corrected: bool
) -> SampledTimesteps:
    """Timesteps whose density is part of the objective, or is made up for by (1), then with UNIFORM_SHARE of 1 / T."""
    if corrected:
        return sample_timesteps(torch.lerp(probabilities, even(len(probabilities)), UNIFORM_SHARE), u)
    return sample_timesteps(probabilities, u)._replace(weight=torch.ones_like(u))


def sample_timesteps(probabilities: Float64[torch.Tensor, "T"], u: Float64[torch.Tensor, "B"]) -> SampledTimesteps:
    """t where the distribution function of p_1..p_T passes u; p > 0 adds to 1."""
    reached = torch.cumsum(probabilities, dim=0)
    index = torch.searchsorted(reached, u, right=True).clamp(max=len(probabilities) - 1)  # their sum may round below 1
    share = probabilities[index]
    within = (1 - (reached[index] - u) / share).clamp(0, 1 - torch.finfo(torch.float64).eps)
    return SampledTimesteps(index + 1, 1 / (len(probabilities) * share), within)


@dataclass(frozen=True)
class RecentLosses:
    """The last losses of every timestep, (T, REMEMBERED) float64, newest last; infinity where there is none yet.

    The tensor is the whole state: what is saved and restored goes on bit for bit.
    """

    table: Float64[torch.Tensor, "T remembered"]

    @classmethod
    def none(cls, num_timesteps: int) -> "RecentLosses":
        """Before the first loss."""
        return cls(torch.full((num_timesteps, REMEMBERED), torch.inf, dtype=torch.float64))

    @property
    def warm(self) -> bool:
        """Whether every timestep has its full number of losses."""
        return bool(self.table.isfinite().all())

    def probabilities(self) -> Float64[torch.Tensor, "T"]:
        """p_t ~ sqrt(mean of l_t^2), with UNIFORM_SHARE of 1 / T; 1 / T while not yet warm, or with no loss above 0."""
        uniform, second_moment = even(len(self.table)), self.table.square().mean(dim=1)
        if not self.warm or not second_moment.any():
            return uniform
        return torch.lerp(second_moment.sqrt() / second_moment.sqrt().sum(), uniform, UNIFORM_SHARE)

    def after(self, t: Timesteps, losses: PerImage) -> "RecentLosses":
        """With the losses of a batch, unweighted, one for each t (B,), in their order; those not finite are left out.

        Processes that train together give all of their batches, in one order.
        """
        table = self.table.clone()
        for row, loss in zip((t.cpu() - 1).tolist(), losses.detach().cpu().double(), strict=True):
            if loss.isfinite():
                table[row] = torch.cat([table[row, 1:], loss[None]])
        return RecentLosses(table)
