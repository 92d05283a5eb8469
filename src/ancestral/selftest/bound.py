"""The variational bound: every term by itself, and the sum against entropies that are known without it."""

import itertools
import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ancestral.diffusion.likelihood import bits_per_dim, bound_terms, prior_term, rectangle_log_prob, step_term
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule, linear, log_snr_linear, zero_terminal_snr
from ancestral.diffusion.variances import beta, beta_tilde
from ancestral.gaussian import BIN_WIDTH, DiagonalGaussian
from ancestral.oracles import GaussianData, double, entropy, eps_process, every, expected_terms, normal, propagate
from ancestral.sampling.samplers import Ancestral
from ancestral.selftest.checks import Check, apart, largest, relative
from ancestral.selftest.process import FIVE, kl_integral
from ancestral.selftest.schedules import TABLES

VARIANCES = (0.01, 0.25, 0.7, 1.0)
STRIDED = torch.tensor([5, 3, 1, 0])
"""A chain whose betas are none of FIVE's but the last."""
GRID = 0.9
"""Distance of the x_t that stand for all, in standard deviations of the noise."""
density = DiagonalGaussian.log_prob


def gaussian(schedule: Schedule, device: torch.device) -> GaussianData:
    """Four independent numbers of mean 0 and different variances."""
    return GaussianData(schedule, torch.zeros(4, dtype=torch.float64, device=device), double(*VARIANCES, device=device))


def pixels(device: torch.device) -> Tensor:
    """All 256 levels of a pixel, (256, 1)."""
    return (torch.arange(256, dtype=torch.float64, device=device) / 127.5 - 1)[:, None]


# L_T


def published_prior(device: torch.device) -> float:
    """L_T of the linear schedule at E[x_0^2] = 0.5: alpha_bar_T / (4 log 2) = 1.4556e-5 bits a dimension."""
    x0 = torch.full((2, 12), math.sqrt(0.5), dtype=torch.float64, device=device)
    bits = bits_per_dim(prior_term(eps_process(linear(), beta), x0), 12)
    return relative(bits, torch.full_like(bits, 1.4556e-5))


def prior_by_integration(device: torch.device) -> float:
    """L_T of a chain that keeps much of its signal, by integrating q log(q / p)."""
    kept = 0.9 * 0.7 * 0.8 * 0.45 * 0.6
    x, errors = torch.linspace(-14, 14, 20001, dtype=torch.float64), []
    for x0 in (-1.0, 0.3, 2.0):
        q, p = (double(kept**0.5 * x0), double(1 - kept)), (double(0), double(1))
        wanted = kl_integral(q, p, x)
        errors.append(apart(prior_term(eps_process(FIVE, beta), double(x0, device=device)[:, None]), float(wanted)))
    return largest(errors)


def free_prior(device: torch.device) -> float:
    """L_T where no signal is left."""
    return apart(prior_term(eps_process(zero_terminal_snr(linear()), beta), normal(4, 3, device=device)), 0.0)


# L_(t,s)


def step_by_eps(stride: int, large: bool, device: torch.device) -> float:
    """Every term of the linear schedule, from the error of eps (Ho et al. 2020, eq. 8 and 12, at any stride).

    beta^2 (eps - eps_hat)^2 / (2 sigma^2 (1 - beta) (1 - alpha_bar_t)), and the KL of the variances where they differ.
    """
    t = torch.arange(stride + 1, 1001)
    before, kept = (linear().alpha_bar[time].to(device)[:, None] for time in (t - stride, t))
    step = -torch.expm1(kept.log() - before.log())
    narrow = step * (1 - before) / (1 - kept)
    width = step if large else narrow
    x0, eps, hat = (part.expand(len(t), 1) for part in normal(3, 1, 1, device=device))
    diffusion = eps_process(linear(), beta if large else beta_tilde)
    x_t = diffusion.q_sample(x0, t, eps)
    found = step_term(diffusion, diffusion.decode(hat, x_t, t), x0, x_t, t, t - stride)
    error = step**2 * (eps - hat) ** 2 / (2 * width * (1 - step) * (1 - kept))
    return apart(found, (error + 0.5 * (narrow / width - 1 - (narrow / width).log()))[:, 0])


# L_0


def bins_add_to_one(device: torch.device) -> float:
    """The probabilities of 256 bins, for means inside and far outside and widths down to a tenth of a bin."""
    mean = torch.linspace(-3, 3, 61, dtype=torch.float64, device=device)
    errors = []
    for width in (8e-4, 0.004, 0.03, 0.5, 4.0):
        p = DiagonalGaussian(mean.expand(256, 61), double(2 * math.log(width), device=device)[0])
        errors.append(apart(p.log_prob_of_bins(pixels(device).expand(256, 61)).logsumexp(0), 0.0))
    return largest(errors)


def inner_bins(device: torch.device) -> float:
    """log P of bins 1..254 by Gauss-Legendre quadrature of the density, up to 60 sigma away; relative."""
    nodes, weights = (torch.tensor(each, device=device) for each in np.polynomial.legendre.leggauss(24))
    errors, x0 = [], pixels(device)[1:-1]
    for mean, width in ((0.2, 0.03), (-0.7, 0.05), (1.5, 0.04), (0.0, 0.4)):
        p = DiagonalGaussian(torch.full_like(x0, mean), double(2 * math.log(width), device=device)[0])
        z = (x0 + nodes / 255 - mean) / width
        wanted = (-0.5 * z**2 + (weights / (255 * width * math.sqrt(2 * math.pi))).log()).logsumexp(1)
        errors.append(relative(p.log_prob_of_bins(x0)[:, 0], wanted))
    return largest(errors)


def open_tails(device: torch.device) -> float:
    """log P of levels 0 and 255: the normal tail by erfc, and where that is 0 by its asymptotic series; relative."""
    edge, errors = 254.5 / 127.5 - 1, []
    for z in (-6.0, -1.0, 0.0, 2.0, 8.0, 25.0, 60.0):
        width = 0.02
        x = double(1.0, -1.0, device=device)[:, None]
        p = DiagonalGaussian(x * (edge - z * width), double(2 * math.log(width), device=device)[0])
        errors.append(relative(p.log_prob_of_bins(x), double(log_tail(z), device=device)))
    return largest(errors)


def log_tail(z: float) -> float:
    """log P(N(0, 1) > z)."""
    if z < 0:
        return math.log1p(-0.5 * math.erfc(-z / math.sqrt(2)))
    if z < 26:
        return math.log(0.5 * math.erfc(z / math.sqrt(2)))
    series = 1 - z**-2 + 3 * z**-4 - 15 * z**-6
    return -0.5 * z * z - math.log(z * math.sqrt(2 * math.pi)) + math.log(series)


def last_term(large: bool, device: torch.device) -> float:
    """L_0 of three pixels, eps_hat wrong, by the error function and the numbers of FIVE: beta_1, or beta_tilde_2."""
    width = math.sqrt(0.1 if large else 0.1 / (1 - 0.9 * 0.7) * 0.3)
    x0, eps, hat = (-1.0, 100 / 127.5 - 1, 1.0), (0.4, -0.2, 0.9), (0.5, 0.3, -0.1)
    wanted = 0.0
    for x, e, h in zip(x0, eps, hat, strict=True):
        mean = x + math.sqrt(0.1 / 0.9) * (e - h)
        low, high = ((x + side / 255 - mean) / width for side in (-1, 1))
        wanted -= math.log((1.0 if x == 1 else phi(high)) - (0.0 if x == -1 else phi(low)))
    pixel, noise, said = (double(*row, device=device)[None] for row in (x0, eps, hat))
    t, diffusion = torch.tensor(1), eps_process(FIVE, beta if large else beta_tilde)
    x_1 = diffusion.q_sample(pixel, t, noise)
    return apart(step_term(diffusion, diffusion.decode(said, x_1, t), pixel, x_1, t, t - 1), wanted)


def phi(z: float) -> float:
    """The normal distribution function."""
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def rectangles(device: torch.device) -> float:
    """The rectangle rule is off by (bin / sigma)^2 / 24 (z^2 - 1), the next term of the integral over a bin."""
    x0, width = pixels(device)[1:-1], 0.2
    p = DiagonalGaussian(torch.full_like(x0, 0.1), double(2 * math.log(width), device=device)[0])
    z = (x0 - 0.1) / width
    off = p.log_prob_of_bins(x0) - rectangle_log_prob(p, x0)
    return apart(off, (BIN_WIDTH / width) ** 2 / 24 * (z**2 - 1))


# From the evidence to the sum


def path_weights(device: torch.device) -> float:
    """With the exact reverse process p(x_{0:T}) / q(x_{1:T} | x_0) is p(x_0) on every single path."""
    schedule = zero_terminal_snr(FIVE)
    data = GaussianData(schedule, double(0.4, device=device), double(2.5, device=device))
    diffusion, grid, x = eps_process(schedule, data.exact), STRIDED, double(-1.3, device=device).expand(50, 1)
    weight, kicks = torch.zeros_like(x), normal(3, 50, 1, device=device)
    for (t, s), kick in zip(list(itertools.pairwise(grid))[::-1], kicks, strict=True):
        step = diffusion.q_step(x, t, s)
        above = step.sample(kick)
        weight = weight + diffusion.p_posterior(data(above, t), above, t, s).log_prob(x) - step.log_prob(above)
        x = above
    prior = -0.5 * (x * x + math.log(2 * math.pi))
    truth = -0.5 * (1.7**2 / 2.5 + math.log(2 * math.pi * 2.5))
    return apart(prior + weight, truth)


def telescoped(device: torch.device) -> float:
    """The sum of `bound_terms` for a wrong model is E[-log weight] of its paths, both means over signs."""
    data = GaussianData(FIVE, double(0.3, device=device), double(0.5, device=device))
    diffusion, errors = eps_process(FIVE, beta), []
    for grid in (STRIDED, every(FIVE)):
        kicks = torch.tensor([*itertools.product((1.0, -1.0), repeat=len(grid) - 1)], device=device).double()
        x, weight = double(0.8, device=device).expand(len(kicks), 1), torch.zeros(len(kicks), 1, device=device)
        for (t, s), kick in zip(list(itertools.pairwise(grid))[::-1], kicks.T[:, :, None], strict=True):
            step = diffusion.q_step(x, t, s)
            above = step.sample(kick)
            weight = weight + diffusion.p_posterior(data(above, t), above, t, s).log_prob(x) - step.log_prob(above)
            x = above
        whole = -(weight - 0.5 * (x * x + math.log(2 * math.pi))).mean()
        x0, noise = double(0.8, 0.8, device=device)[:, None], double(1, -1, device=device)[:, None]
        terms = bound_terms(diffusion, data, x0, grid, partial(torch.clone, noise), density)
        errors.append(abs(sum(float(term.nats.mean()) for term in terms) - float(whole)))
    return largest(errors)


def above_the_evidence(device: torch.device) -> float:
    """By how much the bound of wrong models is below -log p(x_0), which their chain's mean and variance give."""
    below, zero = [], torch.zeros(1, dtype=torch.float64, device=device)
    for mean, variance, width in itertools.product((-2.0, 0.5), (0.1, 3.0), (beta, beta_tilde)):
        data = GaussianData(FIVE, zero + mean, zero + variance)
        diffusion, x0 = eps_process(FIVE, width), torch.full((2, 1), 0.6, dtype=torch.float64, device=device)
        *_, (_, centre, spread) = propagate(Ancestral(diffusion), data, STRIDED, zero, zero + 1)
        last = width(FIVE, STRIDED[2], STRIDED[3], data(x0, STRIDED[2])).exp().to(device)
        evidence = -0.5 * ((0.6 - centre) ** 2 / (spread + last) + (2 * math.pi * (spread + last)).log())
        noise = double(1, -1, device=device)[:, None]
        terms = bound_terms(diffusion, data, x0, STRIDED, partial(torch.clone, noise), density)
        below.append(max(-float(evidence) - sum(float(term.nats.mean()) for term in terms), 0.0))
    return largest(below)


# Against entropies


def above_entropy(name: str, T: int, device: torch.device) -> float:
    """Bound minus entropy of Gaussian data with the exact reverse variance, nats a dimension."""
    data = gaussian(TABLES[name](T), device)
    terms = expected_terms(eps_process(data.schedule, data.exact), data, every(data.schedule))
    return apart(terms.sum(), float(entropy(data.variance).mean()))


def prior_excess(data: GaussianData) -> Tensor:
    """KL(q(x_T) || N(0, I)), which no reverse process can save: nats a dimension."""
    mean, variance = data.at(torch.tensor(data.schedule.num_timesteps))
    return 0.5 * (variance + mean**2 - 1 - variance.log()).mean()


def strided_entropy(device: torch.device) -> float:
    """The same on strides of a chain that ends early: KL(q(x_T) || N(0, I)) is lost, and nothing else."""
    errors = []
    for grid in ((40, 0), (40, 1, 0), (40, 39, 20, 3, 0)):
        data = gaussian(log_snr_linear(40, 9.0, -3.0), device)
        terms = expected_terms(eps_process(data.schedule, data.exact), data, torch.tensor(grid))
        errors.append(apart(terms.sum(), float(entropy(data.variance).mean() + prior_excess(data))))
    return largest(errors)


def fixed_gap(large: bool, T: int, steps: int, device: torch.device) -> float:
    """What a fixed variance costs beyond the entropy: sum of (r - 1 - log r) / 2, r = exact over fixed; relative."""
    data = gaussian(linear(T), device)
    unit, point = (GaussianData(data.schedule, data.mean, torch.full_like(data.mean, each)) for each in (1.0, 0.0))
    grid = data.schedule.trailing(steps)
    t, s = grid[:-1], grid[1:]
    extreme = unit.reverse_variance(t, s) if large else point.reverse_variance(t.clamp(min=2), s.clamp(min=1))
    ratio = data.reverse_variance(t, s) / extreme
    wanted = 0.5 * (ratio - 1 - ratio.log()).sum(0).mean() + prior_excess(data)
    terms = expected_terms(eps_process(data.schedule, beta if large else beta_tilde), data, grid)
    return relative(terms.sum() - entropy(data.variance).mean(), wanted)


def one_bit(_: torch.device) -> float:
    """256 equally likely levels cost log 256 nats, which is 8 bits, of one dimension and of three."""
    return apart(bits_per_dim(double(math.log(256), 3 * math.log(256)), 1), double(8, 24))


def uniform_pixels(device: torch.device) -> float:
    """Bits a pixel beyond 8 for the exact denoiser of uniform pixels; less than 8 would be a fault, so it is NaN.

    What is left falls with the number of steps: the true reverse step is a mixture of the levels still possible, and
    a Gaussian stands for it. Levels part at a log-SNR of 11 to 14, so the steps are finer there. The data are
    symmetric and half the line is enough; the trapezoid rule is exact here to six digits.
    """
    schedule, x0 = log_snr_linear(961, 14.0, -10.0), pixels(device)
    diffusion = eps_process(schedule, pixel_variance)
    nats = prior_term(diffusion, x0).mean()
    for t, s in itertools.pairwise(torch.cat([torch.arange(961, 121, -8), torch.arange(121, -1, -1)])):
        kept = float(schedule.alpha_bar[t])
        signal, noise = kept**0.5, (1 - kept) ** 0.5
        count = int((signal + 6 * noise) / (GRID * noise) + 1)
        x_t = (torch.arange(count, device=device).double() + 0.5)[:, None] * GRID * noise
        z = (x_t - signal * x0[:, 0]) / noise
        weight = torch.exp(-0.5 * z**2) * (2 * GRID / math.sqrt(2 * math.pi) / 256)
        share = torch.softmax(-0.5 * z**2, dim=1)
        mean = share @ x0
        spread = (share @ x0**2 - mean**2).clamp(min=0)
        row, level = (weight > 1e-11).nonzero(as_tuple=True)
        said = Prediction(t, mean[row], (x_t[row] - signal * mean[row]) / noise, spread[row])
        nats = nats + step_term(diffusion, said, x0[level], x_t[row], t, s) @ weight[row, level]
    beyond = float(nats) / math.log(2) - 8
    return beyond if beyond > 0 else math.nan


def pixel_variance(schedule: Schedule, t: Tensor, s: Tensor, prediction: Prediction) -> Tensor:
    """log Var(x_s | x_t) by the law of total variance; onto the data at least a 20th of a bin, as densities need."""
    assert prediction.variance_coeff is not None
    kept, before = float(schedule.alpha_bar[t]), float(schedule.alpha_bar[s])
    step = 1 - kept / before
    variance = (1 - before) / (1 - kept) * step + before * (step / (1 - kept)) ** 2 * prediction.variance_coeff
    return torch.log(variance.clamp(min=(0.1 / 255) ** 2) if s == 0 else variance)


CHECKS = (
    Check("L_T: 1.4556e-5 bits at E[x_0^2] = 0.5, linear", 1e-4, published_prior),
    Check("L_T by integration", 1e-10, prior_by_integration),
    Check("L_T is 0 at zero terminal SNR", 0, free_prior),
    *(Check(f"L_(t,s) by the error of eps, {name}, stride {stride}", 1e-9, partial(step_by_eps, stride, large))
      for name, large in (("beta", True), ("beta_tilde", False)) for stride in (1, 7)),
    Check("L_0: 256 bins add to 1", 1e-12, bins_add_to_one),
    Check("L_0: inner bins by quadrature", 1e-12, inner_bins),
    Check("L_0: open ends by the tail of the normal law", 1e-9, open_tails),
    *(Check(f"L_0 of three pixels by the error function, {name}", 1e-12, partial(last_term, large))
      for name, large in (("beta", True), ("beta_tilde", False))),
    Check("L_0: error of the rectangle rule", 2e-6, rectangles),
    Check("evidence: every path weighs p(x_0)", 1e-10, path_weights),
    Check("evidence: -log weights add to the terms", 1e-11, telescoped),
    Check("evidence: the bound is not below it", 1e-10, above_the_evidence),
    *(Check(f"bound minus entropy, exact variance, {name}, T = {T}", 1e-9, partial(above_entropy, name, T))
      for name in ("linear", "cosine") for T in (10, 100, 1000, 4000)),
    Check("bound minus entropy, exact variance, strides", 1e-9, strided_entropy),
    *(Check(f"gap of {name}, T = {T}, {steps} steps; relative", 1e-6, partial(fixed_gap, large, T, steps))
      for name, large in (("beta", True), ("beta_tilde", False))
      for T, steps in ((10, 10), (1000, 1000), (1000, 25))),
    Check("bits per dimension of log 256 nats", 1e-14, one_bit),
    Check("uniform pixels: bits beyond 8", 2e-3, uniform_pixels),
)  # fmt: skip
