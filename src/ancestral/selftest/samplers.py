"""Samplers: the exact law of what they draw, and what they remember. Their orders are in orders.py.

Of Gaussian data a step of any sampler is affine, so mean and variance are followed exactly, without drawing. A step
of DDIM from x_t to x_s keeps, of the distance from the mean, with k^2 = 1 - alpha_bar_s - sigma^2,

    ( alpha_s alpha_t l + k sigma_t ) / v_t                                                                  (1)

and adds sigma^2: the covariance of (x_0, x_t) and of (eps, x_t), each over Var x_t.

A multistep sampler of order n puts a polynomial through n predictions, so x_s moves with each of the n - 1 before the
newest and with none beyond; a sampler that looks ahead remembers nothing. A walk gives a step the predictions of the
steps right before it, as they were made; one that goes back up has begun anew, and what was before it is no past.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule, cosine, log_snr_linear, zero_terminal_snr
from ancestral.diffusion.variances import Variance, beta, beta_tilde
from ancestral.editing.from_image import from_image
from ancestral.editing.inpaint import Rounds, inpaint
from ancestral.oracles import eps_process, gaussian, normal, propagate, two_hills
from ancestral.pipeline.building import FLOWS
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import Step, sample
from ancestral.sampling.samplers import DDIM, Ancestral, DPMSolver2MSDE, Noise, Sampler
from ancestral.selftest.checks import Checks

CHECKS = Checks()

FORTY = log_snr_linear(40, 6.0, -6.0)
GRIDS: dict[str, Callable[[int], Tensor]] = {"trailing": FORTY.trailing, "log-SNR": FORTY.uniform_log_snr}
STEPS = (1, 3, 17, 40)
SamplerBuilder = Callable[[Schedule], Sampler]


def ancestral(schedule: Schedule, variance: Variance = beta_tilde) -> Ancestral:
    """Algorithm 2 with a variance."""
    return Ancestral(eps_process(schedule, variance))


KINDS: dict[str, SamplerBuilder] = {"ancestral": ancestral, "ddim": DDIM, "dpm++2m-sde": DPMSolver2MSDE, **FLOWS}
"""Every sampler."""
FIFTY = cosine(50)
UNEVEN = torch.tensor([50, 43, 41, 27, 9, 7, 2, 0])  # a grid on FIFTY that no formula made


@CHECKS("ancestral, beta, {grid} grid: law of unit-variance data", 1e-9, beta, 1.0, grid=GRIDS)
@CHECKS("ancestral, beta_tilde, {grid} grid: law of a point", 1e-9, beta_tilde, 0.0, grid=GRIDS)
@CHECKS("ancestral, exact variance, {grid} grid: law of data", 1e-9, None, 0.3, grid=GRIDS)
def exact_law(variance: Variance | None, inner: float, grid: str, device: torch.device) -> Iterator[Tensor]:
    """Of data that its variance fits: every x_s but the last has the exact marginal, at any stride."""
    data = gaussian(FORTY, inner, device=device)
    for timesteps in map(GRIDS[grid], STEPS):
        start = data.at(timesteps[0])
        for s, *found in propagate(ancestral(FORTY, variance or data.exact), data, timesteps, *start):
            wanted = data.at(torch.tensor(s)) if s > 0 else found
            yield from (found[0] - wanted[0], found[1] - wanted[1])


@CHECKS("ddim, eta {eta:g}, {grid} grid: final law of data", 1e-9, grid=GRIDS, eta=(0.0, 0.5, 1.0))
def final_law(grid: str, eta: float, device: torch.device) -> Iterator[Tensor]:
    """Mean and variance of what DDIM draws of Gaussian data, against (1) along the grid."""
    data, point = gaussian(FORTY, 0.05, 0.4, 1.0, device=device), gaussian(FORTY, 0.0, device=device)
    for steps in STEPS:
        timesteps = GRIDS[grid](steps)
        centre, variance = data.at(timesteps[0])
        *_, (_, mean, found) = propagate(DDIM(FORTY, eta), data, timesteps, centre, variance)
        for t, s in itertools.pairwise(timesteps):
            at_t, at_s = float(FORTY.alpha_bar[t]), float(FORTY.alpha_bar[s])
            fresh = eta**2 * max(float(point.reverse_variance(t, s)), 0.0) if s > 0 else 0.0
            kept = (max(1 - at_s - fresh, 0.0)) ** 0.5
            slope = ((at_s * at_t) ** 0.5 * data.variance + kept * (1 - at_t) ** 0.5) / data.at(t)[1]
            variance = slope**2 * variance + fresh
        yield from (mean - data.mean, found - variance)


@CHECKS("{kind}: no signal at T, no part in the polynomial", 1e-10, kind=FLOWS)
def from_no_signal(kind: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first step is DDIM's, since no polynomial reaches T, and no later one looks back there."""
    schedule, x_T = zero_terminal_snr(FIFTY), normal(3, 2, device=device)
    hills, sampler = two_hills(schedule, device), KINDS[kind](schedule)

    def walked(x: Tensor, grid: Tensor) -> Tensor:
        return torch.stack([step.x_s for step in sample(hills, sampler, x, grid, lambda: x)])

    first = DDIM(schedule).step(hills, x_T, UNEVEN[0], UNEVEN[1], [], lambda: x_T)[0]
    chain, later = walked(x_T, UNEVEN), walked(first, UNEVEN[1:])
    return chain[0] - first, chain[1:] - later


@CHECKS("{kind}: the last step is the predicted x_0", 1e-12, kind=KINDS)
def last_step(kind: str, device: torch.device) -> tuple[Tensor, Tensor]:
    hills, sampler, x = two_hills(FIFTY, device), KINDS[kind](FIFTY), normal(4, 2, device=device)
    draws = itertools.chain([x, x] if sampler.stochastic else [], itertools.repeat(torch.full_like(x, 1e6)))
    *_, before, step = sample(hills, sampler, x, torch.tensor([30, 19, 7, 0]), draws.__next__)
    wanted = hills(before.x_s, torch.tensor(7)).x0
    return step.x_s - wanted, step.x0 - wanted


@CHECKS("network calls of ten steps: as declared", 0)
def calls(device: torch.device) -> Iterator[int]:
    schedule, x = log_snr_linear(200, 6.0, -6.0), normal(2, 2, device=device)
    hills, asked = two_hills(schedule, device), list[int]()

    def counted(x_t: Tensor, t: Tensor) -> Prediction:
        asked.append(int(t))
        return hills(x_t, t)

    for kind in KINDS.values():
        sampler = kind(schedule)
        list(sample(counted, sampler, x, schedule.uniform_log_snr(10), lambda: x))
        yield len(asked) - sampler.network_calls(10)
        asked.clear()


# What is remembered

SIXTY = log_snr_linear(60, 6.0, -6.0)
BEFORE = (60, 51, 47, 38)  # timesteps of four predictions before a step from 30 to 19, no two of them equally far apart
KEPT = 4  # predictions that a walk keeps, at the most


@CHECKS("{kind}: looks back as far as its order asks", 0, kind=KINDS)
def looked_at(kind: str, device: torch.device) -> int:
    """How many of four predictions it wrongly uses or leaves unused: of several calls a step it looks back at none."""
    sampler, x, kick = KINDS[kind](SIXTY), normal(2, 2, device=device), normal(3, 2, 2, device=device)[-1]
    hills, (t, s) = two_hills(SIXTY, device), torch.tensor([30, 19])
    past = [hills(normal(4 + i, 2, 2, device=device)[-1], torch.tensor(before)) for i, before in enumerate(BEFORE)]

    def arrives(past: Sequence[Prediction]) -> Tensor:
        return sampler.step(hills, x, t, s, past, lambda: kick)[0]

    wrong, looks_back = 0, sampler.order - 1 if sampler.calls == 1 else 0
    for i, before in enumerate(past):
        another = [*past[:i], before._replace(x0=before.x0 + 0.1, eps=before.eps - 0.1), *past[i + 1 :]]
        moved = bool((arrives(another) - arrives(past)).abs().max() > 1e-9)
        wrong += moved != (i >= len(past) - looks_back)
    return wrong


@dataclass(frozen=True)
class Witness(DDIM):
    """DDIM that keeps t, the past that it was given and its prediction, of every step."""

    steps: list[tuple[Tensor, list[Prediction], Prediction]] = field(default_factory=list)

    def step(
        self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Tensor, Prediction]:
        """As DDIM."""
        x_s, prediction = super().step(denoise, x_t, t, s, past, noise)
        self.steps.append((t, [*past], prediction))
        return x_s, prediction


def resampled(
    rounds: Rounds, denoise: Denoiser, sampler: Sampler, x: Tensor, grid: Tensor, noise: Noise
) -> Iterator[Step]:
    nothing = torch.zeros(x.shape[1:], dtype=torch.bool)
    return inpaint(denoise, sampler, eps_process(SIXTY), 0 * x, nothing, x, grid, noise, rounds)


WALKS: dict[str, Callable[[Denoiser, Sampler, Tensor, Tensor, Noise], Iterator[Step]]] = {
    "sampling": sample,
    "from an image": lambda denoise, sampler, *rest: from_image(denoise, sampler, SIXTY, *rest),
    **{f"inpainting, {count} times {jump}": partial(resampled, Rounds(count, jump))
       for count, jump in ((1, 1), (3, 1), (2, 3), (2, 9))},
}  # fmt: skip


@CHECKS("{walk}: the past is that since the last start", 0, walk=WALKS)
def given(walk: str, device: torch.device) -> float | int:
    witness, x = Witness(SIXTY), normal(2, 2, device=device)
    steps = [*WALKS[walk](two_hills(SIXTY, device), witness, x, SIXTY.trailing(9), lambda: 0.3 * x)]
    since, wrong = list[Prediction](), 0
    for t, past, prediction in witness.steps:
        since = [] if since and t >= since[-1].t else since[-KEPT:]
        wrong += [*map(id, past)] != [*map(id, since)]
        since.append(prediction)
    return wrong if len(witness.steps) == len(steps) > 8 else math.nan
