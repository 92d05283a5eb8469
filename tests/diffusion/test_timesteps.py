"""Draws of t: each law alone, what stratifying and importance gain, no bias, and a state that resumes."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from ancestral.diffusion.timesteps import REMEMBERED, RecentLosses, even, independent, sample_timesteps, stratified
from ancestral.rng import generator

T = 40
PROFILE = 0.02 + 3.0 * torch.exp(-0.4 * torch.arange(T, dtype=torch.float64))
"""Losses that fall with t like those of the bound: the first few timesteps hold most of the sum."""


def warmed(profile: Tensor, rounds: int = REMEMBERED) -> RecentLosses:
    """Every timestep has seen its own loss `rounds` times."""
    recent = RecentLosses.none(len(profile))
    for _ in range(rounds):
        recent = recent.after(torch.arange(1, len(profile) + 1), profile)
    return recent


def test_uniform_draws_visit_every_timestep_alike() -> None:
    """Chi-squared of 40,000 draws, 39 degrees of freedom: below 73 with probability 0.999."""
    t, weight, *_ = sample_timesteps(even(T), independent(40_000, generator(0, "t", 0)))
    counts = torch.bincount(t, minlength=T + 1)
    assert counts[0] == 0 and len(counts) == T + 1
    assert ((counts[1:] - 1000) ** 2 / 1000).sum() < 73
    assert weight.unique().tolist() == [1.0]


@given(st.integers(1, 64), st.integers(1, 200), st.integers(0, 2**31))
def test_stratified_draws_have_one_in_each_stratum(batch: int, num_timesteps: int, seed: int) -> None:
    """However many strata and timesteps there are, the i-th smallest t is one that the i-th part of [0, 1) covers."""
    t, weight, *_ = sample_timesteps(even(num_timesteps), stratified(batch, generator(seed, "t", 0)))
    for i, found in enumerate(t.sort().values.tolist()):
        assert i * num_timesteps // batch + 1 <= found <= -((-(i + 1) * num_timesteps) // batch)
    assert torch.allclose(weight, torch.ones_like(weight))


def test_each_stratified_draw_alone_is_uniform() -> None:
    """Without the random order, image 0 would always see the smallest t (that is the trap)."""
    firsts = torch.stack([sample_timesteps(even(8), stratified(8, generator(0, "t", step))).t for step in range(4000)])
    for place in (0, 3, 7):
        counts = torch.bincount(firsts[:, place], minlength=9)[1:]
        assert ((counts - 500) ** 2 / 500).sum() < 24.3  # chi-squared, 7 degrees of freedom, 0.999
    assert (firsts.sort(dim=1).values == torch.arange(1, 9)).all()


def spread_of_batch_means(u: object, probabilities: Tensor) -> tuple[float, float]:
    """Mean and variance of the weighted loss over batches of 8."""
    draws = [sample_timesteps(probabilities, u(8, generator(1, "t", step))) for step in range(2000)]  # type: ignore[operator]
    means = torch.stack([(weight * PROFILE[t - 1]).mean() for t, weight, _ in draws])
    return means.mean().item(), means.var().item()


def test_stratifying_and_importance_lower_the_variance_and_keep_the_mean() -> None:
    truth, important = PROFILE.mean().item(), warmed(PROFILE).probabilities()
    plain = spread_of_batch_means(independent, even(T))
    # independent draws from the known profile: the variance of a batch mean is Var(l_t) / 8
    assert plain[1] == pytest.approx(PROFILE.var(correction=0).item() / 8, rel=0.15)
    for u, p, gain in [(stratified, even(T), 2), (independent, important, 100), (stratified, important, 100)]:
        mean, variance = spread_of_batch_means(u, p)
        assert variance < plain[1] / gain
        assert mean == pytest.approx(truth, abs=4 * math.sqrt(variance / 2000))


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=30), st.lists(st.floats(-5, 5), min_size=30, max_size=30))
def test_importance_is_unbiased(profile: list[float], values: list[float]) -> None:
    """E[weight f(t)] = mean of f, summed over all t with the share of [0, 1) that `draw` gives to each of them."""
    probabilities = warmed(torch.tensor(profile, dtype=torch.float64)).probabilities()
    f = torch.tensor(values[: len(profile)], dtype=torch.float64)
    edges = torch.cat([torch.zeros(1, dtype=torch.float64), probabilities.cumsum(0)])
    middle = (edges[1:] + edges[:-1]) / 2
    t, weight, *_ = sample_timesteps(probabilities, middle)
    assert t.tolist() == [*range(1, len(profile) + 1)]
    assert edges[-1].item() == pytest.approx(1, abs=1e-12)
    assert (edges.diff() * weight * f[t - 1]).sum().item() == pytest.approx(f.mean().item(), abs=1e-10)


def test_probabilities_are_roots_of_second_moments_with_a_uniform_share() -> None:
    """One timestep with losses 3 and 4 in turn, one with 1: sqrt(12.5) against 1, and 0.001 / 2 to each."""
    recent = RecentLosses.none(2)
    for i in range(REMEMBERED):
        recent = recent.after(torch.tensor([1, 2]), torch.tensor([3.0 + i % 2, -1.0]))
    root = math.sqrt(12.5)
    assert recent.probabilities().tolist() == pytest.approx(
        [0.999 * root / (root + 1) + 0.0005, 0.999 / (root + 1) + 0.0005], rel=1e-12
    )


def test_least_variance_is_where_the_theory_puts_it() -> None:
    """Var = sum l^2 / (T^2 p) - mean^2 by enumeration: 0 at p ~ l, almost so with a uniform share; Var(l) at 1 / T."""

    def variance(p: Tensor) -> float:
        t, weight, *_ = sample_timesteps(p, p.cumsum(0) - p / 2)
        return ((p * (weight * PROFILE[t - 1]) ** 2).sum() - PROFILE.mean() ** 2).item()

    assert variance(even(T)) == pytest.approx(PROFILE.var(correction=0).item(), rel=1e-9)
    assert variance(warmed(PROFILE).probabilities()) < 1e-3 * variance(even(T))


def test_draws_are_uniform_until_every_timestep_has_its_losses() -> None:
    """Warm-up: one loss short at one timestep is not warm, however many the others have."""
    recent = warmed(PROFILE, REMEMBERED - 1).after(torch.arange(2, T + 1), PROFILE[1:])
    assert not recent.warm and torch.equal(recent.probabilities(), even(T))
    recent = recent.after(torch.tensor([1]), PROFILE[:1])
    assert recent.warm and recent.probabilities()[0] > 5 * recent.probabilities()[-1]


def test_only_the_last_losses_count_and_repeats_in_a_batch_all_do() -> None:
    recent = warmed(torch.full((3,), 100.0, dtype=torch.float64))
    recent = recent.after(torch.full((2 * REMEMBERED,), 2), torch.arange(2.0 * REMEMBERED))
    assert recent.table[1].tolist() == [*range(REMEMBERED, 2 * REMEMBERED)]
    assert (recent.table[[0, 2]] == 100).all()


def test_losses_that_are_not_finite_are_left_out() -> None:
    recent = warmed(PROFILE)
    after = recent.after(torch.tensor([3, 4, 5]), torch.tensor([math.nan, math.inf, 7.0]))
    assert after.warm and after.table[4, -1] == 7 and torch.equal(after.table[2:4], recent.table[2:4])


def test_losses_of_zero_everywhere_are_drawn_evenly() -> None:
    assert torch.equal(warmed(torch.zeros(T, dtype=torch.float64)).probabilities(), even(T))


def train(recent: RecentLosses, steps: range) -> tuple[RecentLosses, list[list[int]]]:
    """A loop as a trainer has it: randomness is a function of the step, the table the only state."""
    seen = []
    for step in steps:
        t, *_ = sample_timesteps(recent.probabilities(), stratified(32, generator(5, "t", step)))
        losses = PROFILE[t - 1] * (1 + 0.5 * torch.rand(32, generator=generator(5, "loss", step), dtype=torch.float64))
        recent = recent.after(t, losses)
        seen.append(t.tolist())
    return recent, seen


def test_a_restored_state_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, seen = train(RecentLosses.none(T), range(60))
    half, first = train(RecentLosses.none(T), range(7))  # still warming up
    save_file({"recent": half.table}, tmp_path / "state.safetensors")
    resumed, second = train(RecentLosses(load_file(tmp_path / "state.safetensors")["recent"]), range(7, 60))
    assert not half.warm and whole.warm
    assert first + second == seen and torch.equal(resumed.table, whole.table)


def test_a_step_before_is_left_as_it_was() -> None:
    recent = RecentLosses.none(T)
    recent.after(torch.tensor([1]), torch.tensor([2.0]))
    assert not recent.table.isfinite().any()
