"""DPM-Solver++, multistep (Lu et al. 2022b): exponential integrators of x_0.

2M is (2) of `exponential` with the line through two predictions, read at mid-step (7):

    x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) (x_0 + (x_0 - x_0') / (2 r)),   r = (l_t - l_t') / h         (1)

3M is (2) with the parabola through three (5). In divided differences D_1 = x_0[t, t'], D_2 = x_0[t, t', t''] that is
x_0(l) = x_0 + (l - l_t) (D_1 + (l_t - l_t') D_2) + (l - l_t)^2 D_2. The commonly published form integrates the last
term as if D_2 were the second derivative, which is twice D_2, and is of second order; see docs/samplers.md.

2M-SDE follows, from the same prediction along the same line, a reverse equation that keeps the marginals and renews a
part of the noise that grows with eta (eta as in DDIM: 0 none, 1 as ancestral sampling in the limit of small steps):

    x_s = (sigma_s / sigma_t) e^(-eta^2 h) x_t + alpha_s (1 - e^(-(1 + eta^2) h)) (x_0 + (x_0 - x_0') / (2 r))
          + sigma_s sqrt(1 - e^(-2 eta^2 h)) z                                                              (2)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers.base import Noise, Sampler
from ancestral.sampling.samplers.ddim import DDIM
from ancestral.sampling.samplers.exponential import by_x0, is_finite, level, places
from ancestral.sampling.samplers.multistep import Multistep, latest
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class DPMSolver2M(Multistep):
    """DPM-Solver++ 2M, the step (1). Deterministic, one network call."""

    order: ClassVar[int] = 2

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s by (1)."""
        return by_x0(self.schedule, x_t, t, s, known)


@dataclass(frozen=True)
class DPMSolver3M(Multistep):
    """DPM-Solver++ 3M with the true second difference. Deterministic, one network call."""

    order: ClassVar[int] = 3

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s by the parabola."""
        return by_x0(self.schedule, x_t, t, s, known)


@dataclass(frozen=True)
class DPMSolver2MSDE(Sampler):
    """DPM-Solver++ 2M-SDE, the step (2). One network call and, where eta > 0, one draw. eta = 0 is 2M.

    Its order is that of the law of its samples: mean and covariance.
    """

    order: ClassVar[int] = 2
    schedule: Schedule
    eta: float = 1.0

    @property
    def stochastic(self) -> bool:
        """Whether eta > 0."""
        return self.eta > 0

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """x_s by (2)."""
        prediction = denoise(x_t, t)
        if s == 0 or not is_finite(self.schedule, t):
            return DDIM(self.schedule, self.eta).follow(prediction, x_t, t, s, noise), prediction
        start, end = level(self.schedule, t), level(self.schedule, s)
        h, share = end.log_ratio - start.log_ratio, self.eta**2
        known = latest(self.schedule, prediction, past, 2)
        x_s = end.sigma / start.sigma * math.exp(-share * h) * x_t
        x_s = x_s - end.alpha * math.expm1(-(1 + share) * h) * self._at_mid_step(t, s, known)
        fresh = -math.expm1(-2 * share * h)
        return x_s + end.sigma * math.sqrt(fresh) * noise() if share > 0 else x_s, prediction

    def _at_mid_step(self, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        if len(known) == 1:
            return known[0].x0
        now, before = known
        back = -places(self.schedule, t, s, [before])[0]
        return now.x0 + (now.x0 - before.x0) / (2 * back)
