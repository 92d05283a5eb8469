"""The variance of a reverse step, against the conditional variance of jointly Gaussian x_s and x_t."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ancestral.diffusion.analytic import between, estimate
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import linear
from ancestral.diffusion.variances import Analytic, Variance, beta, beta_published, beta_tilde, interpolated
from ancestral.oracles import GaussianData, double, eps_process, signs
from ancestral.selftest.checks import Checks

CHECKS = Checks()

LINEAR = linear()
STEPS = [*map(torch.tensor, ((1000, 999), (1000, 1), (730, 20), (400, 399), (3, 1), (2, 1)))]
"""(t, s) of the published linear schedule."""
INNER = 0.3
"""A variance of data that neither extreme fits."""


def data(variance: float, device: torch.device) -> GaussianData:
    """One number N(0, variance) under the linear schedule."""
    return GaussianData(LINEAR, double(0, device=device), double(variance, device=device))


def said(device: torch.device, variance_coeff: float | None = None) -> Prediction:
    """A prediction that says nothing but its variance coefficient."""
    x = torch.zeros(1, 1, dtype=torch.float64, device=device)
    return Prediction(torch.tensor(1), x, x, None if variance_coeff is None else x + variance_coeff)


@CHECKS("beta: exact for unit variance, at strides", 1e-9, beta, 1.0)
@CHECKS("beta_tilde: exact for a single point, at strides", 1e-9, beta_tilde, 0.0)
@CHECKS("beta_published: exact for unit variance, at strides", 1e-9, beta_published, 1.0)
def against(variance: Variance, inner: float, device: torch.device) -> Iterator[Tensor]:
    oracle = data(inner, device)
    return (variance(LINEAR, t, s, said(device)) - oracle.reverse_variance(t, s).log() for t, s in STEPS)


@CHECKS("onto s = 0: as from 2 onto 1", 1e-9)
def onto_data(device: torch.device) -> Iterator[Tensor]:
    """beta_tilde, the published beta and the lower extremes."""
    wanted, (t, s) = data(0.0, device).reverse_variance(*torch.tensor((2, 1))).log(), torch.tensor((1, 0))
    for each in (beta_tilde, beta_published, interpolated, Analytic(torch.zeros(1000, dtype=torch.float64))):
        yield each(LINEAR, t, s, said(device, -1.0)) - wanted


@CHECKS("learned: both extremes and their geometric mean", 1e-9)
def extremes(device: torch.device) -> Iterator[Tensor]:
    for t, s in STEPS:
        upper, lower = (data(each, device).reverse_variance(t, s) for each in (1.0, 0.0))
        for coefficient, wanted in ((1.0, upper), (-1.0, lower), (0.0, (upper * lower).sqrt())):
            yield interpolated(LINEAR, t, s, said(device, coefficient)) - wanted.log()


@CHECKS("analytic: exact for variance 0.3, at strides", 1e-9)
def ratios(device: torch.device) -> Iterator[Tensor]:
    """By r_t of Gaussian data: the variance of x_0 given x_t, over that of the noise."""
    every = torch.arange(1, 1001)
    exact = data(INNER, torch.device("cpu")).reverse_variance(every, torch.zeros_like(every))[:, 0]
    return against(Analytic(exact / (1 - LINEAR.alpha_bar[1:])), INNER, device)


@CHECKS("analytic: kept between the extremes", 1e-9)
def within(device: torch.device) -> Iterator[Tensor]:
    for inner, ratio in ((1.0, 7.0), (0.0, -7.0)):
        yield from against(Analytic(torch.full((1000,), ratio, dtype=torch.float64)), inner, device)


@CHECKS("analytic: measured from a denoiser's errors", 1e-9)
def measured(device: torch.device) -> Iterator[Tensor]:
    """The estimate on the four signs of (x_0, eps): at every stride the Schur complement."""
    each = signs(2, device)
    x0, eps = INNER**0.5 * each[:, :1], each[:, 1:]
    found = estimate(eps_process(LINEAR, beta), data(INNER, device), x0, torch.arange(1, 1001), lambda: eps)
    return against(found, INNER, device)


@CHECKS("analytic: straight lines in log-SNR", 1e-12)
def between_levels(_: torch.device) -> Tensor:
    """A ratio that is linear in log-SNR is met between the timesteps where it is known, and constant beyond."""
    level = torch.logit(LINEAR.alpha_bar[1:])
    known = torch.tensor([901, 101, 301])
    table = between(LINEAR, known, level[known - 1] / 20).ratio
    return table - level.clamp(level[900], level[100]) / 20
