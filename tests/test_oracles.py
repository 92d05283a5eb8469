"""The closed forms against quadrature over densities that are written down here: Bayes' rule, and nothing of theirs.

An even rule over a smooth density that ends far inside its interval is exact to rounding.
"""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ancestral.diffusion.schedules import log_snr_linear
from ancestral.oracles import (
    CorrelatedData,
    GaussianData,
    Mixture,
    correlated,
    double,
    entropy,
    gradient,
    matrix_of,
    moments,
    propagate,
    signs,
)
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM

SCHEDULE = log_snr_linear(40, 6.0, -6.0)
T, S = torch.tensor(24), torch.tensor(17)
LINE = torch.linspace(-12, 12, 1201, dtype=torch.float64)
"""Nodes of the rule, for x_0 as for x_s."""
STEP = float(LINE[1] - LINE[0])
SIGNAL, NOISE = float(SCHEDULE.alpha_bar[T]) ** 0.5, float(1 - SCHEDULE.alpha_bar[T]) ** 0.5
SEEN = double(-1.3, 0.2, 0.9)[:, None]
"""Some x_t."""
GAUSSIAN = GaussianData(SCHEDULE, double(0.3), double(0.4))
HILLS = Mixture(SCHEDULE, double(0.3, 0.7), double(1, -1)[:, None], double(0.2, 0.4))


def normal_density(x: Tensor, mean: Tensor | float, variance: float) -> Tensor:
    return torch.exp(-0.5 * (x - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)


def density(data: GaussianData | Mixture) -> Tensor:
    """p(x_0) at the nodes."""
    if isinstance(data, GaussianData):
        return normal_density(LINE, 0.3, 0.4)
    return 0.3 * normal_density(LINE, 1, 0.2) + 0.7 * normal_density(LINE, -1, 0.4)


def near(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("data", [GAUSSIAN, HILLS])
def test_the_denoiser_is_the_mean_of_x_0_and_of_eps_given_x_t(data: GaussianData | Mixture) -> None:
    joint = density(data) * normal_density(SEEN, SIGNAL * LINE, NOISE**2)
    share = joint / joint.sum(1, keepdim=True)
    found = data(SEEN, T)
    assert near(found.x0[:, 0], share @ LINE)
    assert near(found.eps[:, 0], (share * (SEEN - SIGNAL * LINE) / NOISE).sum(1))


def test_marginals_are_those_of_x_0_and_noise() -> None:
    """And by (B,) timesteps as by one, which losses ask for."""
    mass = density(GAUSSIAN) * STEP
    mean = SIGNAL * (mass @ LINE)
    variance = mass @ (SIGNAL * LINE) ** 2 - mean**2 + NOISE**2
    assert near(torch.cat(GAUSSIAN.at(T)), torch.stack([mean, variance]))
    assert near(torch.cat(GAUSSIAN.at(torch.stack([S, T])), 1)[1], torch.stack([mean, variance]))
    log_density = (density(HILLS) * STEP * normal_density(SEEN, SIGNAL * LINE, NOISE**2)).sum(1).log()
    assert near(HILLS.log_density(SEEN, T), log_density)


def test_a_reverse_step_has_the_variance_of_x_s_given_x_t() -> None:
    """q(x_s) by one quadrature, times q(x_t | x_s), normalised by another."""
    kept = float(SCHEDULE.alpha_bar[T] / SCHEDULE.alpha_bar[S])
    alpha, sigma = float(SCHEDULE.alpha_bar[S]) ** 0.5, float(1 - SCHEDULE.alpha_bar[S])
    at_s = normal_density(LINE[:, None], alpha * LINE, sigma) @ density(GAUSSIAN) * STEP
    joint = at_s * normal_density(SEEN[0], kept**0.5 * LINE, 1 - kept)
    share = joint / joint.sum()
    variance = share @ LINE**2 - (share @ LINE) ** 2
    assert near(GAUSSIAN.reverse_variance(T, S), variance[None])
    assert near(GAUSSIAN.exact(SCHEDULE, T, S, GAUSSIAN(SEEN, T)), variance.log()[None])


@pytest.mark.parametrize("data", [GAUSSIAN, HILLS])
def test_along_the_flow_a_point_keeps_its_quantile(data: GaussianData | Mixture) -> None:
    """P(x_t < x) by quadrature over x_0, before and after."""

    def below(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = float(SCHEDULE.alpha_bar[t]) ** 0.5, float(1 - SCHEDULE.alpha_bar[t]) ** 0.5
        return torch.special.ndtr((x - alpha * LINE) / sigma) @ density(data) * STEP

    end = data.flow(SEEN, T, S) if isinstance(data, GaussianData) else data.flow(SEEN[:, 0], torch.stack([T, S]))[1]
    assert near(below(end, S), below(SEEN, T))


def test_correlated_data_are_told_by_x_t_and_by_what_is_measured() -> None:
    """In the plane, with and without y = 2 u - v + 0.3 n of (u, v) = x_0."""
    matrix, y, sigma = double(2, -1)[None], double(0.7), 0.3
    covariance = double(1, 0.8, 0.8, 1).reshape(2, 2)
    data = CorrelatedData(SCHEDULE, double(0.3, -0.2), covariance)
    line = torch.linspace(-8, 8, 401, dtype=torch.float64)
    plane = torch.cartesian_prod(line, line)
    off = plane - data.mean
    weight = torch.exp(-0.5 * (off @ torch.linalg.inv(covariance) * off).sum(1))
    told = torch.exp(-0.5 * ((y - plane @ matrix[0]) / sigma) ** 2)
    x_t = double(-1.3, 0.2)
    seen = torch.exp(-0.5 * ((x_t - SIGNAL * plane) / NOISE).square().sum(1))
    for known, joint in ((data, weight * seen), (data.given(matrix, y, sigma), weight * told * seen)):
        mean = joint @ plane / joint.sum()
        assert near(known(x_t[None], T).x0[0], mean)
        assert near(known(x_t[None], T).eps[0], (x_t - SIGNAL * mean) / NOISE)


def test_the_score_is_what_the_noise_points_away_from() -> None:
    """eps = -s grad log q(x_t), by automatic differentiation; and the same gradient of one component alone."""
    assert near(HILLS(SEEN, T).eps, -NOISE * gradient(lambda x: HILLS.log_density(x, T), SEEN))
    of_first = gradient(lambda x: HILLS.log_joint(x, T)[:, 0], SEEN)
    assert near(HILLS.component(0)(SEEN, T).eps, -NOISE * of_first)
    assert near(HILLS.log_posterior(SEEN, T), HILLS.log_joint(SEEN, T) - HILLS.log_density(SEEN, T)[:, None])


def test_entropy_is_the_mean_of_minus_the_log_density() -> None:
    p = density(GAUSSIAN)
    assert near(entropy(double(0.4)), -torch.special.xlogy(p, p).sum()[None] * STEP)


def test_the_law_of_an_affine_chain_is_the_same_in_three_ways() -> None:
    """Step by step, by the response to each draw, and by the mean over all signs of the draws."""
    grid = SCHEDULE.trailing(4)

    def end(draws: Iterator[Tensor]) -> Tensor:
        *_, step = sample(GAUSSIAN, DDIM(SCHEDULE, 0.7), next(draws), grid, draws.__next__)
        return step.x_s

    *_, (_, mean, variance) = propagate(DDIM(SCHEDULE, 0.7), GAUSSIAN, grid, double(0), double(1))
    ends = end(iter(signs(4).T[:, :, None]))
    centre, covariance = moments(lambda noise: end(iter(noise, None)), (1,))
    assert near(mean, ends.mean(0)) and near(variance, ends.var(0, correction=0))
    assert near(centre, mean) and near(covariance[0], variance)


def test_a_covariance_and_a_matrix_are_what_they_are_called() -> None:
    covariance = correlated(5)
    assert near(torch.linalg.eigvalsh(covariance), torch.linspace(0.1, 1, 5, dtype=torch.float64))
    assert (covariance - covariance.diag().diag()).abs().max() > 0.1
    assert torch.equal(matrix_of(lambda x: x.flatten(1) @ covariance[:, :2], (5, 1)), covariance[:, :2].T)
