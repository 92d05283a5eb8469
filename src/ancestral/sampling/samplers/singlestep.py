"""Singlestep samplers: Euler's step, and more network calls within a step, none remembered.

Euler and Heun (Karras et al. 2022, algorithm 1, without churn) follow the probability flow as d(x / alpha) / d rho =
eps: their sigma is rho = sigma / alpha and their x is x / alpha. Euler's step is DDIM's. Heun's calls the network again
at the end of Euler's and goes back to take the mean of both slopes:

    x_s / alpha_s = x_t / alpha_t + (rho_s - rho_t) (eps(x_t, t) + eps(x', s)) / 2                              (1)

DPM-Solver++ 2S and 3S (Lu et al. 2022b, algorithm 1) look ahead at timesteps between t and s: those of the table
nearest in log-SNR to the middle (2S), or to a third and two thirds (3S), and all formulas take the places theta_i where
they truly are. With I_k of `exponential` and

    P(u) = int_0^u e^-(u - v) v dv = u^2 I_1(-u)                                                        (2)

2S is the line through x_0(t) and x_0(u_1), read at mid-step, where u_1 is reached at first order. 3S is the parabola
through x_0(t), x_0(u_1), x_0(u_2), in which b_1, b_2 weigh the two looks ahead, and

    u_2 = (sigma_2 / sigma_t) x_t + alpha_2 ( (1 - e^-(theta_2 h)) x_0(t) + gamma (x_0(u_1) - x_0(t)) )             (3)

A first-order look at theta_1 is off by alpha_1 P(theta_1 h) x_0', one by (3) by alpha_2 (P(theta_2 h) - gamma theta_1
h) x_0'. Both would enter x_s at h^3. They cancel, and the order is 3 wherever the two timesteps are, if

    gamma = ( P(theta_2 h) + (b_1 alpha_1) / (b_2 alpha_2) P(theta_1 h) ) / (theta_1 h)                         (4)

At theta_2 = 2/3 b_1 vanishes with h, and (4) is the published P(theta_2 h) / (theta_1 h) to leading order.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers import exponential
from ancestral.sampling.samplers.base import Noise, Sampler
from ancestral.sampling.samplers.exponential import first_order, is_finite, level
from ancestral.tensors import Data, Timesteps

REACH = 1 / 6
"""3S looks ahead only at timesteps this near, in theta, to 1/3 and 2/3: b_2 of (4) vanishes at theta_1 = 2/3."""


@dataclass(frozen=True)
class Singlestep(Sampler):
    """Deterministic; on to s = 0, and from where no signal is left, one step of first order by one network call."""

    schedule: Schedule

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        prediction = denoise(x_t, t)
        if s == 0 or not is_finite(self.schedule, t):
            return first_order(self.schedule, prediction, s), prediction
        return self.follow(denoise, prediction, x_t, t, s), prediction

    @abstractmethod
    def follow(self, denoise: Denoiser, prediction: Prediction, x_t: Data, t: Timesteps, s: Timesteps) -> Data:
        """x_s from the prediction at x_t and more calls; signal and noise are left at both ends."""


@dataclass(frozen=True)
class Euler(Singlestep):
    """Euler's method in rho: the same step as DDIM at eta = 0, on the grid of its paper."""

    order = 1
    grid = "karras"

    def follow(self, denoise: Denoiser, prediction: Prediction, x_t: Data, t: Timesteps, s: Timesteps) -> Data:
        return first_order(self.schedule, prediction, s)


@dataclass(frozen=True)
class Heun(Singlestep):
    """The step (1)."""

    order = 2
    calls = 2
    grid = "karras"

    def follow(self, denoise: Denoiser, prediction: Prediction, x_t: Data, t: Timesteps, s: Timesteps) -> Data:
        x_s = first_order(self.schedule, prediction, s)
        slope = 0.5 * (prediction.eps + denoise(x_s, s).eps)
        return exponential.along_rho(self.schedule, x_t, t, s, slope)


@dataclass(frozen=True)
class DPMSolver2S(Singlestep):
    """DPM-Solver++ 2S: the line through two predictions."""

    order = 2
    calls = 2

    def follow(self, denoise: Denoiser, prediction: Prediction, x_t: Data, t: Timesteps, s: Timesteps) -> Data:
        middle = self.between(t, s, 0.5)
        if exponential.theta(self.schedule, t, s, middle) < 0.25:
            middle = s
        ahead = denoise(first_order(self.schedule, prediction, middle), middle)
        return exponential.by_x0(self.schedule, x_t, t, s, [prediction, ahead])

    def between(self, t: Timesteps, s: Timesteps, share: float) -> Timesteps:
        """The timestep of the table nearest in log-SNR to `share` of the way from t to s, not t itself."""
        wanted = torch.lerp(self.schedule.log_snr(t), self.schedule.log_snr(s), share)
        return self.schedule.nearest(wanted).clamp(s, t - 1)


@dataclass(frozen=True)
class DPMSolver3S(DPMSolver2S):
    """DPM-Solver++ 3S, the step (3), (4); of 2S where the table has no timesteps near a third and two thirds of it."""

    order = 3
    calls = 3

    def follow(self, denoise: Denoiser, prediction: Prediction, x_t: Data, t: Timesteps, s: Timesteps) -> Data:
        one, two = self.between(t, s, 1 / 3), self.between(t, s, 2 / 3)
        near = all(
            abs(exponential.theta(self.schedule, t, s, each) - k / 3) < REACH for k, each in ((1, one), (2, two))
        )
        if not (one > two and near):
            return super().follow(denoise, prediction, x_t, t, s)
        first = denoise(first_order(self.schedule, prediction, one), one)
        second = denoise(self._second_look(x_t, t, s, prediction, first, two), two)
        return exponential.by_x0(self.schedule, x_t, t, s, [prediction, first, second])

    def _second_look(
        self, x_t: Data, t: Timesteps, s: Timesteps, prediction: Prediction, first: Prediction, two: Timesteps
    ) -> Data:
        """u_2 by (3), (4)."""
        start, end, at_1, at_2 = (level(self.schedule, each) for each in (t, s, first.t, two))
        h, h_1, h_2 = (each.log_ratio - start.log_ratio for each in (end, at_1, at_2))
        _, b_1, b_2 = exponential.weights_of_x0(h, [0.0, h_1 / h, h_2 / h])
        gamma = (_ramp(h_2) + b_1 * at_1.alpha / (b_2 * at_2.alpha) * _ramp(h_1)) / h_1
        mean = h_2 * exponential.moment(-h_2, 0) * prediction.x0 + gamma * (first.x0 - prediction.x0)
        return at_2.sigma / start.sigma * x_t + at_2.alpha * mean


def _ramp(u: float) -> float:
    """P(u) of (2)."""
    return u * u * exponential.moment(-u, 1)
