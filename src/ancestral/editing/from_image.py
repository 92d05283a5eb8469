"""From an image instead of from noise (Meng et al. 2022, SDEdit): noise it up to some t, and sample down from there.

    x_t = alpha_t x_0 + sigma_t eps,   then the chain from t to 0                                       (1)

How much of the image survives is a matter of t alone: for Gaussian data of variance l an exact reverse process
returns an image whose correlation with the first is rho = alpha_t^2 l / (alpha_t^2 l + sigma_t^2), that of two draws
from p(x_0 | x_t). Directions in which the data varies less than sigma_t / alpha_t are drawn anew, coarser ones stay.
Several draws of eps give variations of one image.

If the image comes from the data and the chain is exact, the result is distributed as the data, whatever t: an image
from elsewhere (a sketch) is pulled towards the data, the more the larger t.
"""

from collections.abc import Iterator

import torch

from ancestral.diffusion.schedules import Schedule
from ancestral.errors import InputError
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import Step, sample
from ancestral.sampling.samplers import Noise, Sampler
from ancestral.tensors import Data, Timesteps


def from_image(
    denoise: Denoiser, sampler: Sampler, schedule: Schedule, image: Data, timesteps: Timesteps, noise: Noise
) -> Iterator[Step]:
    """Steps from (1), where eps is the first `noise`, at timesteps[0] to 0. The same image B times gives B variations.

    `image` is (B, ...) in [-1, 1]; `timesteps`, (steps + 1,) int64, fall, as `timesteps_below` makes them.
    """
    t = timesteps[0]
    x_t = schedule.alpha(t, image) * image + schedule.sigma(t, image) * noise()
    return sample(denoise, sampler, x_t, timesteps, noise)


def timesteps_below(timesteps: Timesteps, t: int) -> Timesteps:
    """The grid from t down: t, and the timesteps of the whole grid that lie below it."""
    if not int(timesteps[-1]) < t <= int(timesteps[0]):
        raise InputError(f"expected t above {int(timesteps[-1])} and at most {int(timesteps[0])}, got {t}")
    return torch.cat([torch.tensor([t]), timesteps[timesteps < t].cpu()]).to(timesteps.device)


def timestep_of_strength(schedule: Schedule, strength: float) -> int:
    """The t that leaves about 1 - strength of the signal's amplitude: the first with alpha_t <= 1 - strength, or T.

    Strength 0 changes almost nothing, 1 starts from noise; unlike a share of T it means the same on every schedule.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"expected a strength in 0..1, got {strength}")
    kept = int((schedule.alpha_bar[1:].sqrt() > 1 - strength).sum())
    return min(kept + 1, schedule.num_timesteps)
