"""The analytic variance of a trained network, measured (variances, eq. 2-4; Bao et al. 2022).

The paper estimates e_t through Gamma_t, the mean square of the predicted noise, which is right for the exact denoiser
alone. Here e_t is the mean squared error itself: it equals the paper's where the network is exact, gives the largest
bound where it is not (Bao et al. 2022b, on imperfect means), scatters less because the noise cancels in it, and holds
at the end of a schedule without any signal, where (3) is 0 / 0.

r_t = e_t / (1 - alpha_bar_t) is l / (alpha_bar_t l + 1 - alpha_bar_t) for Gaussian data of variance l: it runs
smoothly from 1 to l as log-SNR falls, so a few timesteps and straight lines in log-SNR give the others.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.diffusion.variances import Analytic
from ancestral.tensors import Data, Timesteps


def estimate(
    diffusion: GaussianDiffusion,
    denoise: Callable[[Data, Timesteps], Prediction],
    images: Data,
    timesteps: Timesteps,
    noise: Callable[[], Data],
) -> Analytic:
    """The analytic variance of `denoise`, from its errors at `timesteps` (N,), some or all of 1..T, one call each.

    `images` (B, ...) are data that the network has not memorised. Tables of further batches of the same size average.
    """
    return from_errors(diffusion.schedule, timesteps, errors_of_x0(diffusion, denoise, images, timesteps, noise))


def errors_of_x0(
    diffusion: GaussianDiffusion,
    denoise: Callable[[Data, Timesteps], Prediction],
    images: Data,
    timesteps: Timesteps,
    noise: Callable[[], Data],
) -> Float64[Tensor, "N"]:
    """e_t, the mean over images and elements, at all `timesteps` (N,), on the CPU. Arguments as in `estimate`."""
    with torch.no_grad():
        found = (denoise(diffusion.q_sample(images, t, noise()), t).x0 for t in timesteps)
        return torch.stack([(x0 - images).cpu().double().square().mean() for x0 in found])


def from_errors(schedule: Schedule, timesteps: Timesteps, errors: Float64[Tensor, "N"]) -> Analytic:
    """The variance that e_t = `errors` at `timesteps` (N,) call for."""
    return between(schedule, timesteps, errors / (1 - schedule.alpha_bar_at(timesteps)))


def between(schedule: Schedule, timesteps: Timesteps, ratio: Float64[Tensor, "N"]) -> Analytic:
    """The table whose r_t is `ratio` at `timesteps` (N,), linear in log-SNR between them, constant beyond."""
    known, order = timesteps.sort()
    if not len(known) or known[0] < 1 or known[-1] > schedule.num_timesteps or not bool((known.diff() > 0).all()):
        raise ValueError(f"expected different timesteps in 1..{schedule.num_timesteps}, got {timesteps.tolist()}")
    every = torch.arange(1, schedule.num_timesteps + 1)
    above = torch.searchsorted(known, every).clamp(max=len(known) - 1)
    below = torch.searchsorted(known, every, right=True).sub(1).clamp(min=0)
    # a table may end without any signal: its last value is then its own, and its neighbours keep theirs
    level = schedule.log_snr(every).clamp(min=torch.finfo(torch.float64).min)
    start, end = level[known[below] - 1], level[known[above] - 1]
    part = torch.where(above == below, 0.0, (level - start) / (end - start).where(above != below, 1.0))
    return Analytic(torch.lerp(ratio[order][below], ratio[order][above], part))
