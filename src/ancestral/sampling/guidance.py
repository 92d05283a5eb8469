"""Guidance by a second prediction, of no class, of an unwanted one, or of a worse network; or by a classifier.

Scores add up, and a score is -eps / sigma_t. Pushing one prediction away from another by a scale,

    eps = eps_given + (scale - 1) (eps_given - eps_null)                                        (1)

samples (at every t) the density q(x_t | given) (q(x_t | given) / q(x_t | null))^(scale - 1). Which null it is makes the
method: no class, classifier-free guidance (Ho and Salimans 2022); an unwanted class, a negative condition; an earlier
or smaller network of the same condition, autoguidance (Karras et al. 2024). Several conditions, wanted with w_k > 0
and unwanted with w_k < 0, compose as (Liu et al. 2022, eq. 11-12)

    eps = eps_null + sum_k w_k (eps_k - eps_null)                                               (2)

x_t = alpha x_0 + sigma eps for every prediction, so the same combination of their x_0 is the x_0 of (1) and (2). Scale
1 is exactly the given prediction, scale 0 the null one in real arithmetic. A variance coefficient is no direction to
push in: it is the given prediction's own.

(1) widens the range of x_0. Lin et al. 2023 (section 3.4) give each image of it the standard deviation that the given
prediction had, `share` of the way,

    x_0' = ((1 - share) + share std(x_0 given) / std(x_0)) x_0                                  (3)

with eps recomputed. Kynkaanniemi et al. 2024 guide only at middling noise levels, and pay for one call elsewhere.

A classifier of noisy images pulls towards a class (Dhariwal and Nichol 2021): by Bayes' rule q(x_t | y) ~ q(x_t)
p(y | x_t), so

    eps = eps - scale sigma_t grad log p(y | x_t)                                               (4)
    x_0 = x_0 + scale (sigma_t^2 / alpha_t) grad log p(y | x_t)                                 (5)

At scale 1 and with the true p(y | x_t) this is the conditional prediction. p must have been trained at the noise of
each t: the gradient of a classifier of clean images is, at high noise, about nothing that the image shows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser, with_x0
from ancestral.tensors import Data, PerImage, Timesteps, broadcast_like

PredictionPair = Callable[[Data, Timesteps], tuple[Prediction, Prediction]]
"""(x_t (B, ...), t () int64) -> the conditional and the unconditional prediction at the same x_t."""
LogProb = Callable[[Data, Timesteps], PerImage]
"""(x_t (B, ...), t () int64) -> log p(y | x_t) of each image's own bound y, nats, (B,): differentiable in x_t."""


@dataclass(frozen=True)
class TwoCalls:
    """The pair by two denoisers, one after the other."""

    conditional: Denoiser
    unconditional: Denoiser

    def __call__(self, x_t: Data, t: Timesteps) -> tuple[Prediction, Prediction]:
        return self.conditional(x_t, t), self.unconditional(x_t, t)


@dataclass(frozen=True)
class OneCall:
    """The pair by one denoiser, whose condition is bound to a batch of 2B: B conditional, then B unconditional."""

    denoise: Denoiser

    def __call__(self, x_t: Data, t: Timesteps) -> tuple[Prediction, Prediction]:
        both = self.denoise(torch.cat([x_t, x_t]), t)
        coefficients = (None, None) if both.variance_coeff is None else both.variance_coeff.chunk(2)
        given, null = map(Prediction, (t, t), both.x0.chunk(2), both.eps.chunk(2), coefficients)
        return given, null


@dataclass(frozen=True)
class ClassifierFree:
    """Pushes a prediction away from another by (1): that of no class, of an unwanted one, or of a worse network.

    A worse network should err as the good one does, only more: an earlier checkpoint, or a smaller one trained less.
    """

    pair: PredictionPair
    scale: float

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        return pushed(*self.pair(x_t, t), self.scale)


@dataclass(frozen=True)
class Composed:
    """The sum (2) of conditions, each a denoiser and its weight: 1 is wanted, below 0 is unwanted. 1 + K calls.

    Exact where, given x_0, the conditions are independent. The variance coefficient is the null prediction's.
    """

    null: Denoiser
    conditions: tuple[tuple[Denoiser, float], ...]

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        null = self.null(x_t, t)
        x0, eps = null.x0, null.eps
        for denoise, weight in self.conditions:
            given = denoise(x_t, t)
            x0, eps = x0 + weight * (given.x0 - null.x0), eps + weight * (given.eps - null.eps)
        return Prediction(t, x0, eps, null.variance_coeff)


@dataclass(frozen=True)
class Rescaled:
    """(1) with the standard deviation of each image's x_0 brought back by (3)."""

    pair: PredictionPair
    scale: float
    schedule: Schedule
    share: float = 0.7

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        given, null = self.pair(x_t, t)
        x0 = pushed(given, null, self.scale).x0
        back = given.x0.flatten(1).std(1) / x0.flatten(1).std(1).clamp(min=torch.finfo(x0.dtype).tiny)
        factor = 1 - self.share + self.share * broadcast_like(back, x0)
        return with_x0(self.schedule, factor * x0, x_t, t)._replace(variance_coeff=given.variance_coeff)


@dataclass(frozen=True)
class ClassifierGuided:
    """A prediction moved by (4) and (5). One call of each network, and a backward pass through the classifier alone.

    Where the schedule leaves no signal, nothing can be told of a class: the prediction is left as it is.
    """

    denoise: Denoiser
    schedule: Schedule
    log_prob: LogProb
    scale: float = 1.0

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        prediction = self.denoise(x_t, t)
        if self.schedule.alpha_bar_at(t) == 0:
            return prediction
        alpha, sigma = self.schedule.alpha(t, x_t), self.schedule.sigma(t, x_t)
        pull = self.scale * sigma * log_prob_gradient(self.log_prob, x_t, t)
        return Prediction(t, prediction.x0 + sigma / alpha * pull, prediction.eps - pull, prediction.variance_coeff)


def log_prob_gradient(log_prob: LogProb, x_t: Data, t: Timesteps) -> Data:
    """grad of log_prob at x_t, (B, ...); under `torch.inference_mode` as well."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        total = log_prob(x, t).sum()
        if not total.requires_grad:
            raise ValueError("expected a log_prob with gradients to x_t, got one without; take no_grad off")
        return torch.autograd.grad(total, x)[0]


@dataclass(frozen=True)
class Interval:
    """`inside` at the timesteps first..last, `outside` at all others; none where first > last."""

    inside: Denoiser
    outside: Denoiser
    first: int
    last: int

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        return (self.inside if self.first <= int(t) <= self.last else self.outside)(x_t, t)


def timesteps_of_noise(schedule: Schedule, low: float, high: float) -> tuple[int, int]:
    """(first, last) timestep whose sigma_t / alpha_t lies in [low, high]: how papers give intervals."""
    ratio = torch.exp(-0.5 * schedule.log_snr(torch.arange(1, schedule.num_timesteps + 1)))
    return int((ratio < low).sum()) + 1, int((ratio <= high).sum())


def pushed(given: Prediction, null: Prediction, scale: float) -> Prediction:
    """(1), with the spread of `given`."""
    push = scale - 1
    x0, eps = given.x0 + push * (given.x0 - null.x0), given.eps + push * (given.eps - null.eps)
    return Prediction(given.t, x0, eps, given.variance_coeff)
