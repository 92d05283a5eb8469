"""Variances of a reverse step: extremes, what lies between them, and the best one, on joint Gaussians of any stride."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ancestral.diffusion.analytic import between, estimate
from ancestral.diffusion.parameterization import Prediction, PredictsEps, PredictsV
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import (
    Schedule,
    cosine,
    from_betas,
    linear,
    log_snr_linear,
    scaled_linear,
    zero_terminal_snr,
)
from ancestral.diffusion.variances import Analytic, Variance, beta, beta_published, beta_tilde, interpolated
from ancestral.oracles import GaussianData, eps_process
from ancestral.rng import ImageNoise

ZERO = torch.zeros(1, 1, dtype=torch.float64)
PAIRS = [(1000, 999), (1000, 500), (700, 20), (50, 1), (2, 1), (3, 0), (1, 0)]
"""Steps from t to s: single, strided, onto 1 and onto 0."""


def log_variance(kind: Variance, schedule: Schedule, t: int, s: int, variance_coeff: float | None = None) -> float:
    """log-variance of the step t -> s for one number."""
    prediction = Prediction(torch.tensor(t), ZERO, ZERO, None if variance_coeff is None else ZERO + variance_coeff)
    return kind(schedule, torch.tensor(t), torch.tensor(s), prediction).item()


def reverse_variance(schedule: Schedule, t: int, s: int, variance: float) -> float:
    """Var(x_s | x_t) of Gaussian data: regression on x_t, whose covariance is sqrt(alpha_bar_t / alpha_bar_s) v_s."""
    alpha_bar = schedule.alpha_bar
    v_s, v_t = (float(alpha_bar[i] * variance + 1 - alpha_bar[i]) for i in (s, t))
    return v_s - float(alpha_bar[t] / alpha_bar[s]) * v_s**2 / v_t


# The extremes


@given(st.integers(2, 1000), st.data())
def test_exact_reverse_variance_reaches_the_extremes(t: int, data: st.DataObject) -> None:
    """beta_tilde is exact for constant data, beta for unit-variance data, at any stride."""
    s = data.draw(st.integers(1, t - 1))
    for variance, extreme in [(0.0, beta_tilde), (1.0, beta)]:
        exact = reverse_variance(cosine(), t, s, variance)
        assert log_variance(extreme, cosine(), t, s) == pytest.approx(math.log(exact), abs=1e-6)


def test_last_variance_is_that_of_the_step_before() -> None:
    """Trap: log beta_tilde_1 = log 0; a step onto 0 uses beta_tilde_2."""
    schedule = linear()
    assert log_variance(beta_tilde, schedule, 1, 0) == log_variance(beta_tilde, schedule, 2, 1)
    assert log_variance(beta_tilde, schedule, 50, 0) == log_variance(beta_tilde, schedule, 50, 1)
    assert schedule.beta_tilde(torch.tensor(1), torch.tensor(0)) == 0


def test_the_published_large_variances_are_beta_tilde_2_and_the_betas() -> None:
    """Ho et al. 2020, their program: [beta_tilde_2, beta_2, ..., beta_T]; `beta` has beta_1 in front."""
    schedule, t = from_betas([0.1, 0.2, 0.5]), torch.tensor([1, 2, 3])
    each = Prediction(t, ZERO.expand(3, 1), ZERO.expand(3, 1))
    assert beta(schedule, t, t - 1, each).exp().flatten().tolist() == pytest.approx([0.1, 0.2, 0.5])
    found = beta_published(schedule, t, t - 1, each).exp().flatten().tolist()
    assert found == pytest.approx([0.1 / 0.28 * 0.2, 0.2, 0.5])


def test_a_chain_of_one_step_has_one_variance() -> None:
    schedule = from_betas([0.3])
    for kind in (beta, beta_tilde, interpolated, Analytic(torch.tensor([0.5]).double())):
        assert log_variance(kind, schedule, 1, 0, variance_coeff=0.4) == pytest.approx(math.log(0.3))


# The learned range


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_a_learned_variance_is_a_power_of_each_extreme(t: int, s: int) -> None:
    """Traps: interpolating linearly; taking the log for the variance; beta_tilde of the full chain on a strided one."""
    schedule = linear()
    high = reverse_variance(schedule, t, s, 1.0)
    low = reverse_variance(schedule, max(t, 2), max(s, 1), 0.0)
    for v, expected in [(-1.0, low), (1.0, high), (0.0, math.sqrt(low * high)), (3.0, high**2 / low)]:
        assert math.exp(log_variance(interpolated, schedule, t, s, v)) == pytest.approx(expected, rel=1e-8)
    assert low < high


def test_a_learned_variance_is_chosen_element_by_element() -> None:
    schedule, t, s = linear(100), torch.tensor([70, 3]), torch.tensor([30, 0])
    variance_coeff = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 3, 2)
    found = interpolated(schedule, t, s, Prediction(t, variance_coeff, variance_coeff, variance_coeff))
    for i, j, k in itertools.product(range(2), range(3), range(2)):
        alone = log_variance(interpolated, schedule, int(t[i]), int(s[i]), variance_coeff[i, j, k].item())
        assert found[i, j, k].item() == pytest.approx(alone, rel=1e-12)


def test_the_reverse_step_has_the_learned_variance_as_its_variance() -> None:
    """Trap: log-variance used as variance. What a unit draw moves is the standard deviation."""
    diffusion = GaussianDiffusion(linear(), PredictsEps(), interpolated)
    x_t, output = torch.randn(2, 1, 2, 2, dtype=torch.float64), torch.full((2, 2, 2, 2), 0.0, dtype=torch.float64)
    t, s = torch.tensor(800), torch.tensor(600)
    p = diffusion.p_posterior(diffusion.decode(output, x_t, t), x_t, t, s)
    moved = p.sample(torch.ones_like(x_t)) - p.sample(torch.zeros_like(x_t))
    expected = reverse_variance(linear(), 800, 600, 0.0) * reverse_variance(linear(), 800, 600, 1.0)
    assert torch.allclose(moved**4, torch.tensor(expected).double(), rtol=1e-9)


@pytest.mark.parametrize("kind", [PredictsEps(), PredictsV()])
def test_the_second_half_of_the_output_is_the_spread_and_no_part_of_the_mean(kind: PredictsEps | PredictsV) -> None:
    diffusion, t = GaussianDiffusion(linear(), kind, interpolated), torch.tensor([300, 1])
    x_t, output, variance_coeff = torch.randn(3, 2, 3, 2, 2).unbind()
    both, plain = diffusion.decode(torch.cat([output, variance_coeff], dim=1), x_t, t), diffusion.decode(output, x_t, t)
    assert (
        both.variance_coeff is not None
        and torch.equal(both.variance_coeff, variance_coeff)
        and plain.variance_coeff is None
    )
    assert torch.equal(both.x0, plain.x0) and torch.equal(both.eps, plain.eps)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 7, 9])
def test_other_numbers_of_channels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"expected 3 or 6 output channels for 3 of data, got {channels}"):
        eps_process(linear()).decode(torch.zeros(1, channels, 2, 2), torch.zeros(1, 3, 2, 2), torch.tensor(5))


def test_a_learned_variance_needs_a_spread() -> None:
    with pytest.raises(ValueError, match="expected a variance coefficient"):
        log_variance(interpolated, linear(), 5, 4)


# The analytic variance


@given(st.integers(2, 1000), st.data(), st.floats(0, 1))
def test_the_analytic_variance_is_exact_for_gaussian_data(t: int, data: st.DataObject, variance: float) -> None:
    """From the exact Gamma_t = E||eps||^2 of each timestep alone, Var(x_s | x_t) of every stride."""
    s = data.draw(st.integers(1, t - 1))
    schedule = linear()
    alpha_bar = schedule.alpha_bar[1:]
    gamma = (1 - alpha_bar) / (alpha_bar * variance + 1 - alpha_bar)
    error = (1 - alpha_bar) / alpha_bar * (1 - gamma)
    found = log_variance(Analytic(error / (1 - alpha_bar)), schedule, t, s)
    assert found == pytest.approx(math.log(reverse_variance(schedule, t, s, variance)), abs=1e-6)


@pytest.mark.parametrize("t", [1, 2, 60, 1000])
def test_the_analytic_variance_of_a_step_onto_clean_data(t: int) -> None:
    """It is Var(x_0 | x_t), but no less than beta_tilde of a step onto 1 (trap: log 0)."""
    alpha_bar = linear().alpha_bar[1:]
    for variance in (0.0, 0.9):
        found = log_variance(Analytic(variance / (alpha_bar * variance + 1 - alpha_bar)), linear(), t, 0)
        floor = reverse_variance(linear(), max(t, 2), 1, 0.0)
        assert math.exp(found) == pytest.approx(max(reverse_variance(linear(), t, 0, variance), floor), rel=1e-6)


@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_the_analytic_variance_stays_between_the_extremes(t: int, s: int) -> None:
    """A network worse than no network, or a lucky estimate, does not leave the range."""
    for ratio, extreme in [(7.0, beta), (-0.5, beta_tilde)]:
        found = log_variance(Analytic(torch.full((1000,), ratio, dtype=torch.float64)), linear(), t, s)
        assert found == pytest.approx(log_variance(extreme, linear(), t, s), rel=1e-12)


def measured(schedule: Schedule, oracle: GaussianData, timesteps: Tensor, images: int = 500) -> Analytic:
    """The estimate from draws of the oracle's own data, a thousand numbers or so each."""
    noise = ImageNoise(range(images), oracle.mean.shape, dtype=torch.float64)
    x0 = oracle.mean + oracle.variance.sqrt() * noise()
    return estimate(eps_process(schedule), oracle, x0, timesteps, noise)


@pytest.mark.parametrize("variance", [0.02, 0.5, 1.0])
def test_the_estimate_from_an_exact_network_is_the_exact_variance(variance: float) -> None:
    """500 images of 64 numbers: the mean square of 32,000 normal numbers scatters by 0.8 %; 3 % are allowed."""
    schedule, grid = linear(100), torch.tensor([100, 60, 20, 5, 2, 1])
    oracle = GaussianData(schedule, torch.full((64,), 0.3).double(), torch.full((64,), variance).double())
    table = measured(schedule, oracle, grid)
    for t, s in [(100, 60), (60, 59), (60, 1), (20, 5), (5, 2), (2, 1)]:
        expected = reverse_variance(schedule, t, s, variance)
        assert math.exp(log_variance(table, schedule, t, s)) == pytest.approx(expected, rel=0.03)


def test_the_estimate_is_the_mean_over_variances_where_they_differ() -> None:
    """One number for all elements: the mean of Var(x_s | x_t) over them, as the bound asks for."""
    schedule, spreads = linear(100), torch.tensor([0.01, 0.2, 0.9]).double().repeat(30)
    table = measured(schedule, GaussianData(schedule, torch.zeros(90).double(), spreads), torch.arange(1, 101), 200)
    expected = sum(reverse_variance(schedule, 70, 30, v) for v in (0.01, 0.2, 0.9)) / 3
    assert math.exp(log_variance(table, schedule, 70, 30)) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("t", "s"), [(40, 39), (40, 10), (12, 11), (2, 1)])
def test_no_other_variance_has_a_larger_bound_for_an_imperfect_network(t: int, s: int) -> None:
    """A network that errs: the expected divergence, exact over the four corners, is least at the estimated variance.

    The mean square of its noise would tell another variance than its errors do, and a smaller bound.
    """
    diffusion, variance = eps_process(log_snr_linear(40, 6.0, -6.0)), 0.02
    exact = GaussianData(diffusion.schedule, ZERO[0], ZERO[0] + variance)

    def denoise(x_t: Tensor, t: Tensor) -> Prediction:
        x0 = 0.9 * exact(x_t, t).x0
        return Prediction(t, x0, (x_t - diffusion.schedule.alpha(t, x_t) * x0) / diffusion.schedule.sigma(t, x_t))

    corners = torch.tensor([*itertools.product([-1.0, 1.0], repeat=2)], dtype=torch.float64)
    x0, eps = corners[:, :1] * math.sqrt(variance), corners[:, 1:]
    time, earlier = torch.tensor(t), torch.tensor(s)
    x_t = diffusion.q_sample(x0, time, eps)
    table = estimate(diffusion, denoise, x0, torch.arange(1, 41), lambda: eps)

    alpha_bar = diffusion.schedule.alpha_bar[t]
    gamma = denoise(x_t, time).eps.square().mean()
    from_gamma = Analytic(((1 - gamma) / alpha_bar).expand(40))

    def divergence(shift: float, table: Analytic = table) -> float:
        tried = GaussianDiffusion(diffusion.schedule, PredictsEps(), lambda *step: table(*step) + shift)
        p = tried.p_posterior(denoise(x_t, time), x_t, time, earlier)
        return diffusion.q_posterior(x0, x_t, time, earlier).kl(p).mean().item()

    assert divergence(0.0) < min(divergence(-0.01), divergence(0.01))
    assert divergence(1e-4) - divergence(-1e-4) == pytest.approx(0, abs=1e-9)
    assert divergence(0.0) < divergence(0.0, from_gamma)


def test_the_estimate_holds_where_no_signal_is_left() -> None:
    """Zero terminal SNR: the paper's form is 0 / 0 at T; the error of x0 is the variance of the data."""
    schedule = zero_terminal_snr(scaled_linear(50))
    oracle = GaussianData(schedule, torch.zeros(64).double(), torch.full((64,), 0.25).double())
    diffusion = GaussianDiffusion(schedule, PredictsV(), beta_tilde)
    noise = ImageNoise(range(300), (64,), dtype=torch.float64)
    table = estimate(diffusion, oracle, 0.5 * noise(), torch.tensor([1, 25, 50]), noise)
    assert math.exp(log_variance(table, schedule, 50, 20)) == pytest.approx(
        reverse_variance(schedule, 50, 20, 0.25), rel=0.03
    )
    assert table.ratio.isfinite().all()


def test_timesteps_in_between_are_linear_in_log_snr() -> None:
    """25 of a thousand timesteps give every variance of Gaussian data to about 1 %, twice as many to a quarter."""
    schedule, variance, every = linear(), 0.1, torch.arange(1, 1001)
    alpha_bar = schedule.alpha_bar[1:]
    exact = variance / (alpha_bar * variance + 1 - alpha_bar)

    def worst(ratio: Tensor) -> float:
        pairs = [(t, s) for t in range(2, 1001, 7) for s in (t - 1, t // 2)]
        found = torch.tensor([log_variance(Analytic(ratio), schedule, t, s) for t, s in pairs])
        true = torch.tensor([math.log(reverse_variance(schedule, t, s, variance)) for t, s in pairs])
        return (found - true).abs().max().item()

    errors = []
    for steps in (13, 25, 49):
        known = schedule.uniform_log_snr(steps)[:-1].flip(0)
        table = between(schedule, known, exact[known - 1]).ratio
        assert torch.equal(table[known - 1], exact[known - 1])
        in_log_snr = np.interp(schedule.log_snr(every), schedule.log_snr(known).flip(0), exact[known - 1].flip(0))
        assert torch.allclose(table, torch.from_numpy(in_log_snr), rtol=1e-12)
        errors.append(worst(table))
    assert errors[1] < 0.011 and errors[2] < errors[1] / 3 < errors[0] / 9


def test_beyond_the_known_timesteps_the_table_is_constant() -> None:
    table = between(linear(100), torch.tensor([60, 30]), torch.tensor([0.2, 0.8], dtype=torch.float64))
    assert (table.ratio[:30] == 0.8).all() and (table.ratio[59:] == 0.2).all()
    assert (table.ratio[29:60].diff() < 0).all()


@pytest.mark.parametrize("timesteps", [[], [0, 5], [5, 101], [7, 7]])
def test_timesteps_that_cannot_be_known_are_refused(timesteps: list[int]) -> None:
    grid = torch.tensor(timesteps, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"expected different timesteps in 1\.\.100"):
        between(linear(100), grid, torch.zeros(len(timesteps)).double())


def test_a_table_of_another_chain_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an analytic variance for T = 1000, got one for 100"):
        log_variance(Analytic(torch.ones(100).double()), linear(), 5, 4)
