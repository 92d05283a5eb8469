"""What is measured of images: counts of neighbours by hand, errors that are those of means, sums that lose nothing.

An error bar is checked as one: where numbers are independent and their variance is known, the error of their mean is
the root of the variance over their count. A jackknife is checked by leaving out, and a sample of steps by hand.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ancestral.diffusion.level import Noised
from ancestral.diffusion.likelihood import bits_per_dim, step_term
from ancestral.diffusion.probability_flow import Hutchinson
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.evaluation.bound_sums import Subsample, chunk_sums, divided
from ancestral.evaluation.caption_lift import caption_lift
from ancestral.evaluation.likelihood import error_of_mean, mean
from ancestral.evaluation.metrics import (
    frechet_distance,
    frechet_jackknife,
    kernel_distance,
    memorisation,
    nearest,
    neighbourhood,
)
from ancestral.evaluation.prompt_shares import shares_of
from ancestral.evaluation.settings import GROUPS
from ancestral.oracles import double, eps_process, gaussian, normal
from ancestral.progress import finish
from ancestral.selftest.checks import Checks

CHECKS = Checks()

COUNT = 60  # numbers whose mean has an error


@CHECKS("errors of means: deviation over the root of the count", 1e-12)
def errors(device: torch.device) -> Iterator[float]:
    """Of n numbers 1 and -1 in turn the error of the mean is 1 / sqrt(n - 1); of shares of 1/2, half of it."""
    real = torch.arange(COUNT, dtype=torch.float64, device=device)[:, None]
    values = 1 - 2 * (real % 2)
    _, probes = Hutchinson(COUNT, lambda: values).trace(values.expand(COUNT, 3))
    assert probes is not None
    direct = error_of_mean(float(values.sum()), float(values.square().sum()), COUNT)
    found = [direct, mean(values[:, 0].tolist()).standard_error, *probes.tolist()]
    generated = torch.where(values > 0, real, 1e4 + 100 * real)
    for share in (neighbourhood(real, generated, 2).precision, neighbourhood(generated, real, 2).recall):
        assert share.value == 0.5 and share.standard_error is not None, "half of them are far away"
        found.append(2 * share.standard_error)
    return (each - (COUNT - 1) ** -0.5 for each in found)


def left_out(distance: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor, groups: int) -> float:
    """Variance of a jackknife: every group of the first set left out in turn."""
    values = [distance(a[torch.arange(len(a)) % groups != j], b) for j in range(groups)]
    centre = math.fsum(values) / groups
    return (groups - 1) / groups * math.fsum((value - centre) ** 2 for value in values)


@CHECKS("errors of distances: images left out by hand", 1e-9)
def jackknives(device: torch.device) -> tuple[float, float]:
    a, b = normal(23, 3, device=device), 1.4 * normal(31, 3, device=device).flip(0) + 0.4

    def kernel(a: Tensor, b: Tensor) -> float:
        return kernel_distance(a, b).value

    by_image = left_out(kernel, a, b, len(a)) + left_out(lambda y, x: kernel(x, y), b, a, len(b))
    by_group = left_out(frechet_distance, a, b, GROUPS) + left_out(lambda y, x: frechet_distance(x, y), b, a, GROUPS)
    found = kernel_distance(a, b).standard_error or math.nan
    return found / by_image**0.5 - 1, frechet_jackknife(a, b).error / by_group**0.5 - 1


def mean_kernel(a: Tensor, b: Tensor, itself: bool) -> float:
    """The mean of (x y / D + 1)^3 over pairs, of a set with itself over pairs of different images."""
    pairs = itertools.product(range(len(a)), range(len(b)))
    values = [(float(a[i] @ b[j]) / a.shape[1] + 1) ** 3 for i, j in pairs if not itself or i != j]
    return math.fsum(values) / len(values)


@CHECKS("kernel and Frechet distance, pair by pair", 1e-10)
def distances(device: torch.device) -> tuple[float, float]:
    """The Frechet distance is of sets whose moments are known."""
    a, b = normal(9, 3, device=device), normal(7, 3, device=device).flip(0) + 0.5
    kernel = mean_kernel(a, a, True) + mean_kernel(b, b, True) - 2 * mean_kernel(a, b, False)
    square = double(1, 1, -1, -1, device=device)
    plane = torch.stack([square, double(1, -1, 1, -1, device=device)], 1)  # variance 4 / 3 each, uncorrelated
    moved = 3 * plane + double(1, -2, device=device)
    return kernel_distance(a, b).value - kernel, frechet_distance(plane, moved) - (5 + 2 * (4 / 3) * 4)


def counted(real: Tensor, generated: Tensor, k: int) -> list[Tensor]:
    """Precision, recall, density and coverage, from all distances; a point is the first of its own neighbours."""
    far = (generated[:, None] - real).norm(dim=2)
    reach, its_reach = ((each[:, None] - each).norm(dim=2).sort().values[:, k] for each in (real, generated))
    within, recalled = far < reach, far <= its_reach[:, None]
    found = [(far <= reach).any(1), recalled.any(0), within.sum(1).double() / k, within.any(0)]
    return [each.double().mean() for each in found]


@CHECKS("precision, recall, density, coverage: ball by ball", 1e-12)
def balls(device: torch.device) -> Iterator[Tensor]:
    """Of whole numbers, where points lie on the rims of balls."""
    random = torch.Generator().manual_seed(2)
    for k in (1, 2, 3):
        real, drawn = (torch.randint(0, size, (12, 2), generator=random).double().to(device) for size in (6, 9))
        found = double(*(each.value for each in neighbourhood(real, drawn, k)))
        yield found - torch.stack(counted(real, drawn, k)).cpu()


@CHECKS("nearest training image: the one that was moved", 1e-9)
def copies(device: torch.device) -> Iterator[Tensor]:
    training, places = normal(5000, 3, device=device), torch.tensor([4, 2047, 2048, 4999])
    found = nearest(training[places] + double(0.001, 0, 0, device=device), training)
    told = memorisation(double(1, 2, 3), double(*range(2, 203)))
    yield from (found.indices.cpu() - places, found.distance - 0.001)
    yield double(told.generated_median, told.held_out_median, told.nearer) - double(2, 102, 1)


# Bits per dimension

TABLE = log_snr_linear(40, 9.0, -5.0)
PROCESS = eps_process(TABLE)
IMAGES = 6
PIXELS = torch.linspace(0, 255, 2 * IMAGES, dtype=torch.float64).round().reshape(IMAGES, 2) / 127.5 - 1


@CHECKS("bound by visits: two of twenty, and their difference", 1e-10)
def two_visits(device: torch.device) -> Iterator[Tensor]:
    """Of 20 steps each image visits two: ten times their sum, and ten times their difference, for the error."""
    subsample, chain = Subsample(0, 50, IMAGES, 20, 2), TABLE.uniform_log_snr(21)
    data, x0, costs = gaussian(TABLE, 0.3, 0.8, device=device), PIXELS.to(device), []
    draws = normal(3, IMAGES, 2, device=device)
    visited, walk = subsample.visits(0, IMAGES), divided(TABLE, chain, subsample.widest_gap)
    found = chunk_sums(PROCESS, data, x0, walk, subsample, visited, iter(draws).__next__)
    for visits, eps in zip(visited.T, draws[1:], strict=True):
        t, s = chain[visits].to(device), chain[visits + 1].to(device)
        x_t = PROCESS.q_sample(x0, t, eps)
        costs.append(bits_per_dim(step_term(PROCESS, data(x_t, t.cpu()), x0, x_t, t, s), 2).cpu())
    apart_by = 10 * (costs[1] - costs[0])
    yield from (apart_by.sum() - found.differences[0], (apart_by**2).sum() - found.differences_squared)
    yield double(*found.diffusion) - 10 * (costs[0] + costs[1])


@CHECKS("bound by visits: an image's own noise and steps", 0)
def own_noise(_: torch.device) -> Iterator[int | Tensor]:
    few, many = Subsample(3, 100, 10, 20, 4), Subsample(3, 100, 60, 20, 4)
    places = few.images()
    same = [many.noise_seeds(torch.tensor([place]))[0] for place in places.tolist()]
    yield sum(one != other for one, other in zip(few.noise_seeds(places), same, strict=True))
    yield from (len(places) - len({*same}), (many.images()[:10] != places).sum())
    yield (many.visits(3, 9) != few.visits(3, 9)).sum()


@CHECKS("caption lift: errors apart by 1 at every level", 1e-12)
def caption_lifts(device: torch.device) -> tuple[float, float]:
    """Told "b" an image errs by 1 more than told "a". Each of five is told "b" in place of "a", and one the other way:
    in bits they are apart by the range of log-SNR over 2 log 2, and by minus that."""

    def errors(noised: Noised, told: Sequence[str]) -> Tensor:
        return noised.eps.square().sum(1) + double(*(text == "b" for text in told), device=device)

    found = finish(caption_lift(TABLE, PIXELS.to(device), ["a"] * (IMAGES - 1) + ["b"], errors, 3, chunk=4))
    clean, noisy = (float(each) for each in TABLE.ends_of_log_snr)
    one = (clean - noisy) / (2 * math.log(2))
    apart = double(*[one] * (IMAGES - 1), -one)
    return found.bits / float(apart.mean()) - 1, found.standard_error / float(apart.std()) * IMAGES**0.5 - 1


@CHECKS("intervals of shares by prompt: as wide as those of coins", 0.1)
def intervals(_: torch.device) -> Iterator[float]:
    """Of 100 prompts half hold, with all facts of all their images: 1.96 deviations of the mean of 100 coins."""
    held = np.arange(100) % 2.0
    for facts, images in ((1, 1), (5, 3)):
        texts = [str(i) for i in range(100) for _ in range(images)]
        counts = {"all": (facts * held.repeat(images), np.full(100 * images, float(facts)))}
        (share,) = shares_of(counts, texts, 0)
        yield (share.high - share.low) / (2 * 1.96 * 0.05) - 1
