"""The bound as a loss: its value, its unit, its scale, and where its gradient goes."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ancestral.diffusion.likelihood import bound_terms
from ancestral.diffusion.losses import hybrid, squared_error, variance_loss, vlb
from ancestral.diffusion.parameterization import Parameterization, Prediction, PredictsEps, PredictsV, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule, from_betas, linear, log_snr_linear
from ancestral.diffusion.variances import beta_tilde, interpolated
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import GaussianData
from ancestral.tensors import from_pixels

KINDS = [PredictsEps(), PredictsX0(), PredictsV()]
BETAS = [0.02, 0.1, 0.3, 0.2, 0.5]
SHAPE = (2, 3, 3)


def process(kind: Parameterization = KINDS[0], schedule: Schedule | None = None) -> GaussianDiffusion:
    return GaussianDiffusion(schedule or from_betas(BETAS), kind, interpolated)


def batch(size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(x0 on the 256 levels, eps, an output of twice the channels), float64."""
    draw = torch.Generator().manual_seed(seed)
    x0 = from_pixels(torch.randint(0, 256, (size, *SHAPE), generator=draw, dtype=torch.uint8)).double()
    eps, mean, variance_coeff = torch.randn(3, size, *SHAPE, generator=draw, dtype=torch.float64).unbind()
    return x0, eps, torch.cat([mean, variance_coeff.tanh()], dim=1)


def density(p: DiagonalGaussian, x0: Tensor) -> Tensor:
    """The decoder of data that are not pixels."""
    return p.log_prob(x0)


# Gradients


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
@given(t=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_the_bound_in_the_hybrid_moves_the_variance_only(kind: Parameterization, t: list[int], seed: int) -> None:
    """Trap: gradient of L_vlb reaching the mean. Exactly 0, at t = 1 as elsewhere, and not so for the variance
    coefficient.
    """
    x0, eps, output = batch(len(t), seed)
    output.requires_grad_(True)
    noised = process().noised(x0, torch.tensor(t), eps)
    (moved,) = torch.autograd.grad(variance_loss(process(kind), output, noised).sum(), output)
    assert (moved[:, :2] == 0).all()
    assert (moved[:, 2:] != 0).all() and moved.isfinite().all()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 99))
def test_the_mean_of_the_hybrid_follows_the_simple_loss_alone(t: list[int], seed: int) -> None:
    x0, eps, output = batch(len(t), seed)
    output.requires_grad_(True)
    noised = process().noised(x0, torch.tensor(t), eps)
    (of_hybrid,) = torch.autograd.grad(hybrid(process(), output, noised).sum(), output)
    (of_simple,) = torch.autograd.grad(squared_error(process(), output, noised).sum(), output)
    assert torch.equal(of_hybrid[:, :2], of_simple[:, :2]) and (of_simple[:, 2:] == 0).all()


def test_the_pure_bound_moves_both_and_its_gradient_is_its_slope() -> None:
    """Batches that mix t = 1 with others: the branch not taken must not leak infinities into the gradient."""
    x0, eps, output = (x[:, :, :1, :2].clone() for x in batch(2))
    t = torch.tensor([1, 4])
    x0[0, 0, 0, 0], x0[0, 0, 0, 1] = -1, 1  # the open bins
    noised = process().noised(x0, t, eps)
    assert torch.autograd.gradcheck(lambda out: vlb(process(), out, noised), output.requires_grad_(True))
    (moved,) = torch.autograd.grad(vlb(process(), output, noised).sum(), output)
    assert (moved != 0).all()


# Values


def kl_by_hand(t: int, x0: Tensor, eps: Tensor, guess: Tensor, v: Tensor) -> Tensor:
    """KL(q(x_{t-1} | x_t, x_0) || p) by torch's own Gaussians, the posterior by multiplying two densities."""
    alpha_bar = [math.prod(1 - b for b in BETAS[:i]) for i in range(len(BETAS) + 1)]
    precision = (1 - BETAS[t - 1]) / BETAS[t - 1] + 1 / (1 - alpha_bar[t - 1])
    x_t = math.sqrt(alpha_bar[t]) * x0 + math.sqrt(1 - alpha_bar[t]) * eps

    def mean(of: Tensor) -> Tensor:
        from_x_t = math.sqrt(1 - BETAS[t - 1]) / BETAS[t - 1] * x_t
        return (from_x_t + math.sqrt(alpha_bar[t - 1]) / (1 - alpha_bar[t - 1]) * of) / precision

    believed = (x_t - math.sqrt(1 - alpha_bar[t]) * guess) / math.sqrt(alpha_bar[t])
    # between 1 / precision (v = -1) and the step's own beta (v = 1), by powers
    variance = BETAS[t - 1] ** ((1 + v) / 2) * (1 / precision) ** ((1 - v) / 2)
    return kl_divergence(Normal(mean(x0), precision**-0.5), Normal(mean(believed), variance.sqrt()))


@given(st.integers(2, 5), st.integers(0, 99))
def test_a_term_is_t_times_the_divergence_in_bits_per_dimension(t: int, seed: int) -> None:
    """Trap: one random t stands for T terms, so the loss is T L_t; and its unit is bits, a mean over dimensions."""
    x0, eps, output = batch(2, seed)
    nats = kl_by_hand(t, x0, eps, output[:, :2], output[:, 2:]).flatten(1).mean(1)
    expected = len(BETAS) * nats / math.log(2)
    noised = process().noised(x0, torch.full((2,), t), eps)
    assert torch.allclose(vlb(process(), output, noised), expected, rtol=1e-9)
    added = hybrid(process(), output, noised) - squared_error(process(), output, noised)
    assert torch.allclose(added, len(BETAS) / 1000 * nats / math.log(2), rtol=1e-9)


@given(st.integers(0, 255), st.floats(-1.5, 1.5), st.floats(-0.2, 0.2))
def test_the_first_term_is_the_probability_of_a_pixel(level: int, v: float, off: float) -> None:
    """At t = 1 the width runs from beta_tilde_2 (trap: log beta_tilde_1 = log 0) to beta_1; bins are integrals."""
    x0 = from_pixels(torch.tensor([level], dtype=torch.uint8)).double().reshape(1, 1)
    diffusion = GaussianDiffusion(from_betas(BETAS), PredictsX0(), interpolated)
    lower = 0.02 * 0.1 / (1 - 0.98 * 0.9)  # (1 - alpha_bar_1) / (1 - alpha_bar_2) beta_2
    deviation = math.sqrt(0.02 ** ((1 + v) / 2) * lower ** ((1 - v) / 2))
    left = x0.item() - (12 if level == 0 else 1 / 255)
    right = x0.item() + (12 if level == 255 else 1 / 255)
    grid = torch.linspace(left, right, 20_001, dtype=torch.float64)
    mass = torch.trapezoid(Normal(x0.item() + off, deviation).log_prob(grid).exp(), grid).item()
    output = torch.cat([x0 + off, torch.full_like(x0, v)], dim=1)
    bits = vlb(diffusion, output, diffusion.noised(x0, torch.tensor([1]), torch.zeros_like(x0))).item()
    assert bits == pytest.approx(-5 * math.log2(mass), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("num_timesteps", [10, 60])
def test_the_mean_over_t_is_the_bound(num_timesteps: int) -> None:
    """Enumerating t, with the noise that the walk along the chain drew: L_vlb is the sum of its terms."""
    diffusion = GaussianDiffusion(log_snr_linear(num_timesteps, 7.0, -5.0), PredictsEps(), interpolated)
    x0, eps, output = batch(1)

    def denoise(x_t: Tensor, t: Tensor) -> Prediction:
        return diffusion.decode(output, x_t, t)

    terms = bound_terms(diffusion, denoise, x0, diffusion.schedule.trailing(num_timesteps), lambda: eps)
    whole = sum(term.nats.item() for term in terms if term.s < num_timesteps) / (math.prod(SHAPE) * math.log(2))
    each = (diffusion.noised(x0, torch.tensor([t]), eps) for t in range(1, num_timesteps + 1))
    mean = sum(vlb(diffusion, output, noised).item() for noised in each)
    assert mean / num_timesteps == pytest.approx(whole, rel=1e-10)


@given(st.integers(2, 40), st.floats(0.05, 0.95))
def test_the_best_spread_is_the_exact_reverse_variance(t: int, variance: float) -> None:
    """With the exact mean of Gaussian data the expected slope is 0 where exp(log variance) = Var(x_s | x_t).

    The loss is quadratic in x0 and eps, so the four corners +-sqrt(variance), +-1 give its expectation exactly.
    Traps: linear instead of logarithmic interpolation; a log-variance taken for a variance.
    """
    diffusion = process(schedule=log_snr_linear(40, 6.0, -6.0))
    schedule = diffusion.schedule
    corners = torch.tensor([*itertools.product([-1.0, 1.0], repeat=2)], dtype=torch.float64)
    x0, eps = corners[:, :1] * math.sqrt(variance), corners[:, 1:]
    oracle = GaussianData(schedule, torch.zeros(1).double(), torch.tensor([variance]).double())
    exact = oracle.reverse_variance(torch.tensor(t), torch.tensor(t - 1))
    low = schedule.beta_tilde(torch.tensor(t), torch.tensor(t - 1)).log()
    high = schedule.beta(torch.tensor(t), torch.tensor(t - 1)).log()
    best = 2 * (exact.log() - low) / (high - low) - 1
    noised = diffusion.noised(x0, torch.full((4,), t), eps)
    guess = oracle(noised.x_t, torch.tensor(t)).eps
    variance_coeff = best.expand(4, 1).clone().requires_grad_(True)
    loss = variance_loss(diffusion, torch.cat([guess, variance_coeff], dim=1), noised, density).mean()
    (slope,) = torch.autograd.grad(loss, variance_coeff)
    assert abs(slope.sum().item()) < 1e-7

    def at(v: Tensor) -> float:
        output = torch.cat([guess, v.expand(4, 1)], dim=1)
        return variance_loss(diffusion, output, noised, density).mean().item()

    assert at(best) < min(at(best - 0.3), at(best + 0.3))


# Contracts


def test_half_precision_outputs_are_taken_in_the_precision_of_the_data() -> None:
    x0, eps, output = batch(3)
    t, short = torch.tensor([1, 3, 5]), output.bfloat16()
    of_data, in_double = process().noised(x0.float(), t, eps.float()), process().noised(x0, t, eps)
    for loss in (vlb, variance_loss, hybrid):
        taken = loss(process(), short, of_data)
        assert torch.allclose(taken, loss(process(), short.double(), in_double), rtol=1e-3)


@pytest.mark.parametrize("loss", [hybrid, variance_loss], ids=lambda loss: loss.__name__)
def test_the_hybrid_needs_a_spread(loss: Callable[..., Tensor]) -> None:
    (x0, eps, output), fixed = batch(1), GaussianDiffusion(linear(), PredictsEps(), beta_tilde)
    with pytest.raises(ValueError, match="expected a variance coefficient"):
        loss(fixed, output[:, :2], fixed.noised(x0, torch.tensor([3]), eps))


def test_the_pure_bound_of_a_fixed_variance_trains_the_mean() -> None:
    """With beta_tilde the divergence is || eps - output ||^2 beta / (2 (1 - beta) (1 - alpha_bar_{t-1})) / dims."""
    x0, eps, output = batch(1)
    fixed = GaussianDiffusion(from_betas(BETAS), PredictsEps(), beta_tilde)
    noised = fixed.noised(x0, torch.tensor([3]), eps)
    bits = vlb(fixed, output[:, :2], noised).item()
    error = squared_error(fixed, output, noised).item()
    assert bits == pytest.approx(5 * error * 0.3 / (2 * 0.7 * (1 - 0.98 * 0.9)) / math.log(2), rel=1e-9)
