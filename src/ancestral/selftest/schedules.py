"""Noise schedules against the numbers that their papers print, and against products taken in plain Python."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch

from ancestral.building import GRIDS
from ancestral.diffusion import schedules
from ancestral.diffusion.schedules import Schedule
from ancestral.oracles import double
from ancestral.selftest.checks import Check, apart, largest, relative

SHORT = schedules.from_betas((0.1, 0.2, 0.5))
"""alpha_bar = 0.9, 0.72, 0.36: at t = 3 the signal is 0.6 and the noise 0.8."""
TABLES: dict[str, Callable[[int], Schedule]] = {
    "linear": schedules.linear,
    "scaled-linear": schedules.scaled_linear,
    "cosine": schedules.cosine,
    "sigmoid": schedules.sigmoid,
    "log-snr": schedules.log_snr_linear,
    "zero-terminal": lambda T: schedules.zero_terminal_snr(schedules.linear(T)),
}
"""Every schedule that is a formula, at any T."""


def published(table: Callable[[int], Schedule], signal: float, device: torch.device) -> float:
    """Relative error of sqrt(alpha_bar_1000), printed in Lin et al. 2023, table 1."""
    return relative(table(1000).alpha_bar[-1].sqrt(), double(signal))


def products(T: int, root: int, start: float, end: float, table: Callable[[int], Schedule], _: torch.device) -> float:
    """alpha_bar against the sum of log(1 - beta), beta ** (1 / root) running evenly between its ends."""
    even = (start ** (1 / root) + (end ** (1 / root) - start ** (1 / root)) * i / (T - 1) for i in range(T))
    logs = itertools.accumulate(math.log1p(-(each**root) * 1000 / T) for each in even)
    return relative(table(T).alpha_bar[1:].log(), double(*logs))


def half_angle(_: torch.device) -> float:
    """Cosine, by cos^2 x = (1 + cos 2x) / 2; the last beta is clipped and left out."""
    angle = (torch.arange(1000).double() / 1000 + 0.008) / 1.008 * math.pi
    return apart(schedules.cosine().alpha_bar[:-1], (1 + angle.cos()) / (1 + angle[0].cos()))


def clipped_betas(_: torch.device) -> float:
    """How many betas of cosine beside the one are 0.999."""
    return abs(float((schedules.cosine().betas > 0.9989).sum()) - 1)


def tangent(_: torch.device) -> float:
    """Sigmoid, by tanh: alpha_bar = (1 + tanh(3/2 - 3 u) / tanh(3/2)) / 2, but for the clipped last beta."""
    u = torch.arange(1000).double() / 1000
    return apart(schedules.sigmoid().alpha_bar[:-1], (1 + torch.tanh(1.5 - 3 * u) / math.tanh(1.5)) / 2)


def odds(_: torch.device) -> float:
    """Log-SNR: alpha_bar / (1 - alpha_bar) falls from e^13.3 to e^-5 by one factor."""
    alpha_bar = schedules.log_snr_linear().alpha_bar[1:]
    even = 13.3 - 18.3 * torch.arange(1000).double() / 999
    return apart((alpha_bar / (1 - alpha_bar)).log(), even)


def own_betas(_: torch.device) -> float:
    """Betas 0.1, 0.2, 0.5."""
    return apart(SHORT.alpha_bar, double(1, 0.9, 0.72, 0.36))


def no_signal_left(_: torch.device) -> float:
    """Zero terminal SNR: alpha_1 stays, alpha_T is 0, and the steps between keep their proportions."""
    before, after = (t.alpha_bar[1:].sqrt() for t in (schedules.linear(), TABLES["zero-terminal"](1000)))
    steps = before.diff() / before.diff().sum() - after.diff() / after.diff().sum()
    return largest([abs(float(after[-1])), apart(after[0], before[0]), apart(steps, 0.0)])


def rising_steps(table: Callable[[int], Schedule], _: torch.device) -> float:
    """How many steps do not fall, at four T, and how far alpha_bar_0 is from 1."""
    tables = [table(T).alpha_bar for T in (10, 100, 1000, 4000)]
    return largest(float((bar.diff() >= 0).sum()) + abs(float(bar[0]) - 1) for bar in tables)


def log_of_odds(_: torch.device) -> float:
    """log-SNR of 0.9, 0.72, 0.36: log 9, log (18 / 7), log (9 / 16)."""
    return apart(SHORT.log_snr(torch.tensor([1, 2, 3])), double(9, 18 / 7, 9 / 16).log())


def step_variances(_: torch.device) -> float:
    """beta(3, 1) = 1 - 0.36 / 0.9 = 0.6 and beta_tilde(3, 1) = 0.1 / 0.64 * 0.6, by hand."""
    t, s = torch.tensor(3), torch.tensor(1)
    found = [SHORT.beta(t, s), SHORT.beta_tilde(t, s), *SHORT.betas]
    return apart(torch.stack(found), double(0.6, 0.09375, 0.1, 0.2, 0.5))


def even_steps(_: torch.device) -> float:
    """The trailing grid from T to 0: at T steps every t, else within half a timestep of even."""
    schedule = schedules.linear()
    whole = apart(schedule.trailing(1000), torch.arange(1000, -1, -1))
    rounded = (apart(schedule.trailing(n), 1000 - torch.arange(n + 1) * 1000 / n) for n in (1, 7, 10, 300))
    return largest([whole, *((0.0 if off <= 0.5 + 1e-3 else off) for off in rounded)])


def even_levels(_: torch.device) -> float:
    """The log-SNR grid T = t_0, ..., 1, 0: beyond half a step of the table from even, in log-SNR."""
    beyond = []
    for table in (schedules.log_snr_linear(), schedules.cosine(), schedules.linear()):
        grid, levels = table.uniform_log_snr(8), torch.logit(table.alpha_bar[1:])
        wanted = torch.linspace(float(levels[-1]), float(levels[0]), 8, dtype=torch.float64)
        nearest = (levels[:, None] - wanted).abs().min(0).values
        beyond += [apart((levels[grid[:-1] - 1] - wanted).abs(), nearest), abs(int(grid[0]) - 1000), int(grid[-1])]
    return largest(beyond)


def even_roots(_: torch.device) -> float:
    """The Karras grid: beyond the timestep nearest in log-SNR to a (1/7)th root of sigma / alpha that runs evenly."""
    beyond = []
    for table in (schedules.log_snr_linear(), schedules.linear(), schedules.scaled_linear()):
        roots = (1 / table.alpha_bar[1:] - 1) ** (1 / 14)
        wanted = [float(roots[-1]) + (float(roots[0]) - float(roots[-1])) * i / 7 for i in range(8)]
        off = [(14 * (roots / each).log()).abs() for each in wanted]
        places = table.karras(8)[:-1] - 1
        beyond += [float(each[place] - each.min()) for each, place in zip(off, places, strict=True)]
    return largest(beyond)


def one_power(_: torch.device) -> float:
    """The Karras grid of an enormous power, which is a logarithm, against the log-SNR grid; timesteps apart."""
    table = schedules.cosine()
    return apart(table.karras(9, 1e9), table.uniform_log_snr(9))


def middle_levels(_: torch.device) -> float:
    """The middle grid in a table even in log-SNR: log(noise / signal) falls evenly from that of 80 to that of 0.03."""
    table = schedules.log_snr_linear(40_001, 20.0, -20.0)
    kept = table.alpha_bar[table.middle(7)[1:-1]]
    found = 0.5 * ((1 - kept) / kept).log()
    return apart(found, math.log(80) + (math.log(0.03) - math.log(80)) * torch.arange(6, dtype=torch.float64) / 5)


def even_squares(_: torch.device) -> float:
    """The quadratic grid of 1000 timesteps in 8: 1000 (i / 8)^2, by hand and rounded; timesteps apart."""
    return apart(schedules.cosine(1000).quadratic(8), torch.tensor([1000, 766, 562, 391, 250, 141, 62, 16, 0]))


def falling(grid: str, _: torch.device) -> float:
    """How many ends and steps of a grid are wrong: from T to 0, falling, at every length up to that of the table."""
    wrong = []
    for table in (TABLES["zero-terminal"](60), schedules.cosine(60), schedules.log_snr_linear(60)):
        for steps in range(1, 61):
            times = GRIDS[grid](table, steps)
            wrong += [
                abs(int(times[0]) - 60),
                int(times[-1]),
                int((times.diff() >= 0).sum()),
                abs(len(times) - 1 - steps),
            ]
    return largest(wrong)


CHECKS = (
    Check("linear: sqrt(alpha_bar_1000) = 0.0063529, printed", 1e-4, partial(published, schedules.linear, 0.0063529)),
    Check("linear: alpha_bar_1000 = 4.0358e-5, printed", 2e-5, lambda _: relative(
        schedules.linear().alpha_bar[-1], double(4.0358e-5))),
    Check("scaled-linear: sqrt(alpha_bar_1000) = 0.068265, printed", 1e-4, partial(
        published, schedules.scaled_linear, 0.068265)),
    Check("cosine: sqrt(alpha_bar_1000) = 4.9282e-5, printed", 1e-4, partial(published, schedules.cosine, 4.92822e-5)),
    Check("linear: log alpha_bar by sums, T = 1000", 1e-12, partial(products, 1000, 1, 1e-4, 0.02, schedules.linear)),
    Check("linear: log alpha_bar by sums, T = 100", 1e-12, partial(products, 100, 1, 1e-4, 0.02, schedules.linear)),
    Check("scaled-linear: log alpha_bar by sums, T = 1000", 1e-12, partial(
        products, 1000, 2, 8.5e-4, 0.012, schedules.scaled_linear)),
    Check("cosine: alpha_bar by the half angle", 1e-13, half_angle),
    Check("cosine: exactly one beta clipped", 0, clipped_betas),
    Check("sigmoid: alpha_bar by tanh", 1e-13, tangent),
    Check("log-snr: odds fall evenly in the log", 1e-9, odds),
    Check("own betas: 0.1, 0.2, 0.5", 1e-15, own_betas),
    Check("zero-terminal: ends and proportions", 1e-14, no_signal_left),
    *(Check(f"{name}: falls at every step, T = 10 to 4000", 0, partial(rising_steps, TABLES[name])) for name in TABLES),
    Check("log-SNR of 0.9, 0.72, 0.36", 1e-14, log_of_odds),
    Check("beta and beta_tilde of a stride, by hand", 1e-15, step_variances),
    Check("trailing grid: even, T first, 0 last", 0, even_steps),
    Check("log-SNR grid: nearest to even, T first, 0 last", 1e-9, even_levels),
    Check("karras grid: nearest to even in its root", 1e-9, even_roots),
    Check("karras grid, power 1e9: that of log-SNR", 0, one_power),
    Check("middle grid: even from noise 80 to 0.03 of the signal", 5e-4, middle_levels),
    Check("quadratic grid: squares by hand", 0, even_squares),
    *(Check(f"{grid} grid: from T to 0, falling, 1 to T steps", 0, partial(falling, grid)) for grid in GRIDS),
)  # fmt: skip
