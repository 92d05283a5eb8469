"""What a network's output means: the maps to (x_0, eps) and back, what a perfect network would answer, and the losses.

A prediction of levels is held to Bayes' rule for one pixel, in sums over 256 levels. Losses are held to their values,
to where their gradients go, and to that drawing t leaves them unbiased.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ancestral import oracles
from ancestral.diffusion.categorical import PredictsCategorical
from ancestral.diffusion.level import Noised
from ancestral.diffusion.likelihood import step_term
from ancestral.diffusion.losses import hybrid, min_snr, squared_error, uniform, variance_loss, vlb
from ancestral.diffusion.parameterization import Parameterization, PredictsEps, PredictsFlow, PredictsV, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.diffusion.timesteps import RecentLosses, even, sample_timesteps
from ancestral.diffusion.variances import beta_tilde, interpolated
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import GaussianData, double, eps_process, normal, pixel_levels, signs
from ancestral.selftest.checks import Checks
from ancestral.selftest.process import FIVE, LINEAR
from ancestral.selftest.schedules import SHORT

CHECKS, LOSSES = Checks(), Checks()

ALL: dict[str, Parameterization] = {"eps": PredictsEps(), "x0": PredictsX0(), "v": PredictsV(), "flow": PredictsFlow()}
BY_HAND = {"eps": -1.5, "x0": 2.0, "v": -2.5, "flow": -3.5}
"""Targets for x_0 = 2, eps = -1.5 at signal 0.6 and noise 0.8: v = 0.6 * -1.5 - 0.8 * 2."""
TIMES = [*map(torch.tensor, (1, 10, 250, 600, 1000))]


def process(name: str) -> GaussianDiffusion:
    """The published linear process."""
    return GaussianDiffusion(LINEAR, ALL[name], beta_tilde)


@CHECKS("{name}: numbers at signal 0.6, noise 0.8", 1e-14, name=ALL)
def numbers(name: str, device: torch.device) -> Tensor:
    short, (x0, eps) = GaussianDiffusion(SHORT, ALL[name], beta_tilde), double(2, -1.5, device=device).reshape(2, 1, 1)
    return short.target(short.noised(x0, torch.tensor(3), eps)) - BY_HAND[name]


@CHECKS("{name}: decode undoes target; any pair makes x_t", 1e-11, name=ALL)
def round_trip(name: str, device: torch.device) -> Iterator[Tensor]:
    chain, (x0, eps) = process(name), normal(2, 32, 1, device=device)
    for t in TIMES:
        noised = chain.noised(x0, t, eps)
        found = chain.decode(chain.target(noised), noised.x_t, t)
        yield from (found.x0 - x0, found.eps - eps, oracles.noised(LINEAR, chain.decode(x0, eps, t)) - eps)


@CHECKS("{name}: least squares on Gaussian data is E[x_0 | x_t]", 1e-10, name=ALL)
def least_squares(name: str, device: torch.device) -> Iterator[Tensor]:
    """Whose squared error is Var(x_0 | x_t) over the square of the scale of errors."""
    data = GaussianData(LINEAR, double(0, 0, 0, device=device), double(0.05, 0.4, 1.7, device=device))
    each, chain = signs(2, device), process(name)
    x0, eps = data.variance.sqrt() * each[:, :1], each[:, 1:].expand(4, 3)
    for t in TIMES:
        noised = chain.noised(x0, t, eps)
        x_t = noised.x_t
        fitted = (chain.target(noised) * x_t).mean(0) / (x_t * x_t).mean(0) * x_t
        yield chain.decode(fitted, x_t, t).x0 - data(x_t, t).x0
        scale = ALL[name].x0_scale(LINEAR.alpha_bar[t].sqrt(), (1 - LINEAR.alpha_bar[t]).sqrt()).to(device)
        least = (data.reverse_variance(t, torch.tensor(0)) / scale**2).mean()
        yield squared_error(chain, fitted, noised).mean() - least


# Levels

TABLE = log_snr_linear(50, 13.3, -5.0)
LEVELS = GaussianDiffusion(TABLE, PredictsCategorical(), beta_tilde)
LEVEL = 77  # the level that is there, and what x_t and eps are made from


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
        noised = LEVELS.noised(x0, time, eps)
        x_t = noised.x_t
        found = LEVELS.decode(output, x_t, time)
        mean = float(posterior(peak, float(x_t), t) @ pixel_levels()[:, 0])
        yield from (found.x0 - mean, oracles.noised(TABLE, found) - x_t)
        yield squared_error(LEVELS, output, noised) - (float(x0) - mean) ** 2


@CHECKS("levels: L_0 is the probability of the level", 1e-9)
def decoder(device: torch.device) -> tuple[Tensor, Tensor]:
    """L_0 is -log of the posterior of the level that is there; over all 256 levels they add to 1."""
    (x0, eps, output), t = one_pixel(0.3, device), torch.tensor(1)
    x_t = LEVELS.q_sample(x0, t, eps)
    many = LEVELS.decode(output.expand(256, 256), x_t.expand(256, 1), t)
    costs = step_term(LEVELS, many, pixel_levels(device), x_t.expand(256, 1), t, t - 1)
    found = step_term(LEVELS, LEVELS.decode(output, x_t, t), x0, x_t, t, t - 1)
    return found.cpu() + posterior(0.3, float(x_t), 1)[LEVEL].log(), (-costs).logsumexp(0)


# What it trains on


@LOSSES("min-SNR weights at SNR 9 and 9/16", 1e-13)
def weights(device: torch.device) -> Iterator[Tensor]:
    """Gamma 5: over SNR for eps, alone for x0, over SNR + 1 for v; `uniform` is 1."""
    level = SHORT.level(torch.tensor([1, 3], device=device))
    wanted = {"eps": (5 / 9, 1.0), "x0": (5.0, 0.5625), "v": (0.5, 0.36), "flow": (0.3125, 9 / 49)}
    for name, expected in wanted.items():
        chain = GaussianDiffusion(SHORT, ALL[name], interpolated)
        yield from (min_snr()(chain, level) - double(*expected, device=device), uniform(chain, level) - 1)


LEARNED = eps_process(FIVE, interpolated)


def batch(device: torch.device) -> tuple[Tensor, Noised]:
    """An output of two channels, and pixels noised at t = 1..5."""
    mean, variance_coeff, eps = normal(3, 5, 1, 2, 2, device=device)
    x0 = torch.arange(20, device=device).reshape(5, 1, 2, 2).double() * 13 / 127.5 - 1
    return torch.cat([mean, variance_coeff.clamp(-1, 1)], 1), LEARNED.noised(x0, torch.arange(1, 6), eps)


@LOSSES("L_vlb over all t: the terms of the bound but L_T", 1e-10)
def whole_bound(device: torch.device) -> Tensor:
    """By a coefficient that says the exact variance between its extremes."""
    data = GaussianData(FIVE, double(0, device=device), double(0.3, device=device))
    point, unit = (GaussianData(FIVE, double(0), double(each)) for each in (0.0, 1.0))
    t, each = torch.arange(1, 6).repeat_interleave(4), signs(2, device).repeat(5, 1)
    x0, eps = 0.3**0.5 * each[:, :1], each[:, 1:]
    noised = LEARNED.noised(x0, t, eps)
    said = data(noised.x_t, t)
    low = point.reverse_variance(t.clamp(min=2), (t - 1).clamp(min=1)).log().to(device)
    high = unit.reverse_variance(t, t - 1).log().to(device)
    variance_coeff = 2 * (data.reverse_variance(t, t - 1).log() - low) / (high - low) - 1
    found = vlb(LEARNED, torch.cat([said.eps, variance_coeff], 1), noised, DiagonalGaussian.log_prob).mean()
    terms = oracles.expected_terms(eps_process(FIVE, data.exact), data, FIVE.trailing(5))
    return found * math.log(2) - terms[1:].sum()


@LOSSES("hybrid: the variance coefficient feels 0.001 L_vlb", 1e-8)
def guides_variance(device: torch.device) -> Tensor:
    output, noised = batch(device)
    step = torch.cat([torch.zeros_like(noised.x0), normal(5, 1, 2, 2, device=device).flip(0)], 1)
    moved = output.clone().requires_grad_()
    (found,) = torch.autograd.grad(hybrid(LEARNED, moved, noised).sum(), moved)
    up, down = (vlb(LEARNED, output + side * 1e-5 * step, noised).sum() for side in (1, -1))
    return (found[:, 1:] * step[:, 1:]).sum() - 0.001 * (up - down) / 2e-5


@LOSSES("hybrid: simple + 0.001 L_vlb, which leaves the mean alone", 1e-12)
def adds_up(device: torch.device) -> tuple[Tensor, ...]:
    """Of its gradient -2 (target - mean) / D of the simple loss alone reaches the mean."""
    output, noised = batch(device)
    output.requires_grad_()
    eps = noised.eps
    simple = (eps - output[:, :1]).square().flatten(1).mean(1)
    share = 0.001 * vlb(LEARNED, output, noised)
    whole, second = (loss(LEARNED, output, noised) for loss in (hybrid, variance_loss))
    (gradient,) = torch.autograd.grad(whole.sum(), output)
    return whole - (simple + share), second - share, gradient[:, :1] + (eps - output[:, :1]) / 2


@LOSSES("importance sampling: weights leave the mean alone", 1e-13)
def unbiased(_: torch.device) -> tuple[Tensor, Tensor]:
    """Over even u the mean of w_t l_t is that of l_t; what is below t, and the share within p_t, make up u."""
    p, u = double(1, 2, 3, 4, 10) / 20, (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    chosen, losses, below = sample_timesteps(p, u), double(3, -1, 4, 1, 5), double(0, 1, 3, 6, 10) / 20
    mean = (chosen.weight * losses[chosen.t - 1]).mean()
    return mean - 12 / 5, below[chosen.t - 1] + chosen.within * p[chosen.t - 1] - u


@LOSSES("importance sampling: second moments, after warm-up", 1e-14)
def by_second_moment(_: torch.device) -> tuple[Tensor, Tensor]:
    """p ~ sqrt(mean of the last ten squares), one draw in a thousand uniform; uniform until all are known."""
    table, (first, second) = RecentLosses.none(2), (math.sqrt((5 * 9 + 5 * 1) / 10), 4.0)
    for i in range(12):
        table = table.after(torch.tensor([1, 2]), double(3.0 if i < 7 else 1.0, 4.0))
    wanted = double(first, second) / (first + second) * 0.999 + 0.0005
    cold = RecentLosses.none(3).after(torch.tensor([1, 3]), double(9, 1))
    return table.probabilities() - wanted, cold.probabilities() - even(3)
