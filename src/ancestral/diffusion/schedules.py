"""Noise schedules: how much signal is left at each timestep.

A schedule is the table alpha_bar_0 = 1 > alpha_bar_1 > ... > alpha_bar_T >= 0, float64, where

    x_t = alpha_t x_0 + sigma_t eps,   alpha_t = sqrt(alpha_bar_t),   sigma_t = sqrt(1 - alpha_bar_t)          (1)
    log-SNR_t = log(alpha_bar_t / (1 - alpha_bar_t))                                            (2)

and beta belongs to a step, not to a time: from s to t, for any s < t,

    beta(t, s)       = 1 - alpha_bar_t / alpha_bar_s                     variance of q(x_t | x_s)        (3)
    beta_tilde(t, s) = (1 - alpha_bar_s) / (1 - alpha_bar_t) beta(t, s)  variance of q(x_s | x_t, x_0)   (4)

With s = t - 1 these are the betas of Ho et al. 2020. A strided chain asks for other pairs of the same table.
A formula tabulated at another T keeps its ends: betas given for T = 1000 are multiplied by 1000 / T.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ancestral.diffusion.level import Level
from ancestral.tensors import Data, Timesteps, broadcast_like

MAX_BETA = 0.999  # no single step removes more than this share of the signal's power (Nichol and Dhariwal 2021)


@dataclass(frozen=True)
class Schedule:
    """The table alpha_bar, (T + 1,) float64, falling from alpha_bar[0] = 1."""

    alpha_bar: Float64[Tensor, "T_plus_1"]

    def __post_init__(self) -> None:
        table = self.alpha_bar
        if len(table) < 2 or table[0] != 1 or table[-1] < 0 or not bool((table.diff() < 0).all()):
            raise ValueError("expected alpha_bar to fall strictly from alpha_bar[0] = 1 to alpha_bar[T] >= 0, T >= 1")

    @property
    def num_timesteps(self) -> int:
        return len(self.alpha_bar) - 1

    def alpha_bar_at(self, t: Timesteps) -> Float64[Tensor, "..."]:
        """alpha_bar_t, float64, shaped as t and on its device."""
        return _on(t.device, self.alpha_bar)[t]

    def level(self, t: Timesteps) -> Level:
        """The noise level (1) and (2) of t, on its device."""
        alpha_bar = self.alpha_bar_at(t)
        return Level(alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), torch.logit(alpha_bar), t)

    def level_between(self, u: Float64[Tensor, "..."]) -> Level:
        """The noise level at the continuous time u in [0, 1], whose log-SNR is linear in u from t = 1 to t = T."""
        clean, noisy = self.ends_of_log_snr
        return Level.of_log_snr(torch.lerp(clean.to(u.device), noisy.to(u.device), u))

    def alpha(self, t: Timesteps, like: Data) -> Float[Tensor, "..."]:
        """alpha_t of (1), broadcast over `like`."""
        return broadcast_like(self.level(t).alpha, like)

    def sigma(self, t: Timesteps, like: Data) -> Float[Tensor, "..."]:
        """sigma_t of (1), broadcast over `like`."""
        return broadcast_like(self.level(t).sigma, like)

    def log_snr(self, t: Timesteps) -> Float64[Tensor, "..."]:
        """Log-SNR (2), float64, shaped as t: +inf at t = 0, -inf where no signal is left."""
        return self.level(t).log_snr

    @property
    def ends_of_log_snr(self) -> tuple[Float64[Tensor, ""], Float64[Tensor, ""]]:
        """Log-SNR at t = 1 and at t = T."""
        return self.log_snr(torch.tensor(1)), self.log_snr(torch.tensor(self.num_timesteps))

    def beta(self, t: Timesteps, s: Timesteps) -> Float64[Tensor, "..."]:
        """Variance (3) of q(x_t | x_s), 0 <= s < t <= T."""
        return 1 - self.alpha_bar_at(t) / self.alpha_bar_at(s)

    def beta_tilde(self, t: Timesteps, s: Timesteps) -> Float64[Tensor, "..."]:
        """Variance (4) of q(x_s | x_t, x_0), 0 <= s < t <= T; 0 at s = 0."""
        return (1 - self.alpha_bar_at(s)) / (1 - self.alpha_bar_at(t)) * self.beta(t, s)

    @property
    def betas(self) -> Float64[Tensor, "T"]:
        """beta(t, t - 1) for t = 1..T."""
        return 1 - self.alpha_bar[1:] / self.alpha_bar[:-1]

    def trailing(self, steps: int) -> Timesteps:
        """Timesteps T = t_0 > ... > t_steps = 0, evenly spaced: (steps + 1,). Every t at steps = T."""
        self._check(steps)
        return torch.linspace(self.num_timesteps, 0, steps + 1, dtype=torch.float64).round().long()

    def uniform_log_snr(self, steps: int) -> Timesteps:
        """Timesteps T = t_0 > ... > t_{steps-1} = 1 > 0, as even in log-SNR as the table allows: (steps + 1,)."""
        self._check(steps)
        first, last = self.finite_ends()
        return self._falling(self.nearest(torch.lerp(first, last, _evenly(steps))))

    def karras(self, steps: int, power: float = 7.0) -> Timesteps:
        """Timesteps T = t_0 > ... > t_{steps-1} = 1 > 0, even in (sigma_t / alpha_t)^(1 / power): (steps + 1,).

        The grid of Karras et al. 2022, eq. 5, as near as the table allows. A large `power` makes it even in log-SNR, a
        small one takes more of the steps where noise is high.
        """
        self._check(steps)
        first, last = (torch.exp(-0.5 * each / power) for each in self.finite_ends())
        return self._falling(self.nearest(-2 * power * torch.lerp(first, last, _evenly(steps)).log()))

    def middle(self, steps: int, most_noise: float = 80.0, least_noise: float = 0.03) -> Timesteps:
        """Timesteps T = t_0 > ... > t_steps = 0, even in log-SNR where images take shape: (steps + 1,).

        The others lie between the noise-to-signal ratios `most_noise` and `least_noise`, as far as the table reaches.
        Above, x_t is noise to the eye and to the network; below, to neither: steps there are lost where there are few.
        """
        self._check(steps)
        first, last = self.finite_ends()
        start, end = first.clamp(min=-2 * math.log(most_noise)), last.clamp(max=-2 * math.log(least_noise))
        before = torch.tensor([self.num_timesteps] * int(start > first and steps > 1), dtype=torch.int64)
        inner = self.nearest(torch.lerp(start, end, _evenly(steps - len(before))))
        return self._falling(torch.cat([before, inner]))

    def quadratic(self, steps: int) -> Timesteps:
        """Timesteps T = t_0 > ... > t_steps = 0, even in sqrt(t) (Song et al. 2021, appendix D.2): (steps + 1,)."""
        self._check(steps)
        share = 1 - torch.arange(steps, dtype=torch.float64) / steps
        return self._falling((self.num_timesteps * share**2).round().long())

    def nearest(self, log_snr: Float64[Tensor, "..."]) -> Timesteps:
        """The timestep in 1..T whose log-SNR is nearest, shaped as `log_snr`, on the table's device."""
        return self.num_timesteps - torch.bucketize(log_snr.to(self.borders.device), self.borders)

    @property
    def borders(self) -> Float64[Tensor, "T_minus_1"]:
        """Log-SNR at which `nearest` passes from t + 1 to t, for t = T - 1, ..., 1."""
        return _rising_levels(self.alpha_bar)[1]

    def finite_ends(self) -> tuple[Float64[Tensor, ""], Float64[Tensor, ""]]:
        """Log-SNR at T, or at T - 1 where none is left at T, and at 1."""
        levels, _ = _rising_levels(self.alpha_bar)
        return levels[0], levels[-1]

    def _falling(self, wanted: Timesteps) -> Timesteps:
        """`wanted`, (steps,), as a grid from T to 0, (steps + 1,), its neighbours at least one timestep apart."""
        room = torch.arange(len(wanted))
        falling = torch.cummin(wanted + room, dim=0).values - room
        falling = torch.maximum(falling, len(wanted) - room)
        falling[0] = self.num_timesteps
        return torch.cat([falling, torch.zeros(1, dtype=torch.int64)])

    def _check(self, steps: int) -> None:
        if not 1 <= steps <= self.num_timesteps:
            raise ValueError(f"expected 1 <= steps <= T = {self.num_timesteps}, got {steps}")


def _evenly(steps: int) -> Float64[Tensor, "steps"]:
    return torch.linspace(0, 1, steps, dtype=torch.float64)


@lru_cache(maxsize=8)
def _rising_levels(table: Tensor) -> tuple[Tensor, Tensor]:
    """Log-SNR at T, ..., 1, at T, where it is -inf, that of T - 1; and halfway between neighbours: made once."""
    levels = torch.logit(table[1:]).flip(0)
    levels[0] = torch.where(levels[0].isinf(), levels[min(1, len(levels) - 1)], levels[0])
    return levels, 0.5 * (levels[1:] + levels[:-1])


@lru_cache(maxsize=8)
def _on(device: torch.device, table: Tensor) -> Tensor:
    """The table where the timesteps are, copied there once."""
    return table.to(device)


def from_betas(betas: Sequence[float] | Float64[Tensor, "T"]) -> Schedule:
    """The schedule of the user's own beta_1..beta_T, each in (0, 1); the last may be 1 (no signal left)."""
    table = torch.as_tensor(betas, dtype=torch.float64)
    if table.ndim != 1 or not len(table) or not bool(((table > 0) & (table <= 1)).all()):
        raise ValueError("expected at least one beta, each in (0, 1)")
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - table, dim=0)])
    stays = (alpha_bar.diff() == 0).nonzero().flatten().tolist()
    if stays and alpha_bar[stays[0]] < torch.finfo(torch.float64).tiny:
        raise ValueError(f"expected betas of which only the last leaves no signal, got none left at t = {stays[0]}")
    if stays:
        least = float(table[stays[0]])  # too small for anything of it to be left in 1 - beta
        raise ValueError(f"expected betas of at least 1.2e-16, got {least:g} at t = {stays[0] + 1}")
    return Schedule(alpha_bar)


def bound_of(schedule: Callable[[float], object], good: float, bad: float) -> str | None:
    """The number next to `bad`, from `good` on, at which `schedule` raises no ValueError; None: it does at `good`."""

    def holds(value: float) -> bool:
        try:
            schedule(value)
        except ValueError:
            return False
        return True

    if not holds(good):
        return None
    for _ in range(60):
        middle = 0.5 * (good + bad)
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return next(text for digits in range(3, 18) if holds(float(text := f"{good:.{digits}g}")))


def linear(num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """Betas linear in t (Ho et al. 2020); the ends are those of T = 1000, rescaled by 1000 / T, at most MAX_BETA."""
    betas = torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64)
    return from_betas((betas * 1000 / num_timesteps).clamp(max=MAX_BETA))


def scaled_linear(num_timesteps: int = 1000, beta_start: float = 8.5e-4, beta_end: float = 0.012) -> Schedule:
    """Betas whose roots are linear in t (Rombach et al. 2022); rescaled as in `linear`."""
    roots = torch.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=torch.float64)
    return from_betas((roots**2 * 1000 / num_timesteps).clamp(max=MAX_BETA))


def cosine(num_timesteps: int = 1000, offset: float = 0.008) -> Schedule:
    """alpha_bar = cos^2((t / T + offset) / (1 + offset) pi / 2), over its value at 0 (Nichol and Dhariwal 2021)."""
    return _from_alpha_bar(lambda u: torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2, num_timesteps)


def sigmoid(num_timesteps: int = 1000, start: float = -3.0, end: float = 3.0) -> Schedule:
    """alpha_bar = a sigmoid that falls from `start` to `end`, stretched to 1..0 (Jabri et al. 2022)."""
    floor = torch.sigmoid(torch.tensor(-end, dtype=torch.float64))
    first, last = torch.tensor((start, end), dtype=torch.float64)
    return _from_alpha_bar(lambda u: torch.sigmoid(-torch.lerp(first, last, u)) - floor, num_timesteps)


def log_snr_linear(num_timesteps: int = 1000, log_snr_max: float = 13.3, log_snr_min: float = -5.0) -> Schedule:
    """Log-SNR linear in t from `log_snr_max` at t = 1 to `log_snr_min` at t = T (Kingma et al. 2021, section 3.2)."""
    if log_snr_max <= log_snr_min:
        raise ValueError(f"expected log_snr_max > log_snr_min, got {log_snr_max} and {log_snr_min}")
    levels = torch.linspace(log_snr_max, log_snr_min, num_timesteps, dtype=torch.float64)
    return Schedule(torch.cat([torch.ones(1, dtype=torch.float64), torch.sigmoid(levels)]))


def rectified(num_timesteps: int = 1000, shift: float = 1.0) -> Schedule:
    """alpha_bar = (1 - tau)^2 / ((1 - tau)^2 + tau^2), tau / (1 - tau) = shift t / (T - t): straight paths, rescaled.

    The path (1 - tau) x_0 + tau eps of Liu et al. 2022 over its length (`parameterization.py`, (5)). Log-SNR is
    2 log((1 - tau) / tau), so a `shift` takes 2 log(shift) from all of it: more noise at each t, for larger images,
    whose neighbouring pixels say the same (Esser et al. 2024, section 5.3.2). Nothing of x_0 is left at T.
    """
    t = torch.arange(num_timesteps + 1, dtype=torch.float64)
    signal, noise = (num_timesteps - t) ** 2, (shift * t) ** 2
    return Schedule(signal / (signal + noise))


def zero_terminal_snr(schedule: Schedule) -> Schedule:
    """With alpha_t shifted and scaled so that alpha_T = 0 and alpha_1 stays (Lin et al. 2023, algorithm 1)."""
    if schedule.num_timesteps < 2:
        raise ValueError("expected at least two timesteps for a zero terminal SNR")
    alpha = schedule.alpha_bar[1:].sqrt()
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return Schedule(torch.cat([torch.ones(1, dtype=torch.float64), alpha**2]))


def _from_alpha_bar(curve: Callable[[Tensor], Tensor], num_timesteps: int) -> Schedule:
    """`curve` over t / T in 0..1, tabulated, with no beta above MAX_BETA."""
    values = curve(torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64))
    return from_betas((1 - values[1:] / values[:-1]).clamp(max=MAX_BETA))
