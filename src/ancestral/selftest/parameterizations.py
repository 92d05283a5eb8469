"""What a network's output means: the maps to (x_0, eps) and back, and what a perfect network would answer.

A prediction of levels is held to Bayes' rule for one pixel, in sums over 256 levels.
"""

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.categorical import PredictsCategorical
from ancestral.diffusion.likelihood import step_term
from ancestral.diffusion.losses import squared_error
from ancestral.diffusion.parameterization import Parameterization, PredictsEps, PredictsV, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.oracles import GaussianData, double, gradient, noised, normal, pixel_levels, signs, two_hills
from ancestral.selftest.checks import Checks
from ancestral.selftest.process import LINEAR
from ancestral.selftest.schedules import SHORT

CHECKS = Checks()

ALL: dict[str, Parameterization] = {"eps": PredictsEps(), "x0": PredictsX0(), "v": PredictsV()}
BY_HAND = {"eps": -1.5, "x0": 2.0, "v": -2.5}
"""Targets for x_0 = 2, eps = -1.5 at signal 0.6 and noise 0.8: v = 0.6 * -1.5 - 0.8 * 2."""
TIMES = [*map(torch.tensor, (1, 10, 250, 600, 1000))]


def process(name: str) -> GaussianDiffusion:
    """The published linear process."""
    return GaussianDiffusion(LINEAR, ALL[name], beta_tilde)


@CHECKS("{name}: numbers at signal 0.6, noise 0.8", 1e-14, name=ALL)
def numbers(name: str, device: torch.device) -> Tensor:
    short, (x0, eps) = GaussianDiffusion(SHORT, ALL[name], beta_tilde), double(2, -1.5, device=device).reshape(2, 1, 1)
    return short.target(x0, eps, torch.tensor(3)) - BY_HAND[name]


@CHECKS("{name}: decode undoes target; any pair makes x_t", 1e-11, name=ALL)
def round_trip(name: str, device: torch.device) -> Iterator[Tensor]:
    chain, (x0, eps) = process(name), normal(2, 32, 1, device=device)
    for t in TIMES:
        found = chain.decode(chain.target(x0, eps, t), chain.q_sample(x0, t, eps), t)
        yield from (found.x0 - x0, found.eps - eps, noised(LINEAR, chain.decode(x0, eps, t)) - eps)


@CHECKS("{name}: scale of errors by differentiation", 1e-12, name=ALL)
def slope(name: str, device: torch.device) -> Iterator[Tensor]:
    x_t = normal(4, 1, device=device)
    for t in TIMES:
        output = torch.zeros_like(x_t).requires_grad_()
        (found,) = torch.autograd.grad(process(name).decode(output, x_t, t).x0.sum(), output)
        kept = LINEAR.alpha_bar[t]
        yield found.abs() / ALL[name].x0_scale(kept.sqrt(), (1 - kept).sqrt()).to(device) - 1


@CHECKS("{name}: least squares on Gaussian data is E[x_0 | x_t]", 1e-10, name=ALL)
def least_squares(name: str, device: torch.device) -> Iterator[Tensor]:
    data = GaussianData(LINEAR, double(0, 0, 0, device=device), double(0.05, 0.4, 1.7, device=device))
    each, chain = signs(2, device), process(name)
    x0, eps = data.variance.sqrt() * each[:, :1], each[:, 1:].expand(4, 3)
    for t in TIMES:
        x_t = chain.q_sample(x0, t, eps)
        fitted = (chain.target(x0, eps, t) * x_t).mean(0) / (x_t * x_t).mean(0) * x_t
        yield chain.decode(fitted, x_t, t).x0 - data(x_t, t).x0


@CHECKS("mixture: E[eps | x_t] is its score", 1e-10)
def by_score(device: torch.device) -> Iterator[Tensor]:
    """Tweedie: E[eps | x_t] is minus the noise times the score of the density, differentiated."""
    hills, x = two_hills(LINEAR, device), normal(64, 2, device=device)
    for t in map(torch.tensor, (1, 100, 400, 999)):
        score = gradient(partial(hills.log_density, t=t), x)
        yield hills(x, t).eps + float(1 - LINEAR.alpha_bar[t]) ** 0.5 * score


# Levels

TABLE = log_snr_linear(50, 13.3, -5.0)
LEVELS = GaussianDiffusion(TABLE, PredictsCategorical(), beta_tilde)
LEVEL = 77
"""The level that is there, and what x_t and eps are made from."""


def prior(peak: float) -> Tensor:
    """Log-probabilities of the levels before x_t is seen: falling away from level 90; even where `peak` is 0."""
    return -peak * (torch.arange(256, dtype=torch.float64) - 90).abs()


def posterior(peak: float, x_t: float, t: int) -> Tensor:
    """p(level k | x_t), (256,)."""
    kept = float(TABLE.alpha_bar[t])
    off = x_t - math.sqrt(kept) * pixel_levels()[:, 0]
    return torch.softmax(prior(peak) - off**2 / (2 * (1 - kept)), 0)


def one_pixel(peak: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(x_0, eps, output), each of one pixel: (1, 1) or (1, 256)."""
    x0 = double(LEVEL / 127.5 - 1, device=device)[None]
    return x0, torch.full_like(x0, 0.7), prior(peak).to(device)[None]


@CHECKS("levels, answer 0: the posterior mean of a uniform pixel", 1e-9, 0.0)
@CHECKS("levels, logits of a prior: Bayes' rule", 1e-9, 0.3)
def bayes(peak: float, device: torch.device) -> Iterator[Tensor]:
    x0, eps, output = one_pixel(peak, device)
    for t in (1, 10, 30, 50):
        time = torch.tensor([t])
        x_t = LEVELS.q_sample(x0, time, eps)
        found = LEVELS.decode(output, x_t, time)
        mean = float(posterior(peak, float(x_t), t) @ pixel_levels()[:, 0])
        yield from (found.x0 - mean, noised(TABLE, found) - x_t)
        yield squared_error(LEVELS, output, x0, eps, time) - (float(x0) - mean) ** 2


@CHECKS("levels: L_0 is the probability of the level", 1e-9)
def decoder(device: torch.device) -> tuple[Tensor, Tensor]:
    """L_0 is -log of the posterior of the level that is there; over all 256 levels they add to 1."""
    (x0, eps, output), t = one_pixel(0.3, device), torch.tensor(1)
    x_t = LEVELS.q_sample(x0, t, eps)
    many = LEVELS.decode(output.expand(256, 256), x_t.expand(256, 1), t)
    costs = step_term(LEVELS, many, pixel_levels(device), x_t.expand(256, 1), t, t - 1)
    found = step_term(LEVELS, LEVELS.decode(output, x_t, t), x0, x_t, t, t - 1)
    return found.cpu() + posterior(0.3, float(x_t), 1)[LEVEL].log(), (-costs).logsumexp(0)
