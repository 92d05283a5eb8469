"""Samplers against closed forms: exact moments, measured order, and the laws that tie them together."""

import itertools
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule, cosine, linear, log_snr_linear, zero_terminal_snr
from ancestral.diffusion.variances import Analytic, beta, beta_tilde, interpolated
from ancestral.oracles import GaussianData, propagate
from ancestral.rng import ImageNoise
from ancestral.sampling.branching import branched
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import Chain, sample
from ancestral.sampling.samplers import DDIM, DPMSolver2MSDE, DPMSolverMultistep, Euler, Sampler, UniPC
from ancestral.selftest.samplers import KINDS, ancestral

MEAN = torch.tensor([0.3, -0.5, 0.1, 0.0], dtype=torch.float64)
SPREAD = torch.tensor([0.0, 0.05, 0.4, 1.0], dtype=torch.float64)


Kind = Callable[[Schedule], Sampler]
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.mark.parametrize("steps", [5, 17, 40])
@pytest.mark.parametrize("learned", [False, True], ids=["analytic", "learned"])
def test_ancestral_sampling_is_exact_at_every_stride_with_the_best_variance(learned: bool, steps: int) -> None:
    """Gaussian data that neither extreme fits: the analytic variance fits every stride, and so does a true spread."""
    schedule, inner = log_snr_linear(40, 6.0, -6.0), torch.tensor([0.3], dtype=torch.float64)
    oracle = GaussianData(schedule, torch.zeros(1, dtype=torch.float64), inner)
    alpha_bar = schedule.alpha_bar[1:]
    exact, grid = Analytic(inner / (alpha_bar * inner + 1 - alpha_bar)), schedule.trailing(steps)
    arrives = dict(itertools.pairwise(grid.tolist()))

    def spread(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        prediction, s = oracle(x_t, t), torch.tensor(arrives[int(t)])
        low, high = (kind(schedule, t, s, prediction) for kind in (beta_tilde, beta))
        v = 2 * (exact(schedule, t, s, prediction) - low) / (high - low) - 1
        return prediction._replace(variance_coeff=v.expand_as(x_t))

    sampler = ancestral(schedule, interpolated if learned else exact)
    start = oracle.at(grid[0])[1]
    for s, mean, variance in propagate(sampler, spread if learned else oracle, grid, oracle.mean, start):
        assert s == 0 or variance.item() == pytest.approx(oracle.at(torch.tensor(s))[1].item(), rel=1e-9)
        assert abs(mean.item()) < 1e-12


@given(st.integers(1, 40), st.floats(0, 1))
def test_ddim_keeps_the_marginals_of_a_point_at_any_eta(steps: int, eta: float) -> None:
    """Song et al. 2021, lemma 1: for data at one point every x_s is N(alpha_s m, sigma_s^2), however much noise is
    fresh.
    """
    schedule = log_snr_linear(40, 6.0, -6.0)
    point = GaussianData(schedule, MEAN, torch.zeros(4, dtype=torch.float64))
    start = schedule.alpha_bar_at(torch.tensor(40)).sqrt() * MEAN
    noise = point.at(torch.tensor(40))[1]
    for s, mean, variance in propagate(DDIM(schedule, eta), point, schedule.trailing(steps), start, noise):
        assert torch.allclose(variance, point.at(torch.tensor(s))[1], atol=1e-9)
        assert torch.allclose(mean, schedule.alpha_bar_at(torch.tensor(s)).sqrt() * MEAN, atol=1e-9)


def warm(sampler: Sampler, oracle: Denoiser, schedule: Schedule) -> tuple[torch.Tensor, list[Prediction]]:
    """x_t after four steps, at the fifth timestep of an even grid of ten, and the predictions on the way."""
    noise, past = ImageNoise([3, 4], (4,), dtype=torch.float64), []
    x = noise()
    for t, s in itertools.pairwise(schedule.trailing(10)[:5]):
        x, prediction = sampler.step(oracle, x, t, s, past, noise)
        past.append(prediction)
    return x, past


def none() -> torch.Tensor:
    raise AssertionError("noise was drawn")


@every_kind
@pytest.mark.parametrize("remembers", [False, True])
def test_the_last_step_returns_the_predicted_x0_and_draws_no_noise(kind: Kind, remembers: bool) -> None:
    """Traps: noise added at the last step; a special last step; a polynomial that reaches for s = 0."""
    schedule = cosine(50)
    oracle, sampler = GaussianData(schedule, MEAN, SPREAD), kind(schedule)
    x_t, past = warm(sampler, oracle, schedule)
    t = schedule.trailing(10)[4]
    x_0, prediction = sampler.step(oracle, x_t, t, torch.tensor(0), past if remembers else [], none)
    assert torch.allclose(x_0, prediction.x0, atol=1e-12)
    assert torch.equal(prediction.x0, oracle(x_t, t).x0)


@every_kind
def test_calls_and_noise_are_those_declared(kind: Kind) -> None:
    schedule, calls, draws = cosine(50), [], []
    oracle, sampler = GaussianData(schedule, MEAN, SPREAD), kind(schedule)

    def counted(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        calls.append(int(t))
        return oracle(x_t, t)

    def drawn() -> torch.Tensor:
        draws.append(1)
        return torch.zeros(2, 4, dtype=torch.float64)

    x_t, past = warm(sampler, oracle, schedule)
    t, s = schedule.trailing(10)[4:6]
    sampler.step(counted, x_t, t, s, past, drawn)
    assert len(calls) == sampler.calls and calls[0] == t
    assert len(draws) == sampler.stochastic
    sampler.step(counted, x_t, t, torch.tensor(0), past, none)
    assert len(calls) == sampler.calls + 1


@every_kind
def test_data_at_one_point_is_sampled_exactly_by_any_steps(kind: Kind) -> None:
    """x_0 is the same everywhere, so is eps along the flow: no sampler errs, however few and uneven its steps."""
    schedule = cosine(50)
    point, sampler = GaussianData(schedule, MEAN, torch.zeros(4, dtype=torch.float64)), kind(schedule)
    grid, noise = torch.tensor([50, 43, 41, 27, 9, 7, 2, 0]), ImageNoise([5, 6], (4,), dtype=torch.float64)
    x_T = noise()
    for step in sample(point, sampler, x_T, grid, noise):
        wanted = MEAN.expand(2, 4) if step.s == 0 else point.flow(x_T, grid[0], torch.tensor(step.s))
        assert torch.allclose(step.x_s, wanted, atol=1e-9) or (sampler.stochastic and step.s > 0)
    assert torch.allclose(step.x_s, MEAN.expand(2, 4), atol=1e-9)


@every_kind
def test_a_first_step_from_no_signal_at_all_is_of_first_order(kind: Kind) -> None:
    """Zero terminal SNR: the log-SNR of T is infinite, so T is no node of any polynomial, now or later."""
    schedule = zero_terminal_snr(linear(60))
    oracle, sampler = GaussianData(schedule, MEAN, SPREAD), kind(schedule)
    noise = ImageNoise([5, 6], (4,), dtype=torch.float64)
    x_T, grid = noise(), schedule.trailing(30)
    first, *_, last = sample(oracle, sampler, x_T, grid, noise)
    if not sampler.stochastic:
        ddim, _ = DDIM(schedule).step(oracle, x_T, grid[0], grid[1], [], none)
        assert torch.allclose(first.x_s, ddim, atol=1e-12)
        exact = MEAN + SPREAD.sqrt() * x_T
        assert (last.x_s - exact).abs().max() < 0.2, "near to where the flow leads"
    assert last.x_s.isfinite().all()


@every_kind
def test_every_timestep_of_a_coarse_table_is_better_than_ddim(kind: Kind) -> None:
    """As many steps as timesteps, so that nothing lies between: a higher order still gains, and none comes apart."""
    schedule = cosine(40)
    oracle, x_T = GaussianData(schedule, MEAN, SPREAD + 0.01), torch.tensor([[1.0, -1.0, 0.5, 2.0]]).double()

    def error(sampler: Sampler) -> float:
        *_, step = sample(oracle, sampler, x_T, schedule.trailing(40)[:-1], lambda: x_T)
        return float((step.x_s - oracle.flow(x_T, torch.tensor(40), torch.tensor(1))).norm())

    sampler = kind(schedule)
    assert sampler.stochastic or sampler.order == 1 or error(sampler) < error(DDIM(schedule))


@every_kind
def test_samplers_are_frozen_and_keep_the_precision_of_the_data(kind: Kind) -> None:
    schedule = cosine(50)
    sampler = kind(schedule)
    with pytest.raises(FrozenInstanceError):
        sampler.order = 7
    oracle = GaussianData(schedule, MEAN.float(), SPREAD.float())

    def single(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        found = oracle(x_t, t)
        return found._replace(x0=found.x0.float(), eps=found.eps.float())

    noise = ImageNoise([1, 2], (4,))
    first, second = ([*sample(single, sampler, noise(), schedule.trailing(8), noise)] for _ in range(2))
    assert all(step.x_s.dtype == torch.float32 for step in first)
    if not sampler.stochastic:
        again = [*sample(single, sampler, ImageNoise([1, 2], (4,))(), schedule.trailing(8), noise)]
        assert torch.equal(first[-1].x_s, again[-1].x_s) and not torch.equal(first[-1].x_s, second[-1].x_s)


@pytest.mark.parametrize(("one", "other"), [(Euler, DDIM), (partial(DPMSolver2MSDE, eta=0.0), DPMSolverMultistep)])
def test_two_names_for_the_same_steps(one: Callable[..., Sampler], other: type[Sampler]) -> None:
    schedule = linear(100)
    oracle, x_T = GaussianData(schedule, MEAN, SPREAD), torch.randn(2, 4, dtype=torch.float64)
    chains = (
        [step.x_s for step in sample(oracle, each(schedule), x_T, schedule.trailing(9), none)] for each in (one, other)
    )
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(*chains, strict=True))


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_corrector_comes_nearer_and_is_remembered_in_the_prediction(order: int) -> None:
    """x_0 stays what the network said; eps makes the corrected x_t with it, which is nearer to the flow."""
    schedule = log_snr_linear(40, 4.0, -4.0)
    oracle, grid = GaussianData(schedule, MEAN, SPREAD), schedule.trailing(40)
    x_T, past = torch.tensor([[1.0, -1.0, 0.5, 2.0]]).double(), []
    x = x_T
    for t, s in itertools.pairwise(grid[:-1]):
        predicted = x
        x, prediction = UniPC(schedule, order).step(oracle, x, t, s, past, none)
        assert torch.equal(prediction.x0, oracle(predicted, t).x0)
        past.append(prediction)
    a, noise = schedule.alpha_bar_at(t).sqrt(), (1 - schedule.alpha_bar_at(t)).sqrt()
    corrected, exact = a * prediction.x0 + noise * prediction.eps, oracle.flow(x_T, grid[0], t)
    assert (corrected - exact).norm() < (predicted - exact).norm()


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_2m_sde_keeps_the_marginals_of_a_point_at_any_eta(eta: float) -> None:
    schedule = log_snr_linear(40, 6.0, -6.0)
    point = GaussianData(schedule, MEAN, torch.zeros(4, dtype=torch.float64))
    start, noise = schedule.alpha_bar_at(torch.tensor(40)).sqrt() * MEAN, point.at(torch.tensor(40))[1]
    for s, mean, variance in propagate(DPMSolver2MSDE(schedule, eta), point, schedule.trailing(7), start, noise):
        assert torch.allclose(variance, point.at(torch.tensor(s))[1], atol=1e-9)
        assert torch.allclose(mean, schedule.alpha_bar_at(torch.tensor(s)).sqrt() * MEAN, atol=1e-9)


def test_steps_yield_the_estimate_made_at_x_t() -> None:
    """Trap: a saved "x0" that is really x_{t-1}."""
    schedule = cosine(50)
    oracle = GaussianData(schedule, MEAN, SPREAD)
    x = torch.randn(2, 4, dtype=torch.float64)
    for step in sample(oracle, DDIM(schedule), x, schedule.trailing(10), noise=ImageNoise([0, 1], (4,))):
        assert torch.equal(step.x0, oracle(x, torch.tensor(step.t)).x0)
        assert step.s == 0 or not torch.allclose(step.x_s, step.x0, atol=1e-3)
        x = step.x_s


def test_the_loop_refuses_timesteps_that_do_not_fall() -> None:
    schedule = cosine(50)
    oracle: Denoiser = GaussianData(schedule, MEAN, SPREAD)
    x = torch.zeros(1, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="falling timesteps"):
        next(sample(oracle, DDIM(schedule), x, torch.tensor([10, 10, 0]), lambda: x))


def chain_of(kind: Kind, steps: int = 8) -> Chain:
    schedule, noise = log_snr_linear(40, 6.0, -6.0), ImageNoise([5, 6], (4,), dtype=torch.float64)
    oracle = GaussianData(schedule, MEAN, SPREAD)
    return Chain(oracle, kind(schedule), noise(), schedule.trailing(steps), noise)


def noise_of(seeds: list[int]) -> ImageNoise:
    """As a chain of these seeds has it after x_T."""
    noise = ImageNoise(seeds, (4,), dtype=torch.float64)
    noise()
    return noise


@every_kind
@pytest.mark.parametrize("step", [0, 1, 5, 7])
def test_a_branch_where_nothing_changes_changes_no_bit(kind: Kind, step: int) -> None:
    """Multistep samplers go on with what they remember, and noise of the same seeds is the same noise."""
    whole = [*chain_of(kind).steps()]
    same, seeded = chain_of(kind), chain_of(kind)
    for branch in (branched(same, same, step), branched(seeded, seeded._replace(noise=noise_of([5, 6])), step)):
        for one, other in zip(whole, branch.steps(), strict=True):
            assert one[:2] == other[:2] and all(map(torch.equal, one[2:], other[2:]))


@every_kind
def test_another_sampler_begins_anew_where_the_chain_was(kind: Kind) -> None:
    """And an earlier one is as if there were no branch."""
    chain, whole = chain_of(DDIM), [*chain_of(DDIM).steps()]
    then = chain._replace(sampler=kind(chain.denoise.schedule), noise=noise_of([8, 9]))
    steps = [*branched(chain, then, 3).steps()]
    anew = sample(chain.denoise, then.sampler, whole[3].x_t, chain.timesteps[3:], noise_of([8, 9]))
    for one, other in zip([*whole[:3], *anew], steps, strict=True):
        assert torch.equal(one.x_s, other.x_s) and torch.equal(one.x0, other.x0)


def test_noise_of_other_seeds_is_what_they_would_draw_from_there_on() -> None:
    chain, other = chain_of(ancestral), noise_of([8, 9])
    branch, whole = [*branched(chain, chain._replace(noise=other), 3).steps()], [*chain_of(ancestral).steps()]
    assert [torch.equal(one.x_s, two.x_s) for one, two in zip(whole, branch, strict=True)] == [True] * 3 + [False] * 5
    draws = noise_of([8, 9])
    for _ in range(7):  # none onto 0
        draws()
    assert torch.equal(other(), draws())
