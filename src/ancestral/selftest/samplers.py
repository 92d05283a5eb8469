"""Samplers: the exact law of what they draw, and the laws that tie them together. Their orders are in orders.py.

Of Gaussian data a step of any sampler is affine, so mean and variance are followed exactly, without drawing. A step
of DDIM from x_t to x_s keeps, of the distance from the mean, with k^2 = 1 - alpha_bar_s - sigma^2,

    ( alpha_s alpha_t l + k sigma_t ) / v_t                                                                  (1)

and adds sigma^2: the covariance of (x_0, x_t) and of (eps, x_t), each over Var x_t.
"""

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ancestral.building import FLOWS
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule, cosine, linear, log_snr_linear, zero_terminal_snr
from ancestral.diffusion.variances import Variance, beta, beta_tilde, interpolated
from ancestral.oracles import GaussianData, double, eps_process, normal, propagate, two_hills
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM, Ancestral, DPMSolver2M, DPMSolver2MSDE, Euler, Sampler
from ancestral.selftest.checks import Check, apart, largest

FORTY = log_snr_linear(40, 6.0, -6.0)
GRIDS: dict[str, Callable[[int], Tensor]] = {"trailing": FORTY.trailing, "log-SNR": FORTY.uniform_log_snr}
STEPS = (1, 3, 17, 40)


def gaussian(schedule: Schedule, device: torch.device, *variance: float) -> GaussianData:
    """Data of these variances, with means that are not 0."""
    means = (0.3, -0.5, 0.1, 0.0)[: len(variance)]
    return GaussianData(schedule, double(*means, device=device), double(*variance, device=device))


def ancestral(schedule: Schedule, variance: Variance = beta_tilde) -> Ancestral:
    """Algorithm 2 with a variance."""
    return Ancestral(eps_process(schedule, variance))


KINDS: dict[str, Callable[[Schedule], Sampler]] = {
    "ancestral": ancestral,
    "ddim": DDIM,
    "dpm++2m-sde": DPMSolver2MSDE,
    **FLOWS,
}
"""Every sampler."""
NOISY: dict[str, Callable[[Schedule, float], Sampler]] = {"ddim": DDIM, "dpm++2m-sde": DPMSolver2MSDE}
"""Those whose noise is a setting."""
UNEVEN = torch.tensor([50, 43, 41, 27, 9, 7, 2, 0])
"""A grid on a table of 50 that no formula made."""


def law(sampler: Sampler, data: GaussianData, grid: Tensor, denoise: Callable[..., Prediction] | None = None) -> float:
    """How far mean and variance stray from those of x_s at any step but the last, from the exact law of x_T."""
    steps = propagate(sampler, denoise or data, grid, *data.at(grid[0]))
    pairs = ((found, data.at(torch.tensor(s))) for s, *found in steps if s > 0)
    errors = (apart(mean, m) + apart(variance, v) for (mean, variance), (m, v) in pairs)
    return largest([0.0, *errors])


def exact_law(grid: str, variance: Variance | None, spread: float, device: torch.device) -> float:
    """Ancestral sampling of data that its variance fits: every x_s has the exact marginal, at any stride."""
    data = gaussian(FORTY, device, spread)
    return largest(law(ancestral(FORTY, variance or data.exact), data, GRIDS[grid](steps)) for steps in STEPS)


def learned_law(device: torch.device) -> float:
    """The same with a spread that says the exact variance between its extremes."""
    data, point, unit = (gaussian(FORTY, device, each) for each in (0.3, 0.0, 1.0))
    grid = FORTY.trailing(17)
    arrives = dict(itertools.pairwise(grid.tolist()))

    def with_spread(x_t: Tensor, t: Tensor) -> Prediction:
        step = t, torch.tensor(max(arrives[int(t)], 1))
        exact, low, high = (each.reverse_variance(*step).log() for each in (data, point, unit))
        return data(x_t, t)._replace(variance_coeff=(2 * (exact - low) / (high - low) - 1).expand_as(x_t))

    return law(ancestral(FORTY, interpolated), data, grid[:-1], with_spread)


def point_law(kind: str, grid: str, eta: float, device: torch.device) -> float:
    """The marginals of data at a point are kept, however much noise is fresh (Song et al. 2021, lemma 1, for DDIM)."""
    sampler, point = NOISY[kind](FORTY, eta), gaussian(FORTY, device, 0.0, 0.0)
    return largest(law(sampler, point, GRIDS[grid](steps)) for steps in STEPS)


def final_law(grid: str, eta: float, device: torch.device) -> float:
    """Mean and variance of what DDIM draws of Gaussian data, against (1) along the grid."""
    data, point = gaussian(FORTY, device, 0.05, 0.4, 1.0), gaussian(FORTY, device, 0.0)
    errors = []
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
        errors += [apart(mean, data.mean), apart(found, variance)]
    return largest(errors)


def ends(sampler: Sampler, schedule: Schedule, timesteps: Tensor, device: torch.device) -> Tensor:
    """Every x_s of a chain on a mixture, always of the same noise: (steps, 3, 2)."""
    kicks = iter(normal(102, 3, 2, device=device))
    chain = sample(two_hills(schedule, device), sampler, next(kicks), timesteps, kicks.__next__)
    return torch.stack([step.x_s for step in chain])


def same_chain(steps: int, device: torch.device) -> float:
    """DDIM with eta = 1 against ancestral sampling with beta_tilde, every x_s."""
    schedule = linear(100)
    walks = (
        ends(each, schedule, schedule.trailing(steps), device) for each in (ancestral(schedule), DDIM(schedule, 1.0))
    )
    return apart(*walks)


def noiseless(
    first: Callable[[Schedule], Sampler], second: Callable[[Schedule], Sampler], device: torch.device
) -> float:
    """Two samplers that are one where no noise is drawn, on an uneven grid, every x_s."""
    schedule = cosine(50)
    return apart(*(ends(kind(schedule), schedule, UNEVEN, device) for kind in (first, second)))


def one_point(kind: str, device: torch.device) -> float:
    """Of data at a point x_0 and eps are the same all along the flow: no step errs, however long and uneven."""
    schedule = cosine(50)
    point, x_T = gaussian(schedule, device, 0.0, 0.0), normal(4, 2, device=device)
    steps = sample(point, KINDS[kind](schedule), x_T, UNEVEN, lambda: x_T)
    return largest(apart(step.x_s, point.flow(x_T, UNEVEN[0], torch.tensor(step.s))) for step in steps)


def from_no_signal(kind: str, device: torch.device) -> float:
    """Zero terminal SNR: the first step is DDIM's, since no polynomial reaches T, and no later one looks back there."""
    schedule = zero_terminal_snr(cosine(50))
    chain = ends(KINDS[kind](schedule), schedule, UNEVEN, device)
    start = normal(102, 3, 2, device=device)[0]
    hills = two_hills(schedule, device)
    first = DDIM(schedule).step(hills, start, UNEVEN[0], UNEVEN[1], [], lambda: start)[0]
    later = torch.stack([step.x_s for step in sample(hills, KINDS[kind](schedule), first, UNEVEN[1:], lambda: start)])
    return apart(chain[0], first) + apart(chain[1:], later)


def last_step(kind: str, device: torch.device) -> float:
    """Onto s = 0 a step is the predicted x_0, whatever the noise and the past; the loop yields that estimate."""
    schedule, x = cosine(50), normal(4, 2, device=device)
    hills, sampler = two_hills(schedule, device), KINDS[kind](schedule)
    draws = itertools.chain([x, x] if sampler.stochastic else [], itertools.repeat(torch.full_like(x, 1e6)))
    *_, before, step = sample(hills, sampler, x, torch.tensor([30, 19, 7, 0]), draws.__next__)
    wanted = hills(before.x_s, torch.tensor(7)).x0
    return apart(step.x_s, wanted) + apart(step.x0, wanted)


def calls(device: torch.device) -> float:
    """How many network calls of a chain of ten steps differ from what its sampler declares, all samplers together."""
    schedule, x, wrong = log_snr_linear(200, 6.0, -6.0), normal(2, 2, device=device), 0
    hills, asked = two_hills(schedule, device), list[int]()

    def counted(x_t: Tensor, t: Tensor) -> Prediction:
        asked.append(int(t))
        return hills(x_t, t)

    for kind in KINDS.values():
        sampler = kind(schedule)
        list(sample(counted, sampler, x, schedule.uniform_log_snr(10), lambda: x))
        wrong += abs(len(asked) - sampler.network_calls(10))
        asked.clear()
    return float(wrong)


CHECKS = (
    *(Check(f"ancestral, beta, {grid} grid: law of unit-variance data", 1e-9, partial(exact_law, grid, beta, 1.0))
      for grid in GRIDS),
    *(Check(f"ancestral, beta_tilde, {grid} grid: law of a point", 1e-9, partial(exact_law, grid, beta_tilde, 0.0))
      for grid in GRIDS),
    *(Check(f"ancestral, exact variance, {grid} grid: law of data", 1e-9, partial(exact_law, grid, None, 0.3))
      for grid in GRIDS),
    Check("ancestral, learned variance: law of data", 1e-9, learned_law),
    *(Check(f"{kind}, eta {eta:g}, {grid} grid: marginals of a point", 1e-9, partial(point_law, kind, grid, eta))
      for kind in NOISY for grid in GRIDS for eta in (0.0, 0.5, 1.0)),
    *(Check(f"ddim, eta {eta:g}, {grid} grid: final law of data", 1e-9, partial(final_law, grid, eta))
      for grid in GRIDS for eta in (0.0, 0.5, 1.0)),
    *(Check(f"ddim with eta 1 is ancestral, {steps} of 100 steps", 1e-9, partial(same_chain, steps))
      for steps in (100, 10)),
    Check("euler is ddim with eta 0", 1e-12, partial(noiseless, Euler, DDIM)),
    Check("dpm++2m-sde with eta 0 is dpm++2m", 1e-12, partial(
        noiseless, lambda schedule: DPMSolver2MSDE(schedule, 0.0), DPMSolver2M)),
    *(Check(f"{kind}: a point reached exactly, uneven grid", 1e-10, partial(one_point, kind)) for kind in FLOWS),
    *(Check(f"{kind}: no signal at T, no part in the polynomial", 1e-10, partial(from_no_signal, kind))
      for kind in FLOWS),
    Check("network calls of ten steps: as declared", 0, calls),
    *(Check(f"{kind}: the last step is the predicted x_0", 1e-12, partial(last_step, kind)) for kind in KINDS),
)  # fmt: skip
