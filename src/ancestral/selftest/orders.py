"""The order of every sampler on the grid that it declares, and what its polynomials follow without any error.

Halving the steps divides the error by 2 ** order. The error is that of the end point, from a start and, for multistep
samplers, a past given by the exact solution: on Gaussian data, and on a mixture on a line, where every point keeps its
quantile. Where a sampler draws noise it is the error of the law of what is drawn of Gaussian data. The table is dense
and even in log-SNR, so that its granularity is no part of the error.

Where predictions are told by the time alone, the probability flow is an integral over half the log-SNR l,

    x / sigma = int e^l x_0 dl   or   x / alpha = -int e^-l eps dl                                       (1)

and a sampler whose polynomial is of the degree of the prediction makes no error at all.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule, log_snr_linear, rectified
from ancestral.oracles import Mixture, double, gaussian, legendre, moments
from ancestral.pipeline.building import GRIDS
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM, DPMSolver2MSDE, Sampler
from ancestral.selftest.checks import Checks
from ancestral.selftest.samplers import KINDS, SamplerBuilder

CHECKS = Checks()

TABLE = log_snr_linear(3 * 2**13 + 1, 4.0, -4.0)  # many more timesteps than steps
PATH = rectified(100_000)
VARIANCES = (0.05, 0.4, 1.0)
STEPS = {1: 32, 2: 32, 3: 96, 4: 64}  # steps of the coarser of two chains, by order: a high order shows late
PAST = 4  # predictions that a chain is given on its way, at the most
ALL: dict[str, SamplerBuilder] = {
    **KINDS,
    "ddim, eta 1": lambda schedule: DDIM(schedule, 1.0),
    "dpm++2m-sde, eta 0.5": lambda schedule: DPMSolver2MSDE(schedule, 0.5),
}
CLAIMS = {
    f"{kind}: order {sampler.order}, {sampler.grid} grid": sampler
    for kind, sampler in ((kind, build(TABLE)) for kind, build in ALL.items())
}
NOISY = [claim for claim, sampler in CLAIMS.items() if sampler.stochastic]
QUIET = [claim for claim in CLAIMS if claim not in NOISY]
CPU = torch.device("cpu")
Error = Callable[[Sampler, int, torch.device], float]
Grids = Callable[[Sampler, int], Tensor]


def order(error: Error, sampler: Sampler, device: torch.device = CPU) -> float:
    """The power of the step size that the error falls with from one number of steps to its double."""
    steps = STEPS[sampler.order]
    return math.log2(error(sampler, steps, device) / error(sampler, 2 * steps, device))


def along(sampler: Sampler, steps: int) -> Tensor:
    """The sampler's own grid, from T to 1: (steps + 1,)."""
    return GRIDS[sampler.grid](TABLE, steps + 1)[:-1]


def uneven(sampler: Sampler, steps: int) -> Tensor:
    """The same grid with steps of one and two lengths in turn: (steps + 1,)."""
    grid = along(sampler, 3 * steps // 2)
    return grid[torch.arange(len(grid)) % 3 != 1]


def along_path(sampler: Sampler, steps: int) -> Tensor:
    """Even in log-SNR from -4 to 4 on the straight path: (steps + 1,)."""
    return PATH.nearest(torch.linspace(-4, 4, steps + 1, dtype=torch.float64))


def flow_error(
    sampler: Sampler, steps: int, device: torch.device, table: Schedule = TABLE, grids: Grids = along
) -> float:
    """Distance of the end point from that of the probability flow of Gaussian data."""
    known, grid = gaussian(table, *VARIANCES, device=device), grids(sampler, steps)
    x_T = double(1, -1, 0.5, device=device)[None]
    return chain_error(sampler, known, grid, [known.flow(x_T, grid[0], t) for t in grid])


def hills_error(sampler: Sampler, steps: int, device: torch.device) -> float:
    """The same on a mixture, by uneven steps."""
    grid = uneven(sampler, steps)
    means = double(1, -1, device=device)[:, None]
    hills = Mixture(TABLE, double(0.3, 0.7, device=device), means, double(0.2, 0.4, device=device))
    return chain_error(sampler, hills, grid, hills.flow(double(-1.5, -0.7, 0.4, 1.6, device=device), grid))


def chain_error(sampler: Sampler, denoise: Denoiser, grid: Tensor, exact: Sequence[Tensor] | Tensor) -> float:
    """Distance from the exact end, where a chain begins with an eighth of the exact solution behind it."""
    start = max(len(grid) // 8, PAST)
    past = [denoise(exact[i], grid[i]) for i in range(start - PAST, start)]
    *_, step = sample(denoise, sampler, exact[start], grid[start:], lambda: torch.full_like(exact[0], math.nan), past)
    return float((step.x_s - exact[-1]).norm())


def law_error(grids: Grids, sampler: Sampler, steps: int, device: torch.device, table: Schedule = TABLE) -> float:
    """Error of mean and variance of what is drawn of Gaussian data, from the exact law of x_T."""
    known, grid = gaussian(table, *VARIANCES, device=device), grids(sampler, steps)
    (centre, spread), wanted = known.at(grid[0]), known.at(grid[-1])

    def run(noise: Callable[[], Tensor]) -> Tensor:
        *_, step = sample(known, sampler, centre + spread.sqrt() * noise(), grid, noise)
        return step.x_s

    mean, covariance = moments(run, (3,), device)
    return float(((mean - wanted[0]).abs() + (covariance.diagonal() - wanted[1]).abs()).max())


class Followed(NamedTuple):
    """A sampler, which of its predictions is a polynomial, of which degree, in l or in sigma / alpha = e^-l."""

    kind: str
    predicts: str
    degree: int
    in_rho: bool = False


FOLLOWED = (
    Followed("dpm++3m", "x_0", 2),
    Followed("dpm++3s", "x_0", 2),
    Followed("unipc-3", "x_0", 2),
    *(Followed(f"deis-{n}", "eps", n - 1) for n in (2, 3, 4)),
    Followed("heun", "eps", 1, True),
    *(Followed(f"ipndm-{n}", "eps", n - 1, True) for n in (2, 3, 4)),
)
"""UniPC's last step is not corrected, and follows what UniP does."""


@CHECKS("{it.kind}: exact where {it.predicts} is of degree {it.degree}", 1e-11, it=FOLLOWED)
def exactly(followed: Followed, device: torch.device) -> float:
    """The end of an uneven chain, against (1) by quadrature."""
    schedule, grid = log_snr_linear(200, 6.0, -6.0), torch.tensor([196, 188, 170, 161, 130, 100, 84, 49, 31, 14])
    nodes, weights = legendre(24)
    half = torch.logit(schedule.alpha_bar[1:]) / 2
    levels, of_x0 = half[grid - 1], followed.predicts == "x_0"

    def value(level: Tensor) -> Tensor:
        u = torch.exp(-level) if followed.in_rho else level
        return sum((c * u**k for k, c in enumerate((-0.3, 0.2, 0.1)[: followed.degree], 1)), torch.full_like(u, 0.4))

    def denoise(x_t: Tensor, t: Tensor) -> Prediction:
        told, kept = value(half[t - 1]).to(device), schedule.alpha_bar[t]
        alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
        rest = (x_t - (alpha if of_x0 else sigma) * told) / (sigma if of_x0 else alpha)
        return Prediction(t, told + 0 * x_t, rest) if of_x0 else Prediction(t, rest, told + 0 * x_t)

    places = levels[:-1, None] + levels.diff()[:, None] * (nodes + 1) / 2
    rate = torch.exp(places) * value(places) if of_x0 else -torch.exp(-places) * value(places)
    total = torch.cat([double(0), ((rate * weights).sum(1) * levels.diff() / 2).cumsum(0)])
    alpha_bar = schedule.alpha_bar[grid]
    exact = ((1 - alpha_bar if of_x0 else alpha_bar).sqrt() * (0.7 + total)).reshape(-1, 1, 1).to(device)
    return chain_error(KINDS[followed.kind](schedule), denoise, grid, exact)


@CHECKS("{claim}, law of data", 0.15, partial(law_error, along), claim=NOISY)
@CHECKS("{claim}, law, uneven", 0.15, partial(law_error, uneven), claim=NOISY)
@CHECKS("{claim}, flow of Gaussian data", 0.15, flow_error, claim=QUIET)
@CHECKS("{claim}, flow of a mixture, uneven", 0.15, hills_error, claim=QUIET)
def off_order(error: Error, claim: str, device: torch.device) -> float:
    sampler = CLAIMS[claim]
    return order(error, sampler, device) - sampler.order


@CHECKS("{kind}: its order on the straight path too", 0.15, kind=ALL)
def off_order_on_path(kind: str, device: torch.device) -> float:
    sampler = ALL[kind](PATH)
    on_path: Error = partial(flow_error, table=PATH, grids=along_path)
    error = partial(law_error, along_path, table=PATH) if sampler.stochastic else on_path
    return order(error, sampler, device) - sampler.order
