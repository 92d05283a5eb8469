"""`python -m benchmarks.orders`: the order of every sampler, measured on data whose distributions are known.

Every class of `ancestral.sampling.samplers` is found and measured on the grid it declares. Halving the steps divides
the error by 2 ** order. A dense table of timesteps, even in log-SNR, keeps its granularity out of the measurement.

Where a sampler is deterministic the error is that of its end point, from a start given by the exact solution: on
Gaussian data, and on a mixture on a line, where every point keeps its quantile. Multistep samplers get exact
predictions before their first step, or else the lower order of their first steps would be measured. Where a sampler
draws noise the error is that of the law of its samples, mean and variance, on Gaussian data: every chain is then affine
in x_T and all draws, and a batch of basis vectors finds its coefficients exactly. On the mixture it is not affine.

Two forms that are commonly published are measured beside: 3M with half its second difference, and iPNDM with the
weights of equal steps.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction, PredictsEps
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule, log_snr_linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.sampling import samplers
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers.base import Grid, Noise, Sampler
from ancestral.sampling.samplers.exponential import along_rho, level, moment
from ancestral.sampling.samplers.multistep import Multistep
from ancestral.selftest.oracles import GaussianData, Mixture, double
from ancestral.tensors import Data, Timesteps

T = 3 * 2**13 + 1
"""Timesteps of the table: many more than steps, which have a middle and thirds in it."""
ENDS = (4.0, -4.0)
"""Log-SNR at t = 1 and at T, between which data of these variances take shape."""
START = 8
"""Deterministic chains start after one in so many steps, with exact predictions at those before."""
POINTS = double(-1.5, -0.7, -0.1, 0.4, 0.9, 1.6)
"""Where chains of the mixture begin, at T."""
STEPS = {1: 64, 2: 64, 3: 128, 4: 128}
"""Steps of the coarser of two chains, by order: a high order shows late."""


class Measured(NamedTuple):
    """A sampler and its orders: on the mixture None where it draws noise."""

    name: str
    sampler: Sampler
    gaussian: float
    mixture: float | None


def main() -> int:
    """Prints the tables in Markdown."""
    print("| sampler | calls a step | noise | grid | claimed order | measured: Gaussian | measured: mixture |")
    print("|---|---|---|---|---|---|---|")
    for each in itertools.chain(map(measure, every()), map(measure, published())):
        print(row(each), flush=True)
    print("\n| steps | 3M: error | order | commonly published form: error | order |\n|---|---|---|---|---|")
    errors = [[hills_error(kind(table()), steps) for kind in BOTH_3M] for steps in HALVINGS]
    for steps, coarse, fine in zip(HALVINGS[1:], errors, errors[1:], strict=False):
        cells = (f"{after:.1e} | {math.log2(before / after):.2f}" for before, after in zip(coarse, fine, strict=True))
        print(f"| {steps} | " + " | ".join(cells) + " |", flush=True)
    return 0


def row(found: Measured) -> str:
    """One line of the table."""
    sampler, mixture = found.sampler, "" if found.mixture is None else f"{found.mixture:.2f}"
    noise = "yes" if sampler.stochastic else "no"
    facts = f"| {found.name} | {sampler.calls} | {noise} | {sampler.grid} | {sampler.order} "
    return f"{facts}| {found.gaussian:.2f} | {mixture} |"


def kinds() -> list[type[Sampler]]:
    """Every sampler of the package, by order and name, whether or not anything names it."""
    for module in iter_modules(samplers.__path__):
        import_module(f"{samplers.__name__}.{module.name}")
    found = (
        kind
        for kind in _all_of(Sampler.__subclasses__())
        if kind.__module__.startswith("ancestral.") and not isabstract(kind)
    )
    return sorted((kind for kind in found if "order" in vars(kind)), key=lambda kind: (kind.order, kind.__name__))


def _all_of(parents: Sequence[type[Sampler]]) -> Iterator[type[Sampler]]:
    """The classes, and all that are derived from them."""
    for each in parents:
        yield each
        yield from _all_of(each.__subclasses__())


def built(kind: type[Sampler], schedule: Schedule) -> Sampler:
    """The sampler with its usual settings on a schedule."""
    make: Callable[..., Sampler] = kind
    needs = {field.name for field in fields(kind)}
    return make(GaussianDiffusion(schedule, PredictsEps(), beta_tilde) if "diffusion" in needs else schedule)


def every() -> list[tuple[str, Sampler]]:
    """Every sampler of the package on the table, and those whose noise is a setting once more with it."""
    usual = [(kind.__name__, built(kind, table())) for kind in kinds()]
    noisier = ("DDIM, eta = 1", samplers.DDIM(table(), 1.0))
    quieter = ("DPMSolver2MSDE, eta = 0.5", samplers.DPMSolver2MSDE(table(), 0.5))
    return [*usual, noisier, quieter]


def published() -> list[tuple[str, Sampler]]:
    """The commonly published forms."""
    return [("3M as commonly published", Published3M(table())), ("iPNDM-4, equal weights", EqualSteps4(table()))]


@dataclass(frozen=True)
class Published3M(Multistep):
    """3M with the second divided difference in place of the second derivative, its double: second order."""

    order: ClassVar[int] = 2

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """As every multistep sampler, by three predictions."""
        prediction = denoise(x_t, t)
        known = [prediction, *reversed(past)][:3]
        if len(known) == 3 and s > 0:
            return self.follow(x_t, t, s, known), prediction
        return samplers.DPMSolver2M(self.schedule).step(denoise, x_t, t, s, past, noise)

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s with the last difference halved."""
        start, end = level(self.schedule, t), level(self.schedule, s)
        h = end.log_ratio - start.log_ratio
        at = [level(self.schedule, each.t).log_ratio for each in known]
        near = (known[0].x0 - known[1].x0) / (at[0] - at[1])
        far = (known[1].x0 - known[2].x0) / (at[1] - at[2])
        second = (near - far) / (at[0] - at[2])
        slope = near + (at[0] - at[1]) * second
        curve = moment(-h, 0) * known[0].x0 + h * moment(-h, 1) * slope + 0.5 * h**2 * moment(-h, 2) * second
        return end.noise / start.noise * x_t + end.signal * h * curve


@dataclass(frozen=True)
class EqualSteps4(Multistep):
    """iPNDM with the fourth-order weights of equal steps on any grid: second order."""

    order: ClassVar[int] = 2
    grid: ClassVar[Grid] = "karras"

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """By four predictions, which it must be given."""
        prediction = denoise(x_t, t)
        return self.follow(x_t, t, s, [prediction, *reversed(past)][:4]), prediction

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s by (55, -59, 37, -9) / 24."""
        now, one, two, three = (each.eps for each in known)
        return along_rho(self.schedule, x_t, t, s, (55 * now - 59 * one + 37 * two - 9 * three) / 24)


BOTH_3M = (samplers.DPMSolver3M, Published3M)
HALVINGS = (16, 32, 64, 128, 256, 512)


def measure(named: tuple[str, Sampler]) -> Measured:
    """The orders of a sampler."""
    name, sampler = named
    if sampler.stochastic:
        return Measured(name, sampler, order(law_error, sampler), None)
    return Measured(name, sampler, order(flow_error, sampler), order(hills_error, sampler))


def order(error: Callable[[Sampler, int], float], sampler: Sampler) -> float:
    """The power of the step size that the error falls with from one number of steps to its double."""
    steps = STEPS[sampler.order]
    return math.log2(error(sampler, steps) / error(sampler, 2 * steps))


def flow_error(sampler: Sampler, steps: int) -> float:
    """Distance of the end point from that of the probability flow of Gaussian data."""
    data, grid = gaussian(), along(sampler, steps)
    x_T, first = double(1.0, -1.0, 0.5)[None], torch.tensor(T)
    return chain_error(sampler, data, grid, [data.flow(x_T, first, t) for t in grid])


def hills_error(sampler: Sampler, steps: int) -> float:
    """The same on a mixture."""
    grid = along(sampler, steps)
    return chain_error(sampler, hills(), grid, hills_path(grid))


def chain_error(sampler: Sampler, denoise: Denoiser, grid: Tensor, exact: Sequence[Tensor] | Tensor) -> float:
    """Distance from the exact end point, from an exact start; `exact`: the solution all along the grid."""
    start = len(grid) // START
    past = [denoise(exact[i], grid[i]) for i in range(start)]
    *_, step = sample(denoise, sampler, exact[start], grid[start:], no_noise, past)
    return float((step.x_s - exact[-1]).norm())


def law_error(sampler: Sampler, steps: int) -> float:
    """Largest error of mean and variance of what is drawn of Gaussian data, from the exact law of x_T."""
    data, grid = gaussian(), along(sampler, steps)
    mean_T, variance_T = data.at(grid[0])
    basis = torch.zeros(len(grid) + 1, len(mean_T), dtype=torch.float64)
    basis[1] = 1
    draws = itertools.count(2)

    def unit() -> Tensor:
        kick = torch.zeros_like(basis)
        kick[next(draws)] = 1
        return kick

    *_, step = sample(data, sampler, basis, grid, unit)
    offset, (slope, *widths) = step.x_s[0], step.x_s[1:] - step.x_s[0]
    mean, variance = data.at(grid[-1])
    spread = slope**2 * variance_T + torch.stack(widths).square().sum(0)
    return float(((offset + slope * mean_T - mean).abs() + (spread - variance).abs()).max())


def no_noise() -> Tensor:
    """What a deterministic sampler is given to draw from."""
    raise AssertionError("a deterministic sampler drew noise")


def along(sampler: Sampler, steps: int) -> Tensor:
    """The sampler's own grid down to t = 1: (steps + 1,)."""
    grids = {"trailing": table().trailing, "log-snr": table().uniform_log_snr}
    grids |= {"karras": table().karras, "quadratic": table().quadratic}
    return grids[sampler.grid](steps + 1)[:-1]


@lru_cache(maxsize=1)
def table() -> Schedule:
    """The dense table."""
    return log_snr_linear(T, *ENDS)


def gaussian() -> GaussianData:
    """Gaussian data on the table."""
    return GaussianData(table(), double(0.3, -0.5, 0.1), double(0.05, 0.4, 1.0))


def hills() -> Mixture:
    """The mixture on the table, on a line."""
    return Mixture(table(), double(0.3, 0.7), double(1.0, -1.0)[:, None], double(0.2, 0.4))


def hills_path(grid: Tensor) -> Tensor:
    """Where the probability flow of the mixture carries the points from T, along the grid: (steps + 1, points, 1).

    On a line a flow that keeps the distributions cannot let points overtake each other, so each keeps its quantile:
    F_t(x_t) = F_T(x_T), solved by halving an interval around it.
    """
    data, kept = hills(), table().alpha_bar[grid][:, None, None]
    centres, widths = kept.sqrt() * data.means[:, 0], (kept * data.variances + 1 - kept).sqrt()

    def quantile(x: Tensor) -> Tensor:
        return (data.weights * torch.special.ndtr((x[..., None] - centres) / widths)).sum(-1)

    wanted = quantile(POINTS.expand(len(grid), -1))[0]
    low, high = (torch.full((len(grid), len(POINTS)), end, dtype=torch.float64) for end in (-9.0, 9.0))
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = quantile(middle) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (0.5 * (low + high))[..., None]


if __name__ == "__main__":
    raise SystemExit(main())
