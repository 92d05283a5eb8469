"""The forward process, its posterior and the variance of a reverse step.

They are held against steps in turn, the joint Gaussian of a whole chain and that of x_s and x_t, conditioned.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from ancestral.diffusion.analytic import between, estimate
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import from_betas, linear
from ancestral.diffusion.variances import Analytic, Variance, beta, beta_published, beta_tilde, interpolated
from ancestral.oracles import double, eps_process, gaussian, normal, signs
from ancestral.selftest.checks import Checks
from ancestral.selftest.schedules import TABLES

CHECKS, VARIANCES = Checks(), Checks()

BETAS = (0.1, 0.3, 0.2, 0.55, 0.4)
FIVE = from_betas(BETAS)
CHAIN = eps_process(FIVE)
LINEAR = linear()


@CHECKS("{name}: 100 steps in turn, or strides, are one jump", 1e-12, name=TABLES)
def in_turn(name: str, device: torch.device) -> Iterator[Tensor]:
    process, x0 = eps_process(TABLES[name](100)), double(1.7, device=device)[:, None]
    for times in (range(101), (0, 1, 2, 20, 73, 99, 100)):
        mean, variance = x0, torch.zeros_like(x0)
        for s, t in itertools.pairwise(map(torch.tensor, times)):
            step, jump = process.q_step(mean, t, s), process.q_marginal(x0, t)
            slope = process.q_step(torch.ones_like(mean), t, s).mean
            mean, variance = step.mean, slope**2 * variance + step.log_var.exp()
            yield from (mean - jump.mean, variance - jump.log_var.exp())


@CHECKS("posterior: the joint Gaussian conditioned, at strides", 1e-13)
def conditioned(device: torch.device) -> Iterator[Tensor]:
    """q(x_s | x_t, x_0) by conditioning the joint Gaussian of x_1..x_5 given x_0; onto s = 0 it is the point x_0.

    (x_0, ..., x_5) = first * x_0 + second @ noise, from the betas alone.
    """
    first, second = [1.0], torch.zeros(6, 5, dtype=torch.float64)
    for i, share in enumerate(BETAS):
        second[i + 1] = (1 - share) ** 0.5 * second[i]
        second[i + 1, i] = share**0.5
        first.append(first[i] * (1 - share) ** 0.5)
    covariance, (x0, x_t) = (second[1:] @ second[1:].T).to(device), normal(2, 6, 1, device=device)
    for t, s in torch.tensor(((5, 4), (5, 3), (4, 1), (5, 1), (2, 1))):
        gain = covariance[s - 1, t - 1] / covariance[t - 1, t - 1]
        found = CHAIN.q_posterior(x0, x_t, t, s)
        yield found.mean - (x0 * first[s] + gain * (x_t - x0 * first[t]))
        yield found.log_var.exp() - (covariance[s - 1, s - 1] - gain * covariance[t - 1, s - 1])
    clean = CHAIN.q_posterior(x0, x_t, *torch.tensor((4, 0)))
    yield from (clean.mean - x0, clean.log_var.exp())


# The variance of a reverse step

STEPS = [*map(torch.tensor, ((1000, 999), (1000, 1), (730, 20), (400, 399), (3, 1), (2, 1)))]
"""(t, s) of the published linear schedule."""
INNER = 0.3  # a variance of data that neither extreme fits


def said(device: torch.device, variance_coeff: float = 0.0) -> Prediction:
    """A prediction that says nothing but its variance coefficient."""
    x = torch.zeros(1, 1, dtype=torch.float64, device=device)
    return Prediction(torch.tensor(1), x, x, x + variance_coeff)


@VARIANCES("beta: exact for unit variance, at strides", 1e-9, beta, 1.0)
@VARIANCES("beta_tilde: exact for a single point, at strides", 1e-9, beta_tilde, 0.0)
@VARIANCES("beta_published: exact for unit variance, at strides", 1e-9, beta_published, 1.0)
@VARIANCES("analytic: kept below the upper extreme", 1e-9, Analytic(torch.full((1000,), 7.0).double()), 1.0)
@VARIANCES("analytic: kept above the lower extreme", 1e-9, Analytic(torch.full((1000,), -7.0).double()), 0.0)
def against(variance: Variance, inner: float, device: torch.device) -> Iterator[Tensor]:
    oracle = gaussian(LINEAR, inner, device=device)
    return (variance(LINEAR, t, s, said(device)) - oracle.reverse_variance(t, s).log() for t, s in STEPS)


@VARIANCES("onto s = 0: as from 2 onto 1", 1e-9)
def onto_data(device: torch.device) -> Iterator[Tensor]:
    """beta_tilde, the published beta and the lower extremes."""
    t, s = torch.tensor((1, 0))
    wanted = gaussian(LINEAR, 0.0, device=device).reverse_variance(t + 1, s + 1).log()
    for each in (beta_tilde, beta_published, interpolated, Analytic(torch.zeros(1000, dtype=torch.float64))):
        yield each(LINEAR, t, s, said(device, -1.0)) - wanted


@VARIANCES("learned: both extremes and their geometric mean", 1e-9)
def extremes(device: torch.device) -> Iterator[Tensor]:
    for t, s in STEPS:
        upper, lower = (gaussian(LINEAR, each, device=device).reverse_variance(t, s) for each in (1.0, 0.0))
        for coefficient, wanted in ((1.0, upper), (-1.0, lower), (0.0, (upper * lower).sqrt())):
            yield interpolated(LINEAR, t, s, said(device, coefficient)) - wanted.log()


@VARIANCES("analytic: measured from errors, exact at strides", 1e-9)
def measured(device: torch.device) -> Iterator[Tensor]:
    """By the errors of the exact denoiser on the four signs of (x_0, eps)."""
    data, each = gaussian(LINEAR, INNER, device=device), signs(2, device)
    x0, eps = data.mean + INNER**0.5 * each[:, :1], each[:, 1:]
    found = estimate(eps_process(LINEAR, beta), data, x0, torch.arange(1, 1001), lambda: eps)
    return against(found, INNER, device)


@VARIANCES("analytic: straight lines in log-SNR", 1e-12)
def between_levels(_: torch.device) -> Tensor:
    """A ratio that is linear in log-SNR is met between the timesteps where it is known, and constant beyond."""
    level = torch.logit(LINEAR.alpha_bar[1:])
    known = torch.tensor([901, 101, 301])
    return between(LINEAR, known, level[known - 1] / 20).ratio - level.clamp(level[900], level[100]) / 20
