"""Editing by a walk or a starting x: inpainting, from an image, inversion, and paths between noises.

A chain that is affine in its draws has an exact law, see `oracles.moments`; what it should be is a regression. The
last step of a chain arrives at a mean, so of the variance there what that mean leaves unsaid is missing.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.schedules import Schedule, cosine, log_snr_linear
from ancestral.editing.from_image import from_image, timestep_of_strength, timesteps_below
from ancestral.editing.inpaint import Rounds, inpaint
from ancestral.editing.interpolate import arc, path, slerp
from ancestral.editing.inversion import DDIMInversion, HeunInversion, invert, round_trip_error
from ancestral.oracles import CorrelatedData, double, eps_process, gaussian, moments, normal, two_hills
from ancestral.sampling.samplers import DDIM, Ancestral
from ancestral.selftest.checks import Checks, largest

CHECKS = Checks()

HUNDRED = log_snr_linear(100, 8.0, -6.0)
FINE = log_snr_linear(960, 6.0, -6.0)
NoiseSource = Callable[[], Tensor]


@CHECKS("inpainting: 4 times 1 of 7 steps keep the law", 1e-12, HUNDRED, 7, Rounds(4, 1))
@CHECKS("inpainting: 3 times 2 of 7 steps keep the law", 1e-12, HUNDRED, 7, Rounds(3, 2))
@CHECKS("inpainting: 2 times 9 of 5 steps keep the law", 1e-12, cosine(60), 5, Rounds(2, 9))
def resampled(schedule: Schedule, steps: int, rounds: Rounds, device: torch.device) -> tuple[Tensor, Tensor]:
    """With nothing known and an exact step down, going up again leaves mean and variance of every x_s alone."""
    data, grid = gaussian(schedule, 0.3, 2.0, device=device), schedule.trailing(steps)
    (centre, spread), nothing = data.at(grid[0]), torch.zeros(2, dtype=torch.bool)
    process = eps_process(schedule, data.exact)

    def run(noise: NoiseSource) -> Tensor:
        x_T = centre + spread.sqrt() * noise()
        walk = inpaint(data, Ancestral(process), process, 0 * x_T, nothing, x_T, grid, noise, rounds)
        return torch.cat([step.x_s for step in walk], 1)

    mean, covariance = moments(run, (2,), device)
    end = data.mean, data.variance - data.reverse_variance(grid[-2], torch.tensor(0))  # of E[x_0 | x_s]
    means, variances = zip(*(data.at(s) if s > 0 else end for s in visited(rounds, grid)), strict=True)
    return mean - torch.cat(means), covariance.diagonal() - torch.cat(variances)


def visited(rounds: Rounds, grid: Tensor) -> list[Tensor]:
    """Where each step of a walk arrives: every stretch of `jump` steps so often, the last step once."""
    down, starts = [*grid[1:]], range(0, len(grid) - 2, rounds.jump)
    stretches = (down[i : min(i + rounds.jump, len(down) - 1)] * rounds.count for i in starts)
    return [*itertools.chain.from_iterable(stretches), down[-1]]


@CHECKS("inpainting: what is known is drawn anew at every s", 1e-14)
def noised(device: torch.device) -> tuple[Tensor, Tensor]:
    """At every s a draw of its own from x_s given the image, and at the end the image itself."""
    data, grid = gaussian(HUNDRED, 0.3, 2.0, device=device), HUNDRED.trailing(5)
    image = double(0.9, -0.4, device=device)

    def run(noise: NoiseSource) -> Tensor:
        x_T, everything, process = noise(), torch.ones(2, dtype=torch.bool), eps_process(HUNDRED)
        walk = inpaint(data, DDIM(HUNDRED), process, image.expand_as(x_T), everything, x_T, grid, noise, Rounds(1))
        return torch.cat([step.x_s for step in walk], 1)

    mean, covariance = moments(run, (2,), device)
    kept = HUNDRED.alpha_bar[grid[1:]].repeat_interleave(2).to(image)
    return mean - kept.sqrt() * image.repeat(5), covariance - (1 - kept).diag()


@CHECKS("inpainting: known to the bit, 12 rounds for the rest", 0.05)
def conditional(device: torch.device) -> Iterator[float | Tensor]:
    """The second of two numbers that correlate by 0.8, by 12 rounds of 20 steps of DDIM; one round errs by 0.28."""
    table = log_snr_linear(200, 9.0, -6.0)
    pair = CorrelatedData(table, double(0.3, -0.2, device=device), double(1, 0.8, 0.8, 1, device=device).reshape(2, 2))
    image, known, grid = double(0.9, 7, device=device), torch.tensor([True, False]), table.uniform_log_snr(20)

    def run(noise: NoiseSource) -> Tensor:
        x_T = noise()
        walk = inpaint(pair, DDIM(table), eps_process(table), image.expand_as(x_T), known, x_T, grid, noise, Rounds(12))
        return [*walk][-1].x_s

    mean, covariance = moments(run, (2,), device)
    yield from (mean[1] - (-0.2 + 0.8 * (0.9 - 0.3)), covariance[1, 1] - 0.36)
    if largest([mean[0] - 0.9, covariance[0]]) != 0:
        yield math.inf


@CHECKS("from an image at t = {t} of 100: what survives", 1e-11, t=(20, 55, 100))
def survives(t: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """x_t correlates with x_0 by r, and so does what an exact chain makes of it; image and result correlate by r^2."""
    data, image = gaussian(HUNDRED, 0.3, 2.0, device=device), double(1, 0.5, device=device)
    grid, exact = timesteps_below(HUNDRED.trailing(9), t), Ancestral(eps_process(HUNDRED, data.exact))

    def run(noise: NoiseSource) -> Tensor:
        first = noise()
        draws = itertools.chain([first], iter(noise, None))
        *_, end = from_image(data, exact, HUNDRED, image.expand_as(first), grid, draws.__next__)
        return end.x_s

    mean, covariance = moments(run, (2,), device)
    twice = HUNDRED.alpha_bar[t].to(image) * data.variance / data.at(torch.tensor(t))[1]
    variance = data.variance * (1 - twice**2) - data.reverse_variance(grid[-2], torch.tensor(0))
    return mean - (data.mean + twice * (image - data.mean)), covariance.diagonal() - variance


@CHECKS("timesteps of strengths", 0)
def strengths(_: torch.device) -> Iterator[int]:
    for schedule in (cosine(50), HUNDRED):
        signal = schedule.alpha_bar.sqrt().tolist()
        for strength in (0.0, 0.1, 0.4, 0.8, 1.0):
            first = next((t for t in range(1, len(signal)) if signal[t] <= 1 - strength), schedule.num_timesteps)
            yield timestep_of_strength(schedule, strength) - first


def down_to_one(steps: int) -> Tensor:
    """The grid of `FINE` from T to 1, even in log-SNR."""
    return torch.linspace(960, 1, steps + 1).round().long()


def images(device: torch.device) -> Tensor:
    """Three points of the plane."""
    return double(0.9, 0.3, -0.8, 0.1, 0.1, -1.0, device=device).reshape(3, 2)


@CHECKS("inversion, 0 corrections: order 2 there and back", 0.15, 0)
@CHECKS("inversion, 1 corrections: order 3 there and back", 0.15, 1)
@CHECKS("inversion, 2 corrections: order 4 there and back", 0.15, 2)
def returns(corrections: int, device: torch.device) -> float:
    hills, inversion = two_hills(FINE, device), DDIMInversion(FINE, corrections)

    def error(steps: int) -> float:
        return float(round_trip_error(hills, inversion, DDIM(FINE), images(device), down_to_one(steps)).max())

    return math.log2(error(96) / error(192)) - 2 - corrections


@CHECKS("inversion by DDIM: order 1 to the flow", 0.15, DDIMInversion(FINE), 1)
@CHECKS("inversion by Heun: order 2 to the flow", 0.15, HeunInversion(FINE), 2)
def up_the_flow(inversion: DDIMInversion | HeunInversion, claimed: int, device: torch.device) -> float:
    data = gaussian(FINE, 0.1, 1.5, device=device)
    wanted = data.flow(images(device), torch.tensor(1), torch.tensor(960))

    def error(steps: int) -> float:
        *_, last = invert(data, inversion, images(device), down_to_one(steps))
        return float((last.x_s - wanted).norm(dim=1).max())

    return math.log2(error(60) / error(120)) - claimed


def polar(radius: float, angle: float, device: torch.device) -> Tensor:
    """A point of the plane, (1, 2)."""
    return radius * double(math.cos(angle), math.sin(angle), device=device)[None]


@CHECKS("slerp: radius and angle move evenly", 1e-12)
def turned(device: torch.device) -> Iterator[Tensor]:
    """Each of a batch its own, also where the ends nearly agree; and along a path, a quarter turn in five points."""
    ends = [((1.0, 0.2), (3.0, 2.0)), ((2.0, -1.0), (0.5, 1.9)), ((1.0, 0.3), (1.0, 0.3 + 1e-9))]
    for u in (0.0, 0.3, 0.5, 1.0):
        a, b = (torch.cat([polar(*each[k], device) for each in ends]) for k in (0, 1))
        between = [(r + u * (s - r), v + u * (w - v)) for (r, v), (s, w) in ends]
        yield slerp(a, b, u) - torch.cat([polar(*each, device) for each in between])
    quarter = [polar(2.0, k * math.pi / 8, device) for k in range(5)]
    yield path(quarter[0], quarter[-1], 5) - torch.stack(quarter)


@CHECKS("arc: the law of noise", 1e-14)
def arc_law(device: torch.device) -> Iterator[Tensor]:

    def between(u: float, noise: NoiseSource) -> Tensor:
        return arc(noise(), noise(), u)

    a, b = normal(2, 3, 2, device=device)
    yield from (arc(a, b, 0.0) - a, arc(a, b, 1.0) - b)
    for u in (0.0, 0.2, 0.5, 1.0):
        mean, covariance = moments(partial(between, u), (2,), device)
        yield from (mean, covariance - torch.eye(2).to(mean))
