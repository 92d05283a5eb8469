"""Samplers: one step from t to any s < t.

Ancestral sampling (Ho et al. 2020, algorithm 2) draws x_s from p(x_s | x_t). DDIM (Song et al. 2021, eq. 12) keeps
the marginals q(x_s | x_0) and chooses how much of the noise is fresh:

    x_s = a_s x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma z,   sigma^2 = eta^2 beta_tilde(t, s)     (1)

eta = 1 is ancestral sampling with variance beta_tilde; eta = 0 is deterministic, the first-order exponential integrator
of the probability-flow equation. Onto s = 0 no sampler adds noise: both give x_0 as predicted.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ancestral.diffusion.process import GaussianDiffusion, Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser
from ancestral.tensors import Data, Timesteps, over

Noise = Callable[[], Data]
"""The next standard normal draw, (B, ...): called only by a step that needs it."""


@dataclass(frozen=True)
class Sampler(ABC):
    """Settings and no state. `order`: the error of a step size h falls as h ** order (a test measures it)."""

    order: ClassVar[int]

    @abstractmethod
    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """(x_s, the prediction at x_t), 0 <= s < t <= T.

        Args:
            past: the predictions of the last few steps before this one, oldest first.
        """


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Algorithm 2 at any stride: x_s ~ p(x_s | x_t). One network call a step."""

    order: ClassVar[int] = 1
    diffusion: GaussianDiffusion

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """A draw from p(x_s | x_t); at s = 0 its mean."""
        prediction = denoise(x_t, t)
        posterior = self.diffusion.p_posterior(prediction, x_t, t, s)
        return posterior.mean if s == 0 else posterior.sample(noise()), prediction


@dataclass(frozen=True)
class DDIM(Sampler):
    """The step (1). One network call; noise is drawn only where eta > 0."""

    order: ClassVar[int] = 1
    schedule: Schedule
    eta: float = 0.0

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """x_s by (1)."""
        prediction = denoise(x_t, t)
        fresh = self.eta**2 * self.schedule.beta_tilde(t, s)
        kept = (1 - self.schedule.at(s) - fresh).clamp(min=0)
        x_s = self.schedule.signal(s, x_t) * prediction.x0 + over(kept.sqrt(), x_t) * prediction.eps
        return x_s + over(fresh.sqrt(), x_t) * noise() if fresh > 0 else x_s, prediction
