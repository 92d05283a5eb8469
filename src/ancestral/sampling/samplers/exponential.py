"""Exponential integrators of the probability flow, with predictions interpolated by polynomials.

With l = log(alpha / sigma), half the log-SNR, and rho = sigma / alpha = e^-l, the probability flow is, in three
equivalent forms,

    d(x / sigma) / dl = e^l x_0,   d(x / alpha) / dl = -e^-l eps,   d(x / alpha) / d rho = eps                    (1)

where x_0 and eps are the predictions along the path. Integrated from t to s, h = l_s - l_t, theta in [0, 1]:

    x_s = (sigma_s / sigma_t) x_t + alpha_s h  int e^(-h (1 - theta)) x_0 d theta       (Lu et al. 2022b, eq. 8)  (2)
    x_s = (alpha_s / alpha_t) x_t - sigma_s h  int e^( h (1 - theta)) eps d theta       (Lu et al. 2022a, eq. 3.7) (3)
    x_s = (alpha_s / alpha_t) x_t + alpha_s (rho_s - rho_t) int eps d theta'            (Song et al. 2021, eq. 14) (4)

exact but for the curve under the integral. A polynomial through n known predictions at theta_i, behind the step
(multistep), within it (singlestep) or at its end (corrector), leaves a local error h^(n+1), so order n:

    int e^(z (1 - theta)) p(theta) d theta = sum_i b_i p(theta_i)   for every p of degree < n         (5)

is a linear system for the b_i, its right side the moments of p = theta^k,

    I_k(z) = int e^(z (1 - theta)) theta^k d theta = (k I_{k-1} - 1) / z,  I_0 = (e^z - 1) / z        (6)

(by parts; with z = 0 they are 1 / (k + 1), and (5) is Adams' method for steps of any sizes). With two predictions
DPM-Solver++ and UniPC publish something simpler of the same order: the line through them, read at the middle of the
step, in place of x_0 in (2):   b = I_0 ( (theta_1 - 1/2), (1/2 - theta_0) ) / (theta_1 - theta_0)     (7)
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.tensors import Data, Timesteps


class Coefficients(NamedTuple):
    """A level of noise in plain numbers: alpha, sigma, and l = log(alpha / sigma), which is infinite at either end."""

    alpha: float
    sigma: float
    log_ratio: float


def level(schedule: Schedule, t: Timesteps) -> Coefficients:
    """alpha_t, sigma_t and l_t."""
    kept = float(schedule.alpha_bar_at(t))
    if not 0 < kept < 1:
        return Coefficients(kept, 1 - kept, math.copysign(math.inf, kept - 0.5))
    return Coefficients(math.sqrt(kept), math.sqrt(1 - kept), 0.5 * math.log(kept / (1 - kept)))


def is_finite(schedule: Schedule, t: Timesteps) -> bool:
    """Whether both signal and noise are left at t."""
    return 0 < float(schedule.alpha_bar_at(t)) < 1


def moment(z: float, power: int) -> float:
    """I_power(z) of (6). Near z = 0 by its series, since (6) would subtract equal numbers there."""
    if abs(z) < 1:
        terms = (z**j * math.factorial(power) / math.factorial(power + 1 + j) for j in range(20))
        return math.fsum(terms)
    value = math.expm1(z) / z
    for k in range(1, power + 1):
        value = (k * value - 1) / z
    return value


def weights(z: float, places: Sequence[float]) -> list[float]:
    """The b_i of (5) for predictions at theta = `places`."""
    powers = torch.tensor([[place**k for place in places] for k in range(len(places))], dtype=torch.float64)
    moments = torch.tensor([moment(z, k) for k in range(len(places))], dtype=torch.float64)
    return torch.linalg.solve(powers, moments).tolist()


def weights_of_x0(h: float, places: Sequence[float]) -> list[float]:
    """The b_i of (2): by (7) for two predictions, else by (5)."""
    if len(places) != 2:
        return weights(-h, places)
    first, second = places
    whole = moment(-h, 0) / (second - first)
    return [whole * (second - 0.5), whole * (0.5 - first)]


def combined(factors: Sequence[float], values: Sequence[Data]) -> Data:
    """sum_i factors_i values_i, (B, ...)."""
    first, *others = (factor * value for factor, value in zip(factors, values, strict=True))
    return sum(others, first)


def by_x0(schedule: Schedule, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
    """x_s by (2). Both ends and all predictions are where signal and noise are left."""
    start, end = level(schedule, t), level(schedule, s)
    h = end.log_ratio - start.log_ratio
    places = [theta(schedule, t, s, each.t) for each in known]
    mean = combined(weights_of_x0(h, places), [each.x0 for each in known])
    return end.sigma / start.sigma * x_t + end.alpha * h * mean


def by_eps(schedule: Schedule, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
    """x_s by (3); as `by_x0`."""
    start, end = level(schedule, t), level(schedule, s)
    h = end.log_ratio - start.log_ratio
    places = [theta(schedule, t, s, each.t) for each in known]
    mean = combined(weights(h, places), [each.eps for each in known])
    return end.alpha / start.alpha * x_t - end.sigma * h * mean


def by_rho(schedule: Schedule, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
    """x_s by (4), the polynomial one in rho; as `by_x0`."""
    start, step = _rho(schedule, t), _rho(schedule, s) - _rho(schedule, t)
    where = [(_rho(schedule, each.t) - start) / step for each in known]
    return along_rho(schedule, x_t, t, s, combined(weights(0.0, where), [each.eps for each in known]))


def along_rho(schedule: Schedule, x_t: Data, t: Timesteps, s: Timesteps, slope: Data) -> Data:
    """x_s of (4) with `slope` for the mean of eps over the step: a straight line in x / alpha against rho."""
    start, end = level(schedule, t), level(schedule, s)
    return end.alpha / start.alpha * x_t + (end.sigma - end.alpha * start.sigma / start.alpha) * slope


def _rho(schedule: Schedule, t: Timesteps) -> float:
    return math.exp(-level(schedule, t).log_ratio)


def theta(schedule: Schedule, t: Timesteps, s: Timesteps, here: Timesteps) -> float:
    """Where a timestep lies: 0 at t, 1 at s, below 0 before the step."""
    start, end, at = (level(schedule, each).log_ratio for each in (t, s, here))
    return (at - start) / (end - start)


def first_order(schedule: Schedule, prediction: Prediction, s: Timesteps) -> Data:
    """x_s from one prediction, alpha_s x_0 + sigma_s eps: what (2), (3) and (4) agree on, at the two ends as well."""
    end = level(schedule, s)
    return end.alpha * prediction.x0 + end.sigma * prediction.eps
