"""Probabilities of bins, against fifty digits; faults of public implementations that the same checks find."""

import math

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ancestral.gaussian import DiagonalGaussian
from ancestral.tensors import from_pixels

LEVELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1
PROBED = [0, 1, 77, 127, 128, 200, 254, 255]


def gaussian(mean: float, sigma: float, like: Tensor = LEVELS) -> DiagonalGaussian:
    return DiagonalGaussian(torch.full_like(like, mean), torch.tensor(2 * math.log(sigma), dtype=like.dtype))


def exact_log_bin(level: int, mean: float, sigma: float) -> float:
    """log of the normal probability of (level -+ 1/2) / 127.5 - 1, open at both ends, with 50 digits."""
    with mpmath.workdps(50):
        edges = [(mpmath.mpf(2 * level + side) / 255 - 1 - mean) / sigma for side in (-1, 1)]
        lower = -mpmath.inf if level == 0 else edges[0]
        upper = mpmath.inf if level == 255 else edges[1]
        if lower > 0:
            lower, upper = -upper, -lower
        cdf = [mpmath.erfc(-z / mpmath.sqrt(2)) / 2 for z in (lower, upper)]
        return float(mpmath.log(cdf[1] - cdf[0]))


def by_tanh_with_a_floor(p: DiagonalGaussian, x0: Tensor) -> Tensor:
    """Trap: the distribution function approximated by tanh, differences below 1e-12 cut off."""

    def cdf(x: Tensor) -> Tensor:
        z = (x - p.mean) * torch.exp(-0.5 * p.log_var)
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    lower = torch.where(x0 < -0.999, 0, cdf(x0 - 1 / 255))
    upper = torch.where(x0 > 0.999, 1, cdf(x0 + 1 / 255))
    return torch.log((upper - lower).clamp(min=1e-12))


def off_by_half_a_bin(p: DiagonalGaussian, x0: Tensor) -> Tensor:
    """Trap: the bin begins at the level instead of being centred on it."""
    return DiagonalGaussian(p.mean - 1 / 255, p.log_var).log_prob_of_bins(x0)


def by_differences(p: DiagonalGaussian, x0: Tensor) -> Tensor:
    """Trap: the exact distribution function, but subtracted before the logarithm is taken."""
    normal = torch.distributions.Normal(p.mean, torch.exp(0.5 * p.log_var))
    lower = torch.where(x0 < -0.999, 0, normal.cdf(x0 - 1 / 255))
    upper = torch.where(x0 > 0.999, 1, normal.cdf(x0 + 1 / 255))
    return torch.log(upper - lower)


def error(log_prob, mean: float, sigma: float) -> float:
    """The largest difference to `exact_log_bin`, relative where the log-probability is beyond -1."""
    ours = log_prob(gaussian(mean, sigma), LEVELS)[PROBED].tolist()
    exact = [exact_log_bin(level, mean, sigma) for level in PROBED]
    return max(abs(a - b) / max(1, abs(b)) for a, b in zip(ours, exact, strict=True))


@given(st.floats(-3, 3), st.floats(math.log(1e-4), math.log(30)))
def test_a_bin_has_its_exact_probability_however_far_away(mean: float, log_sigma: float) -> None:
    """Up to 40,000 sigma away, where the probability is e^-800,000,000."""
    assert error(DiagonalGaussian.log_prob_of_bins, mean, math.exp(log_sigma)) < 1e-11


@given(st.floats(-3, 3), st.floats(math.log(1e-4), math.log(30)))
def test_the_bins_of_all_levels_add_to_1(mean: float, log_sigma: float) -> None:
    total = gaussian(mean, math.exp(log_sigma)).log_prob_of_bins(LEVELS).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("trap", [by_tanh_with_a_floor, off_by_half_a_bin, by_differences])
def test_the_exact_probabilities_find_the_traps(trap) -> None:
    assert error(trap, 0.1, 0.05) > 1e-4


def test_a_bin_is_symmetric_about_its_level() -> None:
    left, right = (gaussian(float(LEVELS[100]) + side * 0.003, 0.002) for side in (-1, 1))
    assert left.log_prob_of_bins(LEVELS)[100] == pytest.approx(right.log_prob_of_bins(LEVELS)[100].item(), rel=1e-12)


def test_the_ends_are_open() -> None:
    """All that lies beyond black is black."""
    assert gaussian(-50.0, 1.0).log_prob_of_bins(LEVELS)[0].item() == 0
    assert gaussian(50.0, 1.0).log_prob_of_bins(LEVELS)[255].item() == 0


def test_stored_pixels_have_the_bins_of_their_levels() -> None:
    """Float32 images fall on the same 256 bins as float64 levels, to the bit; the sum over levels stays 1."""
    stored = from_pixels(torch.arange(256, dtype=torch.uint8))
    p = gaussian(0.2, 0.05)
    assert torch.equal(p.log_prob_of_bins(stored), p.log_prob_of_bins(LEVELS))
    assert gaussian(0.2, 0.05, stored).log_prob_of_bins(stored).dtype == torch.float64


@pytest.mark.parametrize(
    "wrong",
    [
        (2 * (torch.arange(256, dtype=torch.float64) + 0.5) / 256 - 1),  # trap: levels off by half a bin
        from_pixels(torch.arange(256, dtype=torch.uint8)).bfloat16(),
        LEVELS + 0.3 / 127.5,
        LEVELS * 1.5,
        LEVELS.clone().fill_(math.nan),
    ],
)
def test_what_is_not_a_pixel_is_refused(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match="256 levels"):
        gaussian(0.0, 1.0).log_prob_of_bins(wrong)


def test_gradients_are_exact_and_finite_even_at_the_open_ends() -> None:
    levels = LEVELS[[0, 0, 3, 128, 252, 255, 255]]
    mean = torch.tensor([-1.2, 0.9, -0.7, 0.3, 0.5, 1.1, -0.9], dtype=torch.float64, requires_grad=True)
    log_var = torch.linspace(-7, 0, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, v: DiagonalGaussian(m, v).log_prob_of_bins(levels), (mean, log_var))
    far = torch.tensor([-1e3, 1e3, 1e3, -1e3], dtype=torch.float64, requires_grad=True)
    DiagonalGaussian(far, torch.tensor(-12.0)).log_prob_of_bins(LEVELS[[0, 0, 255, 7]]).sum().backward()
    assert far.grad is not None and far.grad.isfinite().all() and far.grad[1] < -1e6 < 1e6 < far.grad[3]
