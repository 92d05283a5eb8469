"""Samplers and guidance: the exact law of what they draw, their order, and the laws that tie them together.

Of Gaussian data a step of any sampler is affine, so mean and variance are followed exactly, without drawing. A step
of DDIM from x_t to x_s keeps, of the distance from the mean, with k^2 = 1 - alpha_bar_s - sigma^2,

    ( a_s a_t l + k s_t ) / v_t                                                                  (1)

and adds sigma^2: the covariance of (x_0, x_t) and of (eps, x_t), each over Var x_t.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction, PredictsEps
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule, cosine, linear, log_snr_linear
from ancestral.diffusion.variances import Variance, beta, beta_tilde, interpolated
from ancestral.sampling.denoiser import DynamicClip, StaticClip
from ancestral.sampling.guidance import ClassifierFree, OneCall, TwoCalls
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM, Ancestral, Sampler
from ancestral.selftest.checks import Check, apart, largest
from ancestral.selftest.oracles import (
    GaussianData,
    double,
    normal,
    propagate,
    score,
    two_hills,
)

FORTY = log_snr_linear(40, 6.0, -6.0)
GRIDS: dict[str, Callable[[int], Tensor]] = {"trailing": FORTY.trailing, "log-SNR": FORTY.uniform_log_snr}
STEPS = (1, 3, 17, 40)


def gaussian(schedule: Schedule, device: torch.device, *variance: float) -> GaussianData:
    """Data of these variances, with means that are not 0."""
    means = (0.3, -0.5, 0.1, 0.0)[: len(variance)]
    return GaussianData(schedule, double(*means, device=device), double(*variance, device=device))


def ancestral(schedule: Schedule, variance: Variance = beta_tilde) -> Ancestral:
    """Algorithm 2 with a variance."""
    return Ancestral(GaussianDiffusion(schedule, PredictsEps(), variance))


KINDS: dict[str, Callable[[Schedule], Sampler]] = {"ancestral": ancestral, "ddim": DDIM}
"""Every sampler, for its order."""


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
        return data(x_t, t)._replace(spread=(2 * (exact - low) / (high - low) - 1).expand_as(x_t))

    return law(ancestral(FORTY, interpolated), data, grid[:-1], with_spread)


def point_law(grid: str, eta: float, device: torch.device) -> float:
    """DDIM keeps the marginals of data at a point, however much noise is fresh (Song et al. 2021, lemma 1)."""
    return largest(law(DDIM(FORTY, eta), gaussian(FORTY, device, 0.0, 0.0), GRIDS[grid](steps)) for steps in STEPS)


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


def order(kind: str, device: torch.device) -> float:
    """How far from 1 the order is that halving the steps measures, on mean and variance at t = 1."""

    def error(steps: int) -> float:
        data = gaussian(log_snr_linear(steps, 4.0, -4.0), device, 0.0, 0.05, 0.4, 1.0)
        grid = data.schedule.trailing(steps)[:-1]
        *_, (_, mean, variance) = propagate(KINDS[kind](data.schedule), data, grid, *data.at(grid[0]))
        centre, wanted = data.at(grid[-1])
        return float(((mean - centre).abs() + (variance - wanted).abs()).max())

    return abs(math.log2(error(96) / error(192)) - 1)


def flow_order(device: torch.device) -> float:
    """How far from 1 the order is at which DDIM comes to the probability flow of Gaussian data."""

    def error(steps: int) -> float:
        data = gaussian(log_snr_linear(steps, 4.0, -4.0), device, 0.0, 0.05, 0.4, 1.0)
        x_T, grid = double(1, -1, 0.5, 2, device=device)[None], data.schedule.trailing(steps)[:-1]
        *_, step = sample(data, DDIM(data.schedule), x_T, grid, lambda: x_T)
        return apart(step.x, data.flow(x_T, grid[0], grid[-1]))

    return abs(math.log2(error(96) / error(192)) - 1)


def hills_order(device: torch.device) -> float:
    """The same on a mixture, whose flow has no closed form: three step sizes and the ratio of their differences."""

    def end(steps: int) -> Tensor:
        schedule = log_snr_linear(steps + 1, 4.0, -4.0)
        x_T, grid = double(0.4, -0.3, -0.2, 1, device=device).reshape(2, 2), schedule.trailing(steps + 1)[:-1]
        *_, step = sample(two_hills(schedule, device), DDIM(schedule), x_T, grid, lambda: x_T)
        return step.x

    coarse, middle, fine = end(64), end(128), end(256)
    return abs(math.log2(float((coarse - middle).norm() / (middle - fine).norm())) - 1)


def same_chain(steps: int, device: torch.device) -> float:
    """DDIM with eta = 1 against ancestral sampling with beta_tilde: the same noise on a mixture, every x_s."""
    schedule, noise = linear(100), normal(101, 3, 2, device=device)

    def chain(sampler: Sampler) -> Tensor:
        kicks = iter(noise)
        steps_of = sample(two_hills(schedule, device), sampler, next(kicks), schedule.trailing(steps), kicks.__next__)
        return torch.stack([step.x for step in steps_of])

    return apart(chain(ancestral(schedule)), chain(DDIM(schedule, 1.0)))


def last_step(kind: str, device: torch.device) -> float:
    """Onto s = 0 a step is the predicted x_0, whatever the noise; the loop yields that estimate."""
    schedule, x = cosine(50), normal(4, 2, device=device)
    hills, far = two_hills(schedule, device), torch.full_like(x, 1e6)
    *_, step = sample(hills, KINDS[kind](schedule), x, torch.tensor([7, 0]), lambda: far)
    wanted = hills(x, torch.tensor(7)).x0
    return apart(step.x, wanted) + apart(step.x0, wanted)


def guided(scale: float, device: torch.device) -> float:
    """eps of guidance, against the score of q(x_t)^(1 - w) q(x_t | c)^w: of a mixture and one of its components."""
    t, x, schedule = torch.tensor(40), normal(16, 2, device=device), cosine(100)
    hills = two_hills(schedule, device)
    one = hills.component(0)
    towards = -(x - one.at(t)[0]) / one.at(t)[1]
    wanted = (1 - scale) * score(hills, x, t) + scale * towards
    kept = float(schedule.alpha_bar[40])
    found = ClassifierFree(TwoCalls(one, hills), scale)(x, t)
    pair = kept**0.5 * found.x0 + (1 - kept) ** 0.5 * found.eps
    return apart(found.eps, -((1 - kept) ** 0.5) * wanted) + apart(pair, x)


def moved(device: torch.device) -> float:
    """Between Gaussians of one variance, guidance w is Gaussian data whose mean is moved w times as far."""
    schedule, t, x = cosine(100), torch.tensor(30), normal(8, 1, device=device)
    near, far, there = (GaussianData(schedule, double(m, device=device), double(0.4, device=device)) for m in (0, 1, 3))
    return apart(ClassifierFree(TwoCalls(far, near), 3.0)(x, t).x0, there(x, t).x0)


def one_call(device: torch.device) -> float:
    """Guidance by one call on twice the batch, against two calls; the spread stays the conditional one's."""
    schedule, t, x = cosine(100), torch.tensor(30), normal(8, 1, device=device)
    near, far = (GaussianData(schedule, double(mean, device=device), double(0.4, device=device)) for mean in (0, 1))

    def both(x: Tensor, t: Tensor) -> Prediction:
        first, second = far(x[:8], t), near(x[8:], t)
        pair = (torch.cat([first.x0, second.x0]), torch.cat([first.eps, second.eps]))
        return Prediction(t, *pair, torch.cat([x[:8] * 0 + 1, x[8:] * 0 - 1]))

    found, wanted = ClassifierFree(OneCall(both), 2.5)(x, t), ClassifierFree(TwoCalls(far, near), 2.5)(x, t)
    assert found.spread is not None
    return apart(found.x0, wanted.x0) + apart(found.eps, wanted.eps) + apart(found.spread, 1.0)


def clipped(device: torch.device) -> float:
    """Clipping keeps x_0 in [-1, 1] and recomputes eps, so that the pair still makes x_t."""
    schedule, t, x = cosine(100), torch.tensor(20), 3 * normal(8, 4, device=device)
    data = GaussianData(schedule, double(0, 0, 0, 0, device=device), double(4, 4, 4, 4, device=device))
    kept, errors, plain = float(schedule.alpha_bar[20]), [], data(x, t).x0
    for clip in (StaticClip(data, schedule), DynamicClip(data, schedule)):
        found = clip(x, t)
        errors.append(apart(kept**0.5 * found.x0 + (1 - kept) ** 0.5 * found.eps, x))
        errors.append(max(float(found.x0.abs().max()) - 1, 0.0))
    return largest([*errors, apart(StaticClip(data, schedule)(x, t).x0, plain.clamp(-1, 1))])


CHECKS = (
    *(Check(f"ancestral, beta, {grid} grid: law of unit-variance data", 1e-9, partial(exact_law, grid, beta, 1.0))
      for grid in GRIDS),
    *(Check(f"ancestral, beta_tilde, {grid} grid: law of a point", 1e-9, partial(exact_law, grid, beta_tilde, 0.0))
      for grid in GRIDS),
    *(Check(f"ancestral, exact variance, {grid} grid: law of data", 1e-9, partial(exact_law, grid, None, 0.3))
      for grid in GRIDS),
    Check("ancestral, learned variance: law of data", 1e-9, learned_law),
    *(Check(f"ddim, eta {eta:g}, {grid} grid: marginals of a point", 1e-9, partial(point_law, grid, eta))
      for grid in GRIDS for eta in (0.0, 0.5, 1.0)),
    *(Check(f"ddim, eta {eta:g}, {grid} grid: final law of data", 1e-9, partial(final_law, grid, eta))
      for grid in GRIDS for eta in (0.0, 0.5, 1.0)),
    *(Check(f"{kind}: order 1, by halving the steps", 0.15, partial(order, kind)) for kind in KINDS),
    Check("ddim: order 1 to the probability flow", 0.15, flow_order),
    Check("ddim: order 1 on a mixture", 0.15, hills_order),
    *(Check(f"ddim with eta 1 is ancestral, {steps} of 100 steps", 1e-9, partial(same_chain, steps))
      for steps in (100, 10)),
    *(Check(f"{kind}: the last step is the predicted x_0", 1e-12, partial(last_step, kind)) for kind in KINDS),
    *(Check(f"guidance {scale:g}: score of the mixed density", 1e-11, partial(guided, scale))
      for scale in (0.0, 1.0, 2.5)),
    Check("guidance 3: mean moved three times as far", 1e-12, moved),
    Check("guidance by one call and by two", 1e-14, one_call),
    Check("clipping: x_0 within 1, pair makes x_t", 1e-12, clipped),
)  # fmt: skip
