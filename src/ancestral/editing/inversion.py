"""Inversion: the noise that an image comes from, by the deterministic flow run upwards (Song et al. 2021, section 4.3).

With y = x / alpha and r = sigma / alpha the flow is dy / dr = eps(x, t), so a step between any two times s < t, either
way, is

    x_t = (alpha_t / alpha_s) x_s + (sigma_t - sigma_s alpha_t / alpha_s) eps                                        (1)

with some mean of eps over the step. The DDIM step down takes eps at its start, (x_t, t). Its inverse therefore wants
eps at the very x_t that is looked for: a fixed point of (1), which is found by putting in what one has,

    x_t <- (1) with eps(x_t, t),   first x_t: (1) with the eps of the step before               (2)

Each turn of (2) errs by one power of the step size less (its Lipschitz constant is about the step's), so that DDIM
sampling on the same grid returns to the image with an error of order 2, and one more for each turn more. The usual
inversion takes eps(x_s, t) and stops there: order 1. No call is ever made at t = 0, which networks do not know.

For other samplers the flow itself is the target: Heun's rule, the mean of eps at both ends, is of order 2.

At the first step from t = 0 nothing is small: what the image holds below the noise of the first timestep, sigma_t /
alpha_t, returns slowly by (2) or not at all. So do images the network would not draw: eps then changes fast.

A flat part of an image has no grain at all, and the noise it comes from looks like no noise: far too quiet or too loud.
An image at some noise of its own, x_t = alpha_t x_0 + sigma_t z, looks to the network as all that it was trained on;
inverted from there it returns as x_0 up to about sigma_t / alpha_t, and its x_T is as good as noise: for paths between
images, that.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from ancestral.diffusion.schedules import Schedule
from ancestral.errors import InputError
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import Step, sample
from ancestral.sampling.samplers import Sampler
from ancestral.tensors import Data, PerImage, Timesteps, mean_over_image


@dataclass(frozen=True)
class Inversion(ABC):
    """One step upwards, from s to any t > s. Settings and no state."""

    schedule: Schedule

    @abstractmethod
    def step(self, denoise: Denoiser, x_s: Data, t: Timesteps, s: Timesteps, eps: Data | None) -> tuple[Data, Step]:
        """(the last eps it was told, the step from s to t); `eps` is that of the step before, None at the first."""

    def along(self, x_s: Data, eps: Data, t: Timesteps, s: Timesteps) -> Data:
        """(1)."""
        ratio = self.schedule.alpha(t, x_s) / self.schedule.alpha(s, x_s)
        return ratio * x_s + (self.schedule.sigma(t, x_s) - ratio * self.schedule.sigma(s, x_s)) * eps


@dataclass(frozen=True)
class DDIMInversion(Inversion):
    """The inverse (2) of the DDIM step with eta 0. 1 + corrections network calls."""

    corrections: int = 0

    def step(self, denoise: Denoiser, x_s: Data, t: Timesteps, s: Timesteps, eps: Data | None) -> tuple[Data, Step]:
        x_t = self.along(x_s, x_s * 0 if eps is None else eps, t, s)
        for _ in range(1 + self.corrections):
            prediction = denoise(x_t, t)
            x_t = self.along(x_s, prediction.eps, t, s)
        return prediction.eps, Step(int(s), int(t), x_s, x_t, prediction.x0)


@dataclass(frozen=True)
class HeunInversion(Inversion):
    """Heun's rule upwards. Two network calls; from s = 0, where there is no eps at s, a correction takes its place."""

    def step(self, denoise: Denoiser, x_s: Data, t: Timesteps, s: Timesteps, eps: Data | None) -> tuple[Data, Step]:
        if s == 0:
            return DDIMInversion(self.schedule, 1).step(denoise, x_s, t, s, eps)
        start = denoise(x_s, s).eps
        end = denoise(self.along(x_s, start, t, s), t)
        return end.eps, Step(int(s), int(t), x_s, self.along(x_s, 0.5 * (start + end.eps), t, s), end.x0)


def invert(denoise: Denoiser, inversion: Inversion, image: Data, timesteps: Timesteps) -> Iterator[Step]:
    """Steps upwards from `image`, (B, ...) at timesteps[-1]; the last holds x_T in `x_s`. Each `s` is above its `t`.

    `timesteps`, (steps + 1,) int64, fall: the grid that will be sampled on.
    """
    if len(timesteps) < 2 or not bool((timesteps.diff() < 0).all()):
        raise InputError(f"expected at least two falling timesteps, got {timesteps.tolist()}")
    x, eps = image, None
    for s, t in pairwise(timesteps.flip(0)):
        eps, step = inversion.step(denoise, x, t, s, eps)
        x = step.x_s
        yield step


def timesteps_above(schedule: Schedule, timesteps: Timesteps, grain: float) -> Timesteps:
    """The grid down to its last timestep at which noise over signal, sigma_t / alpha_t, is at least `grain`."""
    alpha_bar = schedule.alpha_bar_at(timesteps)
    kept = timesteps[(1 - alpha_bar >= grain**2 * alpha_bar).to(timesteps.device)]
    if grain < 0 or len(kept) < 2:
        raise InputError(f"expected a grain of 0 or more that leaves two of the timesteps, got {grain}")
    return kept


def round_trip_error(
    denoise: Denoiser, inversion: Inversion, sampler: Sampler, image: Data, timesteps: Timesteps
) -> PerImage:
    """Root mean square, per image, of what inverting and sampling again without noise changes: (B,), of [-1, 1]."""
    *_, up = invert(denoise, inversion, image, timesteps)
    *_, down = sample(denoise, sampler, up.x_s, timesteps, no_noise)
    return mean_over_image((down.x_s - image) ** 2).sqrt()


def no_noise() -> Data:
    """For samplers that draw none: raises InputError where one does."""
    raise InputError("expected a deterministic sampler, got one that draws noise; take ddim with eta 0")
