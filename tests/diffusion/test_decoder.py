"""L_0: the step onto the data. The rectangle rule, the variance at t = 1, and what a bit per dimension is."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.diffusion.likelihood import PIXELS, bits_per_dim, step_term
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import from_betas, linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import eps_process

LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1
BETAS = [0.002, 0.01, 0.05, 0.3]
CHAIN = eps_process(from_betas(BETAS))
ONE, ZERO = torch.tensor(1), torch.tensor(0)


def rectangle_log_prob(p: DiagonalGaussian, x0: torch.Tensor) -> torch.Tensor:
    """Log-probability of a bin by the rectangle rule: density times width."""
    return p.log_prob(x0) + math.log(2 / 255)


def last_step(diffusion: GaussianDiffusion, level: int, eps: float, eps_hat: float, decoder) -> float:
    """The term at t = 1 of one pixel when the network answers eps_hat."""
    x0 = LEVELS[[level]].reshape(1, 1, 1, 1)
    x_1 = diffusion.q_sample(x0, ONE, torch.full_like(x0, eps))
    prediction = diffusion.decode(torch.full_like(x0, eps_hat), x_1, ONE)
    return step_term(diffusion, prediction, x0, x_1, ONE, ZERO, decoder).item()


@given(st.integers(1, 254), st.floats(-0.5, 0.5), st.floats(0.1, 0.4))
def test_the_rectangle_rule_errs_by_the_second_derivative(level: int, mean: float, sigma: float) -> None:
    """The integral of f over a bin of width w is w f + w^3 f'' / 24 + ..., and f'' / f = (z^2 - 1) / sigma^2."""
    p = DiagonalGaussian(torch.full_like(LEVELS, mean), torch.tensor(2 * math.log(sigma), dtype=torch.float64))
    gap = (PIXELS(p, LEVELS) - rectangle_log_prob(p, LEVELS))[level].item()
    z = (LEVELS[level].item() - mean) / sigma
    width = 2 / 255 / sigma
    assert gap == pytest.approx(width**2 / 24 * (z**2 - 1), abs=width**4 * (1 + z**2) / 20)


def test_without_open_ends_the_rectangles_do_not_add_to_1() -> None:
    p = DiagonalGaussian(torch.full_like(LEVELS, 0.8), torch.tensor(2 * math.log(0.5), dtype=torch.float64))
    assert rectangle_log_prob(p, LEVELS).exp().sum() < 0.7


@given(st.integers(0, 255), st.floats(-3, 3), st.floats(-3, 3))
def test_by_the_rectangle_rule_t_1_is_a_weighted_error_of_eps(level: int, eps: float, eps_hat: float) -> None:
    """beta_1^2 / (2 sigma_1^2 alpha_1 (1 - alpha_bar_1)) (eps - eps_hat)^2 + c: eq. 12 of Ho et al. 2020 at t = 1.

    sigma_1^2 is beta_tilde_2. The constant does not depend on the network.
    """
    b1, b2 = BETAS[:2]
    variance = b1 / (1 - (1 - b1) * (1 - b2)) * b2
    weight = b1**2 / (2 * variance * (1 - b1) * b1)
    constant = 0.5 * math.log(2 * math.pi * variance) - math.log(2 / 255)
    expected = weight * (eps - eps_hat) ** 2 + constant
    assert last_step(CHAIN, level, eps, eps_hat, rectangle_log_prob) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_last_step_has_the_variance_of_the_one_before() -> None:
    """Trap: log beta_tilde_1 is log 0, and L_0 infinite or NaN whatever the network says."""
    diffusion = eps_process(linear())
    nats = last_step(diffusion, 100, 0.8, 0.3, PIXELS)
    sigma = math.sqrt(1e-4 / (1 - (1 - 1e-4) * (1 - 0.00011991991991991991)) * 0.00011991991991991991)
    shift = math.sqrt(1e-4 / (1 - 1e-4)) * 0.5  # of x_0, by an error of 0.5 in eps
    upper, lower = ((shift + side / 255) / (sigma * math.sqrt(2)) for side in (1, -1))
    assert nats == pytest.approx(-math.log(0.5 * (math.erf(upper) - math.erf(lower))), rel=1e-9)


def test_a_chain_of_one_step_has_a_decoder_too() -> None:
    single = GaussianDiffusion(from_betas([0.9]), CHAIN.parameterization, beta_tilde)
    assert 0 < last_step(single, 100, 0.8, 0.3, PIXELS) < 20


def test_data_that_are_not_pixels_need_a_density() -> None:
    x0 = torch.full((2, 3), 0.123456, dtype=torch.float64)
    x_1 = CHAIN.q_sample(x0, ONE, torch.ones_like(x0))
    prediction = CHAIN.decode(torch.zeros_like(x0), x_1, ONE)
    with pytest.raises(ValueError, match="density"):
        step_term(CHAIN, prediction, x0, x_1, ONE, ZERO)
    by_density = step_term(CHAIN, prediction, x0, x_1, ONE, ZERO, DiagonalGaussian.log_prob)
    by_rectangle = step_term(CHAIN, prediction, x0, x_1, ONE, ZERO, rectangle_log_prob)
    assert by_rectangle.tolist() == pytest.approx((by_density - 3 * math.log(2 / 255)).tolist())


def test_a_uniform_guess_costs_eight_bits_a_dimension_however_an_image_is_padded() -> None:
    """Trap: dividing by padded dimensions. A margin that is known beforehand adds neither nats nor dimensions."""
    black = torch.full((1, 32, 32), -1.0, dtype=torch.float64)
    nats = -PIXELS(DiagonalGaussian(black, torch.tensor(-20.0)), black)
    nats[:, 2:30, 2:30] = math.log(256)
    assert bits_per_dim(nats.sum((1, 2)), 28 * 28).item() == pytest.approx(8, abs=1e-12)
    with pytest.raises(ValueError, match="at least one dimension"):
        bits_per_dim(nats.sum((1, 2)), 0)
