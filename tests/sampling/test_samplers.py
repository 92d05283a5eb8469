"""Samplers against closed forms: exact moments, measured order, and the laws that tie them together."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import GaussianOracle, MixtureOracle, process, propagate

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule, cosine, linear, log_snr_linear
from ancestral.diffusion.variances import Analytic, Variance, beta, beta_tilde, interpolated
from ancestral.rng import ImageNoise
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM, Ancestral, Sampler

MEAN = torch.tensor([0.3, -0.5, 0.1, 0.0], dtype=torch.float64)
SPREAD = torch.tensor([0.0, 0.05, 0.4, 1.0], dtype=torch.float64)


def ancestral(schedule: Schedule, variance: Variance = beta_tilde) -> Ancestral:
    return Ancestral(GaussianDiffusion(schedule, process().parameterization, variance))


# How each sampler that exists is built for the order test; the test fails when one is missing here.
BUILD: dict[type[Sampler], Callable[[Schedule], Sampler]] = {Ancestral: ancestral, DDIM: DDIM}


@pytest.mark.parametrize("steps", [5, 17, 40])
@pytest.mark.parametrize(("variance", "spread"), [(beta_tilde, 0.0), (beta, 1.0)])
def test_ancestral_sampling_is_exact_where_its_variance_is(variance: Variance, spread: float, steps: int) -> None:
    """Constant data with beta_tilde, unit-variance data with beta: x_s has the exact marginal at every stride."""
    schedule = log_snr_linear(40, 6.0, -6.0)
    oracle = GaussianOracle(schedule, torch.zeros(1, dtype=torch.float64), torch.tensor([spread], dtype=torch.float64))
    start = oracle.marginal_variance(torch.tensor(40))
    chain = propagate(ancestral(schedule, variance), oracle, schedule.trailing(steps), oracle.mean, start)
    for s, mean, spread_s in chain:
        if s > 0:
            assert spread_s.item() == pytest.approx(oracle.marginal_variance(torch.tensor(s)).item(), rel=1e-9)
        assert abs(mean.item()) < 1e-12


@pytest.mark.parametrize("steps", [5, 17, 40])
@pytest.mark.parametrize("learned", [False, True], ids=["analytic", "learned"])
def test_ancestral_sampling_is_exact_at_every_stride_with_the_best_variance(learned: bool, steps: int) -> None:
    """Gaussian data that neither extreme fits: the analytic variance fits every stride, and so does a true spread."""
    schedule, inner = log_snr_linear(40, 6.0, -6.0), torch.tensor([0.3], dtype=torch.float64)
    oracle = GaussianOracle(schedule, torch.zeros(1, dtype=torch.float64), inner)
    at = schedule.alpha_bar[1:]
    exact, grid = Analytic(inner / (at * inner + 1 - at)), schedule.trailing(steps)
    arrives = dict(itertools.pairwise(grid.tolist()))

    def spread(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        prediction, s = oracle(x_t, t), torch.tensor(arrives[int(t)])
        low, high = (kind(schedule, t, s, prediction) for kind in (beta_tilde, beta))
        v = 2 * (exact(schedule, t, s, prediction) - low) / (high - low) - 1
        return prediction._replace(spread=v.expand_as(x_t))

    sampler = ancestral(schedule, interpolated if learned else exact)
    start = oracle.marginal_variance(grid[0])
    for s, mean, variance in propagate(sampler, spread if learned else oracle, grid, oracle.mean, start):
        assert s == 0 or variance.item() == pytest.approx(oracle.marginal_variance(torch.tensor(s)).item(), rel=1e-9)
        assert abs(mean.item()) < 1e-12


@given(st.integers(1, 40), st.floats(0, 1))
def test_ddim_keeps_the_marginals_of_a_point_at_any_eta(steps: int, eta: float) -> None:
    """Song et al. 2021, lemma 1: for data at one point every x_s is N(a_s m, s_s^2), however much noise is fresh."""
    schedule = log_snr_linear(40, 6.0, -6.0)
    point = GaussianOracle(schedule, MEAN, torch.zeros(4, dtype=torch.float64))
    start = schedule.at(torch.tensor(40)).sqrt() * MEAN
    noise = point.marginal_variance(torch.tensor(40))
    for s, mean, variance in propagate(DDIM(schedule, eta), point, schedule.trailing(steps), start, noise):
        assert torch.allclose(variance, point.marginal_variance(torch.tensor(s)), atol=1e-9)
        assert torch.allclose(mean, schedule.at(torch.tensor(s)).sqrt() * MEAN, atol=1e-9)


def test_every_sampler_is_measured() -> None:
    assert {*Sampler.__subclasses__()} == {*BUILD}


def gaussian_error(build: Callable[[Schedule], Sampler], steps: int) -> float:
    """Error of mean and covariance at t = 1 of a chain of `steps` on an even log-SNR grid, by exact propagation.

    Stochastic and deterministic samplers alike: from the exact law of x_T both must end in the exact law of x_1.
    """
    schedule = log_snr_linear(steps, 4.0, -4.0)
    oracle = GaussianOracle(schedule, MEAN, SPREAD)
    end = torch.tensor(steps)
    start = schedule.at(end).sqrt() * MEAN
    grid = schedule.trailing(steps)[:-1]
    *_, (s, mean, variance) = propagate(build(schedule), oracle, grid, start, oracle.marginal_variance(end))
    assert s == 1
    last = torch.tensor(1)
    off = (mean - schedule.at(last).sqrt() * MEAN).abs() + (variance - oracle.marginal_variance(last)).abs()
    return off.max().item()


@pytest.mark.parametrize("kind", BUILD, ids=lambda kind: kind.__name__)
def test_measured_order_is_the_declared_one(kind: type[Sampler]) -> None:
    fine, finer = (gaussian_error(BUILD[kind], steps) for steps in (256, 512))
    assert math.log2(fine / finer) == pytest.approx(kind.order, abs=0.15)


def test_ddim_converges_to_the_probability_flow_at_order_one() -> None:
    def error(steps: int) -> float:
        schedule = log_snr_linear(steps, 4.0, -4.0)
        oracle, end, last = GaussianOracle(schedule, MEAN, SPREAD), torch.tensor(steps), torch.tensor(1)
        x_T = torch.tensor([[1.0, -1.0, 0.5, 2.0]], dtype=torch.float64)
        *_, step = sample(oracle, DDIM(schedule), x_T, schedule.trailing(steps)[:-1], lambda: x_T)
        return (step.x - oracle.flow(x_T, end, last)).abs().max().item()

    assert math.log2(error(256) / error(512)) == pytest.approx(1, abs=0.1)
    assert error(512) < 0.02


def test_ddim_order_on_a_mixture_by_halving() -> None:
    """No closed form of the flow: three step sizes give the order by the ratio of their differences."""

    def end(steps: int) -> torch.Tensor:
        schedule = log_snr_linear(steps + 1, 4.0, -4.0)
        means = torch.tensor([[1.0, 0.5], [-1.0, 0.2]], dtype=torch.float64)
        oracle = MixtureOracle(schedule, torch.tensor([0.3, 0.7]).double(), means, torch.tensor([0.05, 0.2]).double())
        x_T = torch.tensor([[0.4, -0.3], [-0.2, 1.0]], dtype=torch.float64)
        *_, step = sample(oracle, DDIM(schedule), x_T, schedule.trailing(steps + 1)[:-1], lambda: x_T)
        return step.x

    coarse, middle, fine = end(128), end(256), end(512)
    assert math.log2(((coarse - middle).norm() / (middle - fine).norm()).item()) == pytest.approx(1, abs=0.15)


def test_the_mixture_oracle_is_its_own_score() -> None:
    """eps = -s grad log q(x_t) (Tweedie): guards the oracle the other tests stand on."""
    schedule, t = cosine(100), torch.tensor(40)
    means = torch.tensor([[1.0, 0.5], [-1.0, 0.2]], dtype=torch.float64)
    oracle = MixtureOracle(schedule, torch.tensor([0.3, 0.7]).double(), means, torch.tensor([0.05, 0.2]).double())
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    (score,) = torch.autograd.grad(oracle.log_density(x, t).sum(), x)
    prediction = oracle(x.detach(), t)
    assert torch.allclose(prediction.eps, -(1 - schedule.at(t)).sqrt() * score, atol=1e-10)
    a, s = schedule.at(t).sqrt(), (1 - schedule.at(t)).sqrt()
    assert torch.allclose(a * prediction.x0 + s * prediction.eps, x.detach(), atol=1e-10)


@pytest.mark.parametrize("steps", [3, 10, 100])
def test_eta_one_is_ancestral_sampling(steps: int) -> None:
    schedule = linear(100)
    oracle = GaussianOracle(schedule, MEAN, SPREAD)

    def chain(sampler: Sampler) -> torch.Tensor:
        noise = ImageNoise([1, 2], (4,), dtype=torch.float64)
        return torch.stack([step.x for step in sample(oracle, sampler, noise(), schedule.trailing(steps), noise)])

    assert torch.allclose(chain(ancestral(schedule)), chain(DDIM(schedule, eta=1.0)), atol=1e-9)


@pytest.mark.parametrize("kind", BUILD, ids=lambda kind: kind.__name__)
def test_the_last_step_returns_the_predicted_x0_and_draws_no_noise(kind: type[Sampler]) -> None:
    """Traps: noise added at the last step; a special last step."""
    schedule = cosine(50)
    oracle = GaussianOracle(schedule, MEAN, SPREAD)

    def none() -> torch.Tensor:
        raise AssertionError("noise was drawn for the last step")

    x_t, t = torch.randn(2, 4, dtype=torch.float64), torch.tensor(3)
    x_0, prediction = BUILD[kind](schedule).step(oracle, x_t, t, torch.tensor(0), [], none)
    assert torch.allclose(x_0, prediction.x0, atol=1e-12)
    assert torch.equal(prediction.x0, oracle(x_t, t).x0)


def test_steps_yield_the_estimate_made_at_x_t() -> None:
    """Trap: a saved "x0" that is really x_{t-1}."""
    schedule = cosine(50)
    oracle = GaussianOracle(schedule, MEAN, SPREAD)
    x = torch.randn(2, 4, dtype=torch.float64)
    for step in sample(oracle, DDIM(schedule), x, schedule.trailing(10), noise=ImageNoise([0, 1], (4,))):
        assert torch.equal(step.x0, oracle(x, torch.tensor(step.t)).x0)
        assert step.s == 0 or not torch.allclose(step.x, step.x0, atol=1e-3)
        x = step.x


def test_the_loop_refuses_timesteps_that_do_not_fall() -> None:
    schedule = cosine(50)
    oracle: Denoiser = GaussianOracle(schedule, MEAN, SPREAD)
    x = torch.zeros(1, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="falling timesteps"):
        next(sample(oracle, DDIM(schedule), x, torch.tensor([10, 10, 0]), lambda: x))
