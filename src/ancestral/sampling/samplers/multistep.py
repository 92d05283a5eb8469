"""Multistep samplers: one network call a step, and a polynomial through it and the calls before (`exponential`).

DPM-Solver++ (Lu et al. 2022b) takes form (2) there, of x_0. 2M is the line through two predictions, read at mid-step:

    x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - e^-h) (x_0 + (x_0 - x_0') / (2 r)),   r = (l_t - l_t') / h         (1)

3M is the parabola through three. In divided differences D_1 = x_0[t, t'], D_2 = x_0[t, t', t''] that is
x_0(l) = x_0 + (l - l_t) (D_1 + (l_t - l_t') D_2) + (l - l_t)^2 D_2. The commonly published form integrates the last
term as if D_2 were the second derivative, which is twice D_2, and is of second order; see docs/samplers.md.

2M-SDE follows, from the same prediction along the same line, a reverse equation that keeps the marginals and renews a
part of the noise that grows with eta (eta as in DDIM: 0 none, 1 as ancestral sampling in the limit of small steps):

    x_s = (sigma_s / sigma_t) e^(-eta^2 h) x_t + alpha_s (1 - e^(-(1 + eta^2) h)) (x_0 + (x_0 - x_0') / (2 r))
          + sigma_s sqrt(1 - e^(-2 eta^2 h)) z                                                              (2)

UniPC (Zhao et al. 2023): the prediction at the end of a step also corrects the step that led there. UniPC-p steps from
t to s by the polynomial through p predictions (predictor: UniP-p). At s the network is called once, at the predicted
x_s; with that prediction as one more node the step from t to s is done again (corrector: UniC-p), and the next step
sets out from the corrected x_s. For two nodes the paper's a = 1/2 with its second choice of B(h) is the rule (7) of
`exponential`; for more B(h) drops out and the weights are those of (5). The call is not repeated at the corrected x_s,
whose error over a chain is h^(p+1): the order is p + 1 for one network call a step.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser, with_x0
from ancestral.sampling.samplers.ancestral import DDIM
from ancestral.sampling.samplers.base import Noise, Sampler
from ancestral.sampling.samplers.exponential import by_eps, by_rho, by_x0, first_order, is_finite, level, theta
from ancestral.tensors import Data, Timesteps


@dataclass(frozen=True)
class Multistep(Sampler):
    """Follows the probability flow by the last `order` predictions, or as many as there are."""

    schedule: Schedule
    order: int = 2

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        prediction = denoise(x_t, t)
        known = latest(self.schedule, prediction, past, self.order)
        if s == 0 or len(known) == 1:
            return first_order(self.schedule, prediction, s), prediction
        return self.follow(x_t, t, s, known), prediction

    @abstractmethod
    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s from two predictions or more, the newest, at x_t, first; signal and noise are left at all, and at s."""


def latest(schedule: Schedule, prediction: Prediction, past: Sequence[Prediction], count: int) -> list[Prediction]:
    """Up to `count` predictions, newest first, that one polynomial in log-SNR can go through.

    Where no signal is left the log-SNR is infinite: a prediction made there stands alone, and is no past of others.
    """
    newest = [prediction, *reversed(past)][:count]
    return [each for each in newest if is_finite(schedule, each.t)] or [prediction]


@dataclass(frozen=True)
class DPMSolverMultistep(Multistep):
    """DPM-Solver++ 2M, the step (1), or 3M with the true second difference."""

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        return by_x0(self.schedule, x_t, t, s, known)


@dataclass(frozen=True)
class DEIS(Multistep):
    """Exponential integrator of eps, (3) of `exponential`, the polynomial in log-SNR (Zhang and Chen 2023).

    The paper takes the polynomial in other variables too; in log-SNR the integrals are closed, without quadrature.
    """

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        return by_eps(self.schedule, x_t, t, s, known)


@dataclass(frozen=True)
class IPNDM(Multistep):
    """Adams-Bashforth on eps, x / alpha against rho (Liu et al. 2022; Zhang and Chen 2023, appendix H.2).

    Published with Adams' weights for equal steps, such as (55, -59, 37, -9) / 24, whatever the steps are. On any grid
    that is not even in rho that is of second order only. Here the weights are those of the steps that are taken, by
    (5) of `exponential`, which are Adams' where the steps are equal: the order is that of the polynomial on every grid.
    """

    grid = "karras"

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        return by_rho(self.schedule, x_t, t, s, known)


@dataclass(frozen=True)
class DPMSolver2MSDE(Sampler):
    """DPM-Solver++ 2M-SDE, the step (2). eta = 0 is 2M. Its order is that of the mean and covariance of its samples."""

    schedule: Schedule
    eta: float = 1.0
    order = 2

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
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
        back = -theta(self.schedule, t, s, before.t)
        return now.x0 + (now.x0 - before.x0) / (2 * back)


@dataclass(frozen=True)
class UniPC(Sampler):
    """UniPC-p with p = order - 1: UniPC-1 is DDIM corrected, UniPC-2 is 2M corrected.

    The corrected x_s is remembered in the prediction itself: its x_0 is what the network said at the predicted x_s, and
    its eps is the one that makes the corrected x_s with it.
    """

    schedule: Schedule
    order: int = 3

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        prediction = denoise(x_t, t)
        if past and is_finite(self.schedule, past[-1].t):
            before, nodes = past[-1], latest(self.schedule, prediction, past, self.order)
            x_t = by_x0(self.schedule, first_order(self.schedule, before, before.t), before.t, t, nodes)
            prediction = prediction._replace(eps=with_x0(self.schedule, prediction.x0, x_t, t).eps)
        if s == 0 or not is_finite(self.schedule, t):
            return first_order(self.schedule, prediction, s), prediction
        known = latest(self.schedule, prediction, past, self.order - 1)
        return by_x0(self.schedule, x_t, t, s, known), prediction
