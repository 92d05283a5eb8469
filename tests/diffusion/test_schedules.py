"""Tables against published figures, and the traps of schedules (T changed, float32, strides, terminal SNR)."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ancestral.diffusion import schedules
from ancestral.diffusion.schedules import Schedule

ALL = {
    "linear": schedules.linear,
    "scaled-linear": schedules.scaled_linear,
    "cosine": schedules.cosine,
    "sigmoid": schedules.sigmoid,
    "log-snr": schedules.log_snr_linear,
}
GRIDS = (Schedule.trailing, Schedule.uniform_log_snr, Schedule.middle, Schedule.karras, Schedule.quadratic)


def test_linear_ends_at_the_published_signal() -> None:
    """alpha_bar_1000 = 4.0358e-5: a float32 product would miss the last digits."""
    table = schedules.linear().alpha_bar
    assert table.dtype == torch.float64
    assert float(table[1000]) == pytest.approx(4.0358e-5, rel=1e-4)
    assert schedules.linear().betas[[0, -1]].tolist() == pytest.approx([1e-4, 0.02], rel=1e-9)


def test_cosine_ends_at_the_published_signal_with_one_beta_clipped() -> None:
    cosine = schedules.cosine()
    assert float(cosine.alpha_bar[1000]) == pytest.approx(2.43e-9, rel=2e-3)
    assert int((cosine.betas > 0.9989).sum()) == 1


@pytest.mark.parametrize("name", ["linear", "scaled-linear"])
def test_fewer_timesteps_keep_the_end(name: str) -> None:
    """Trap: betas not rescaled when T changes (T = 100 would leave alpha_bar_T = 0.36)."""
    full, short = ALL[name](1000), ALL[name](100)
    assert float(short.alpha_bar[-1].log() / full.alpha_bar[-1].log()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("num_timesteps", [2, 10, 1000, 4000])
def test_every_table_falls_from_one(name: str, num_timesteps: int) -> None:
    schedule = ALL[name](num_timesteps)
    assert schedule.num_timesteps == num_timesteps
    assert schedule.alpha_bar[0] == 1
    assert bool((schedule.alpha_bar.diff() < 0).all())
    assert bool((schedule.betas > 0).all()) and bool((schedule.betas < 1).all())


def test_log_snr_schedule_is_linear_between_its_ends() -> None:
    levels = schedules.log_snr_linear(50, 13.3, -5.0).log_snr(torch.arange(1, 51))
    assert levels[0] == pytest.approx(13.3) and levels[-1] == pytest.approx(-5)
    assert torch.allclose(levels.diff(), levels.diff()[0], rtol=1e-6)


def test_sigmoid_is_symmetric_about_its_middle() -> None:
    table = schedules.sigmoid(1000).alpha_bar
    assert torch.allclose(table[1:500] + table[501:1000].flip(0), torch.ones(499, dtype=torch.float64), atol=1e-9)


def test_cosine_keeps_structure_longer_than_linear() -> None:
    half = torch.tensor(500)
    assert schedules.cosine().alpha_bar_at(half) > 4 * schedules.linear().alpha_bar_at(half)


def test_zero_terminal_snr_removes_the_last_signal_and_keeps_the_first() -> None:
    before = schedules.scaled_linear()
    after = schedules.zero_terminal_snr(before)
    assert after.alpha_bar[-1] == 0 and after.log_snr(torch.tensor(1000)) == -math.inf
    assert float(after.alpha_bar[1]) == pytest.approx(float(before.alpha_bar[1]), rel=1e-12)
    assert after.beta(torch.tensor(1000), torch.tensor(999)) == 1


def test_own_betas_come_back() -> None:
    betas = torch.tensor([0.1, 0.2, 0.05], dtype=torch.float64)
    assert torch.allclose(schedules.from_betas(betas.tolist()).betas, betas, rtol=1e-12)


@pytest.mark.parametrize("betas", [[], [0.1, 0.0], [1.2], [-0.1], [float("nan")]])
def test_bad_betas_are_refused(betas: list[float]) -> None:
    with pytest.raises(ValueError, match="each in"):
        schedules.from_betas(betas)


@pytest.mark.parametrize("table", [[1.0], [0.9, 0.5], [1.0, 0.5, 0.5], [1.0, 0.5, -0.1]])
def test_a_table_that_is_none_is_refused(table: list[float]) -> None:
    with pytest.raises(ValueError, match="fall strictly"):
        Schedule(torch.tensor(table, dtype=torch.float64))


@given(st.sampled_from([*ALL]), st.integers(2, 200), st.data())
def test_every_grid_falls_from_T_to_0_and_end_at_every_timestep(
    name: str, num_timesteps: int, data: st.DataObject
) -> None:
    """Trap: a first step that never visits T, and S = T that indexes T + 1 or repeats a timestep."""
    schedule = ALL[name](num_timesteps)
    steps = data.draw(st.integers(1, num_timesteps))
    for make in GRIDS:
        grid = make(schedule, steps)
        assert len(grid) == steps + 1 and grid[0] == num_timesteps and grid[-1] == 0
        assert bool((grid.diff() < 0).all())
    for make in GRIDS:
        grid = make(schedule, num_timesteps)
        assert grid.tolist() == [*range(num_timesteps, -1, -1)]


def test_log_snr_grid_is_even_in_log_snr() -> None:
    schedule = schedules.linear(1000)
    levels = schedule.log_snr(schedule.uniform_log_snr(20)[:-1])
    assert float(levels.diff().std() / levels.diff().mean()) < 0.2
    assert schedules.zero_terminal_snr(schedule).uniform_log_snr(20)[0] == 1000


@pytest.mark.parametrize("power", [1.0, 7.0])
def test_karras_grid_is_even_in_a_root_of_sigma(power: float) -> None:
    schedule = schedules.log_snr_linear(20_000, 12.0, -9.0)
    kept = schedule.alpha_bar_at(schedule.karras(18, power)[:-1])
    root = ((1 - kept) / kept) ** (0.5 / power)
    # The table is coarse where the root is large and hardly changes: a fraction of a percent of its reach.
    assert torch.allclose(root.diff(), root.diff().mean(), atol=1e-3 * float(root[0] - root[-1]))
    assert schedules.zero_terminal_snr(schedules.linear()).karras(18)[0] == 1000


def test_karras_grid_of_a_published_schedule() -> None:
    """Karras et al. 2022, eq. 5, with sigma from 0.002 to 80 in 18 steps begins 80, 57.59, 40.79, 28.37."""
    reach = [float(-2 * torch.tensor(sigma).double().log()) for sigma in (0.002, 80.0)]
    schedule = schedules.log_snr_linear(100_000, *reach)
    kept = schedule.alpha_bar_at(schedule.karras(18)[:4])
    assert ((1 - kept) / kept).sqrt().tolist() == pytest.approx([80, 57.586, 40.786, 28.374], rel=2e-4)


def test_middle_grid_is_even_in_log_snr_from_noise_80_to_3_percent() -> None:
    schedule = schedules.log_snr_linear(50_000, 15.0, -25.0)
    times = schedule.middle(9)
    kept = schedule.alpha_bar_at(times[1:-1])
    noise = ((1 - kept) / kept).sqrt()
    assert [float(noise[0]), float(noise[-1])] == pytest.approx([80, 0.03], rel=1e-3)
    assert torch.allclose(noise.log().diff(), noise.log().diff().mean(), atol=1e-3)
    within = schedules.log_snr_linear(1000, 5.0, -5.0)
    assert torch.equal(within.middle(20), within.uniform_log_snr(20)), "a table that ends before is used to its ends"


def test_quadratic_grid_is_even_in_the_root_of_t() -> None:
    roots = schedules.linear(10_000).quadratic(20).double().sqrt()
    assert torch.allclose(roots.diff(), torch.tensor(-5.0).double(), atol=1e-2)


@given(st.sampled_from([*ALL]), st.floats(-12, 14))
def test_the_nearest_timestep_is_the_nearest_of_all(name: str, log_snr: float) -> None:
    schedule = ALL[name](60)
    wanted = torch.tensor(log_snr, dtype=torch.float64)
    away = (schedule.log_snr(torch.arange(1, 61)) - wanted).abs()
    found = schedule.nearest(wanted)
    assert found.shape == () and float(away[found - 1]) == float(away.min())
    assert torch.equal(schedule.nearest(schedule.log_snr(torch.arange(1, 61))), torch.arange(1, 61))


@pytest.mark.parametrize("steps", [0, 11])
@pytest.mark.parametrize("make", GRIDS)
def test_steps_outside_the_table_are_refused(make: Callable[[Schedule, int], Tensor], steps: int) -> None:
    with pytest.raises(ValueError, match="expected 1 <= steps <= T = 10"):
        make(schedules.linear(10), steps)


@given(st.integers(1, 998), st.data())
def test_variances_of_a_stride_are_those_of_the_same_chain(s: int, data: st.DataObject) -> None:
    """Trap: a strided chain that uses beta[t] instead of recomputing it."""
    schedule = schedules.cosine()
    t = data.draw(st.integers(s + 1, 1000))
    product = torch.prod(1 - schedule.betas[s:t])
    assert float(1 - schedule.beta(torch.tensor(t), torch.tensor(s))) == pytest.approx(float(product), rel=1e-9)
