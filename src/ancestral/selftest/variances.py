"""The variance of a reverse step, against the conditional variance of jointly Gaussian x_s and x_t."""

import torch
from torch import Tensor

from ancestral.diffusion.analytic import between, estimate
from ancestral.diffusion.parameterization import Prediction, PredictsEps
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import linear
from ancestral.diffusion.variances import Analytic, Variance, beta, beta_published, beta_tilde, interpolated
from ancestral.oracles import GaussianData, double, signs
from ancestral.selftest.checks import Check, apart, largest

STEPS = ((1000, 999), (1000, 1), (730, 20), (400, 399), (3, 1), (2, 1))
"""(t, s) of the published linear schedule."""
INNER = 0.3
"""A variance of data that neither extreme fits."""


def data(variance: float, device: torch.device) -> GaussianData:
    """One number N(0, variance) under the linear schedule."""
    return GaussianData(linear(), double(0, device=device), double(variance, device=device))


def said(device: torch.device, variance_coeff: float | None = None) -> Prediction:
    """A prediction that says nothing but its variance coefficient."""
    x = torch.zeros(1, 1, dtype=torch.float64, device=device)
    return Prediction(torch.tensor(1), x, x, None if variance_coeff is None else x + variance_coeff)


def times(pair: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(t, s) as tensors."""
    return torch.tensor(pair[0]), torch.tensor(pair[1])


def against(variance: Variance, spread: float, device: torch.device) -> float:
    """log-variance at STEPS against the Schur complement for Gaussian data of variance `variance_coeff`."""
    oracle = data(spread, device)
    return largest(
        apart(variance(linear(), *times(pair), said(device)), oracle.reverse_variance(*times(pair)).log())
        for pair in STEPS
    )


def onto_data(device: torch.device) -> float:
    """Onto s = 0 beta_tilde, the published beta and the lower extreme are those of the step from 2 onto 1."""
    wanted = data(0.0, device).reverse_variance(*times((2, 1))).log()
    found = [each(linear(), *times((1, 0)), said(device)) for each in (beta_tilde, beta_published)]
    found += [interpolated(linear(), *times((1, 0)), said(device, -1.0))]
    found += [Analytic(torch.zeros(1000, dtype=torch.float64))(linear(), *times((1, 0)), said(device))]
    return largest(apart(each, wanted) for each in found)


def extremes(device: torch.device) -> float:
    """Spread 1 is exact for unit variance, -1 for a point, and 0 their geometric mean."""
    errors = []
    for pair in STEPS:
        upper, lower = (data(each, device).reverse_variance(*times(pair)) for each in (1.0, 0.0))
        for spread, wanted in ((1.0, upper), (-1.0, lower), (0.0, (upper * lower).sqrt())):
            errors.append(apart(interpolated(linear(), *times(pair), said(device, spread)), wanted.log()))
    return largest(errors)


def ratios(spread: float) -> Tensor:
    """r_t of Gaussian data: the variance of x_0 given x_t, over that of the noise, (T,)."""
    oracle = data(spread, torch.device("cpu"))
    every = torch.arange(1, 1001)
    return (oracle.reverse_variance(every, torch.zeros_like(every))[:, 0]) / (1 - linear().alpha_bar[1:])


def within(device: torch.device) -> float:
    """A table beyond 0..1 is kept between the extremes."""
    tables = {1.0: torch.full((1000,), 7.0), 0.0: torch.full((1000,), -7.0)}
    return largest(against(Analytic(table.double()), spread, device) for spread, table in tables.items())


def measured(device: torch.device) -> float:
    """The estimate from a denoiser's errors, on the four signs of (x_0, eps): at every stride the Schur complement."""
    each, oracle = signs(2, device), data(INNER, device)
    process = GaussianDiffusion(linear(), PredictsEps(), beta)
    x0, eps = INNER**0.5 * each[:, :1], each[:, 1:]
    return against(estimate(process, oracle, x0, torch.arange(1, 1001), lambda: eps), INNER, device)


def between_levels(_: torch.device) -> float:
    """A ratio that is linear in log-SNR is met between the timesteps where it is known, and constant beyond."""
    level = torch.logit(linear().alpha_bar[1:])
    known = torch.tensor([901, 101, 301])
    table = between(linear(), known, level[known - 1] / 20).ratio
    return apart(table, level.clamp(level[900], level[100]) / 20)


CHECKS = (
    Check("beta: exact for unit variance, at strides", 1e-9, lambda device: against(beta, 1.0, device)),
    Check("beta_tilde: exact for a single point, at strides", 1e-9, lambda device: against(beta_tilde, 0.0, device)),
    Check("beta_published: exact for unit variance, at strides", 1e-9, lambda device: against(
        beta_published, 1.0, device)),
    Check("onto s = 0: as from 2 onto 1", 1e-9, onto_data),
    Check("learned: both extremes and their geometric mean", 1e-9, extremes),
    Check("analytic: exact for variance 0.3, at strides", 1e-9, lambda device: against(
        Analytic(ratios(INNER)), INNER, device)),
    Check("analytic: kept between the extremes", 1e-9, within),
    Check("analytic: measured from a denoiser's errors", 1e-9, measured),
    Check("analytic: straight lines in log-SNR", 1e-12, between_levels),
)  # fmt: skip
