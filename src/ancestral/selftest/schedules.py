"""Noise schedules against the numbers that their papers print, and against products taken in plain Python."""

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ancestral.diffusion import schedules
from ancestral.diffusion.schedules import Schedule
from ancestral.oracles import double
from ancestral.pipeline.building import GRIDS
from ancestral.selftest.checks import Checks

CHECKS = Checks()

SHORT = schedules.from_betas((0.1, 0.2, 0.5))
"""alpha_bar = 0.9, 0.72, 0.36: at t = 3 the signal is 0.6 and the noise 0.8."""
TABLES: dict[str, Callable[[int], Schedule]] = {
    "linear": schedules.linear,
    "scaled-linear": schedules.scaled_linear,
    "cosine": schedules.cosine,
    "sigmoid": schedules.sigmoid,
    "log-snr": schedules.log_snr_linear,
    "rectified": schedules.rectified,
    "zero-terminal": lambda T: schedules.zero_terminal_snr(schedules.linear(T)),
}
U = torch.arange(1000).double() / 1000


@CHECKS("linear: alpha_bar_1000 = 4.0358e-5, printed", 2e-5, "linear", 4.0358e-5)
@CHECKS("scaled-linear: sqrt(alpha_bar_1000) = 0.068265, printed", 2e-4, "scaled-linear", 0.068265**2)
@CHECKS("cosine: sqrt(alpha_bar_1000) = 4.9282e-5, printed", 2e-4, "cosine", 4.92822e-5**2)
def published(name: str, printed: float, _: torch.device) -> Tensor:
    """Relative to Lin et al. 2023, table 1."""
    return TABLES[name](1000).alpha_bar[-1] / printed - 1


@CHECKS("linear: log alpha_bar by sums, T = 1000", 1e-12, "linear", 1000, 1, 1e-4, 0.02)
@CHECKS("linear: log alpha_bar by sums, T = 100", 1e-12, "linear", 100, 1, 1e-4, 0.02)
@CHECKS("scaled-linear: log alpha_bar by sums, T = 1000", 1e-12, "scaled-linear", 1000, 2, 8.5e-4, 0.012)
def products(name: str, T: int, root: int, start: float, end: float, _: torch.device) -> Tensor:
    """alpha_bar against the sum of log(1 - beta), beta ** (1 / root) running evenly between its ends; relative."""
    even = (start ** (1 / root) + (end ** (1 / root) - start ** (1 / root)) * i / (T - 1) for i in range(T))
    logs = itertools.accumulate(math.log1p(-(each**root) * 1000 / T) for each in even)
    return TABLES[name](T).alpha_bar[1:].log() / double(*logs) - 1


@CHECKS("cosine: by the half angle, one beta clipped", 1e-13)
def half_angle(_: torch.device) -> tuple[Tensor, Tensor]:
    """By cos^2 x = (1 + cos 2x) / 2, but for the clipped last beta."""
    table, angle = schedules.cosine(), (U + 0.008) / 1.008 * math.pi
    return table.alpha_bar[:-1] - (1 + angle.cos()) / (1 + angle[0].cos()), (table.betas > 0.9989).sum() - 1


@CHECKS("sigmoid: alpha_bar by tanh", 1e-13)
def tangent(_: torch.device) -> Tensor:
    """But for the clipped last beta."""
    return schedules.sigmoid().alpha_bar[:-1] - (1 + torch.tanh(1.5 - 3 * U) / math.tanh(1.5)) / 2


@CHECKS("log-snr: odds fall evenly in the log", 1e-9)
def odds(_: torch.device) -> Tensor:
    alpha_bar = schedules.log_snr_linear().alpha_bar[1:]
    return (alpha_bar / (1 - alpha_bar)).log() - (13.3 - 18.3 * torch.arange(1000).double() / 999)


@CHECKS("own betas 0.1, 0.2, 0.5: levels and variances by hand", 1e-14)
def own_betas(_: torch.device) -> Iterator[Tensor]:
    """A stride has beta(3, 1) = 1 - 0.36 / 0.9 = 0.6 and beta_tilde(3, 1) = 0.1 / 0.64 * 0.6."""
    t, s = torch.tensor([3, 1])
    yield from (SHORT.betas - double(0.1, 0.2, 0.5), SHORT.alpha_bar - double(1, 0.9, 0.72, 0.36))
    yield SHORT.log_snr(torch.tensor([1, 2, 3])) - double(9, 18 / 7, 9 / 16).log()
    yield from (SHORT.beta(t, s) - 0.6, SHORT.beta_tilde(t, s) - 0.09375)


@CHECKS("zero-terminal: ends and proportions", 1e-14)
def no_signal_left(_: torch.device) -> list[Tensor]:
    """alpha_1 stays, alpha_T is 0, and the steps between keep their proportions."""
    before, after = (t.alpha_bar[1:].sqrt() for t in (schedules.linear(), TABLES["zero-terminal"](1000)))
    return [after[-1], after[0] - before[0], before.diff() / before.diff().sum() - after.diff() / after.diff().sum()]


@CHECKS("{name}: falls at every step, T = 10 to 4000", 0, name=TABLES)
def rising_steps(name: str, _: torch.device) -> Iterator[Tensor]:
    for T in (10, 100, 1000, 4000):
        alpha_bar = TABLES[name](T).alpha_bar
        yield (alpha_bar.diff() >= 0).sum() + (alpha_bar[0] - 1).abs()


@CHECKS("trailing grid: even, T first, 0 last", 0)
def even_steps(_: torch.device) -> Iterator[Tensor]:
    """Within half a timestep of even."""
    for n in (1, 7, 10, 300, 1000):
        off = (schedules.linear().trailing(n) - (1000 - torch.arange(n + 1) * 1000 / n)).abs()
        yield off * (off > 0.5 + 1e-3)


@CHECKS("log-SNR grid: nearest to even, T first, 0 last", 1e-9)
def even_levels(_: torch.device) -> Iterator[Tensor]:
    """How much farther in log-SNR each timestep is from an even grid than the nearest of the table."""
    for table in (schedules.log_snr_linear(), schedules.cosine(), schedules.linear()):
        grid, levels = table.uniform_log_snr(8), torch.logit(table.alpha_bar[1:])
        wanted = torch.linspace(float(levels[-1]), float(levels[0]), 8, dtype=torch.float64)
        nearest = (levels[:, None] - wanted).abs().min(0).values
        yield from ((levels[grid[:-1] - 1] - wanted).abs() - nearest, grid[0] - 1000, grid[-1])


@CHECKS("karras grid: nearest to even in its root", 1e-9)
def even_roots(_: torch.device) -> Iterator[Tensor]:
    """The same to a (1/7)th root of sigma / alpha that runs evenly; a root of an enormous power is a logarithm."""
    for table in (schedules.log_snr_linear(), schedules.linear(), schedules.scaled_linear()):
        roots = (1 / table.alpha_bar[1:] - 1) ** (1 / 14)
        for i, place in enumerate(table.karras(8)[:-1] - 1):
            off = (14 * (roots / (roots[-1] + (roots[0] - roots[-1]) * i / 7)).log()).abs()
            yield off[place] - off.min()
    yield schedules.cosine().karras(9, 1e9) - schedules.cosine().uniform_log_snr(9)


@CHECKS("quadratic grid: squares by hand", 0)
def even_squares(_: torch.device) -> Tensor:
    """1000 (i / 8)^2, rounded."""
    return schedules.cosine(1000).quadratic(8) - torch.tensor([1000, 766, 562, 391, 250, 141, 62, 16, 0])


@CHECKS("middle grid: even from noise 80 to 0.03 of the signal", 5e-4)
def middle_levels(_: torch.device) -> Tensor:
    table = schedules.log_snr_linear(40_001, 20.0, -20.0)
    kept = table.alpha_bar[table.middle(7)[1:-1]]
    even = math.log(80) + (math.log(0.03) - math.log(80)) * torch.arange(6, dtype=torch.float64) / 5
    return 0.5 * ((1 - kept) / kept).log() - even


@CHECKS("{grid} grid: from T to 0, falling, 1 to T steps", 0, grid=GRIDS)
def falling(grid: str, _: torch.device) -> Iterator[Tensor | int]:
    for table in (TABLES["zero-terminal"](60), schedules.cosine(60), schedules.log_snr_linear(60)):
        for steps in range(1, 61):
            times = GRIDS[grid](table, steps)
            yield from (times[0] - 60, times[-1], (times.diff() >= 0).sum(), len(times) - 1 - steps)
