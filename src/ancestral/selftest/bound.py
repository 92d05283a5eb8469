"""The variational bound, every term and the sum, and the density of the flow, against what is known without them."""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ancestral import oracles
from ancestral.diffusion import probability_flow as flow
from ancestral.diffusion.likelihood import prior_term, step_term
from ancestral.diffusion.probability_flow import Divergence, Exact, Hutchinson
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule, linear, log_snr_linear, zero_terminal_snr
from ancestral.diffusion.variances import beta, beta_tilde
from ancestral.evaluation.bound_sums import Subsample, chunk_sums, divided
from ancestral.evaluation.pixel_likelihood import laplace_log_prob
from ancestral.gaussian import BIN_WIDTH, DiagonalGaussian
from ancestral.oracles import GaussianData, Mixture, double, eps_process, gaussian, log_normal, normal, pixel_levels
from ancestral.selftest.checks import Checks
from ancestral.selftest.process import FIVE, LINEAR
from ancestral.selftest.schedules import TABLES

CHECKS, FLOW = Checks(), Checks()

VARIANCES = (0.01, 0.25, 0.7, 1.0)
FIXED = {"beta": beta, "beta_tilde": beta_tilde}


def wide(x: Tensor, mean: float | Tensor, width: float) -> DiagonalGaussian:
    """N(mean, width^2) beside x, of its shape."""
    return DiagonalGaussian(mean + torch.zeros_like(x), torch.full_like(x, 2 * math.log(width)))


# L_T


@CHECKS("L_T by integration; 0 at zero terminal SNR", 1e-10)
def prior_by_integration(device: torch.device) -> Iterator[Tensor]:
    """L_T of a chain that keeps much of its signal, by integrating q log(q / p)."""
    kept, x = 0.9 * 0.7 * 0.8 * 0.45 * 0.6, torch.linspace(-14, 14, 20001, dtype=torch.float64)
    for x0 in (-1.0, 0.3, 2.0):
        log_q, log_p = log_normal(x, double(kept**0.5 * x0), double(1 - kept)), log_normal(x, double(0), double(1))
        wanted = float(torch.trapezoid(log_q.exp() * (log_q - log_p), x))
        yield prior_term(eps_process(FIVE, beta), double(x0, device=device)[:, None]) - wanted
    yield prior_term(eps_process(zero_terminal_snr(LINEAR), beta), normal(4, 3, device=device))


# L_(t,s)


@CHECKS("L_(t,s) by the error of eps, {fixed}, stride {stride}", 1e-9, fixed=FIXED, stride=(1, 7))
def step_by_eps(fixed: str, stride: int, device: torch.device) -> Tensor:
    """Every term by Ho et al. 2020, eq. 8 and 12, at any stride, and the KL of the variances where they differ."""
    t = torch.arange(stride + 1, 1001)
    before, kept = (LINEAR.alpha_bar[time].to(device)[:, None] for time in (t - stride, t))
    step = -torch.expm1(kept.log() - before.log())
    narrow = step * (1 - before) / (1 - kept)
    width = step if fixed == "beta" else narrow
    x0, eps, hat = (part.expand(len(t), 1) for part in normal(3, 1, 1, device=device))
    diffusion = eps_process(LINEAR, FIXED[fixed])
    x_t = diffusion.q_sample(x0, t, eps)
    found = step_term(diffusion, diffusion.decode(hat, x_t, t), x0, x_t, t, t - stride)
    error = step**2 * (eps - hat) ** 2 / (2 * width * (1 - step) * (1 - kept))
    return found - (error + 0.5 * (narrow / width - 1 - (narrow / width).log()))[:, 0]


# L_0


@CHECKS("L_0: inner bins by quadrature", 1e-12)
def inner_bins(device: torch.device) -> Iterator[Tensor]:
    """log P of bins 1..254 by Gauss-Legendre quadrature of the density, up to 60 sigma away; relative."""
    (nodes, weights), x0 = oracles.legendre(24, device), pixel_levels(device)[1:-1]
    for mean, width in ((0.2, 0.03), (-0.7, 0.05), (1.5, 0.04), (0.0, 0.4)):
        z = (x0 + nodes / 255 - mean) / width
        wanted = (-0.5 * z**2 + (weights / (255 * width * math.sqrt(2 * math.pi))).log()).logsumexp(1)
        yield wide(x0, mean, width).log_prob_of_bins(x0)[:, 0] / wanted - 1


@CHECKS("L_0: open ends by the tail of the normal law", 1e-9)
def open_tails(device: torch.device) -> Iterator[Tensor]:
    """log P of levels 0 and 255, relative."""
    edge, width, x = 254.5 / 127.5 - 1, 0.02, double(1.0, -1.0, device=device)
    for z in (-3.0, -1.0, 0.0, 2.0, 8.0, 25.0, 37.0):
        tail = math.log(0.5 * math.erfc(z / math.sqrt(2)))
        yield wide(x, x * (edge - z * width), width).log_prob_of_bins(x) / tail - 1


@CHECKS("L_0 of three pixels by the error function, {fixed}", 1e-12, fixed=FIXED)
def last_term(fixed: str, device: torch.device) -> Tensor:
    """Where eps_hat is wrong, by the numbers of FIVE: beta_1, or beta_tilde_2."""
    width = math.sqrt(0.1 if fixed == "beta" else 0.1 / (1 - 0.9 * 0.7) * 0.3)
    rows = ((-1.0, 100 / 127.5 - 1, 1.0), (0.4, -0.2, 0.9), (0.5, 0.3, -0.1))
    x0, eps, hat = (double(*row, device=device)[None] for row in rows)
    mean = x0 + math.sqrt(0.1 / 0.9) * (eps - hat)
    low, high = (torch.special.ndtr((x0 + side / 255 - mean) / width) for side in (-1, 1))
    wanted = -(high.where(x0 < 1, 1.0) - low.where(x0 > -1, 0.0)).log().sum()
    t, diffusion = torch.tensor(1), eps_process(FIVE, FIXED[fixed])
    x_1 = diffusion.q_sample(x0, t, eps)
    return step_term(diffusion, diffusion.decode(hat, x_1, t), x0, x_1, t, t - 1) - wanted


# Against entropies


def excess(diffusion: GaussianDiffusion, data: GaussianData, grid: Tensor) -> Tensor:
    """The bound less the entropy and KL(q(x_T) || N(0, I)), which no reverse process can save; nats a dimension."""
    mean, variance = data.at(grid[0])
    prior = 0.5 * (variance + mean**2 - 1 - variance.log())
    return oracles.expected_terms(diffusion, data, grid).sum() - (oracles.entropy(data.variance) + prior).mean()


@CHECKS("bound minus entropy, exact variance, linear, T = {T}", 1e-9, "linear", T=(10, 100, 1000, 4000))
@CHECKS("bound minus entropy, exact variance, cosine, T = {T}", 1e-9, "cosine", T=(10, 100, 1000, 4000))
def above_entropy(name: str, T: int, device: torch.device) -> Tensor:
    data = gaussian(TABLES[name](T), *VARIANCES, device=device)
    return excess(eps_process(data.schedule, data.exact), data, data.schedule.trailing(T))


@CHECKS("gap of {fixed}, T = 10, 10 steps; relative", 1e-6, 10, 10, fixed=FIXED)
@CHECKS("gap of {fixed}, T = 1000, 1000 steps; relative", 1e-6, 1000, 1000, fixed=FIXED)
@CHECKS("gap of {fixed}, T = 1000, 25 steps; relative", 1e-6, 1000, 25, fixed=FIXED)
def fixed_gap(T: int, steps: int, fixed: str, device: torch.device) -> Tensor:
    """What a fixed variance costs: sum of (r - 1 - log r) / 2, r = exact over fixed; relative."""
    data = gaussian(linear(T), *VARIANCES, device=device)
    unit, point = (GaussianData(data.schedule, data.mean, torch.full_like(data.mean, each)) for each in (1.0, 0.0))
    grid = data.schedule.trailing(steps)
    t, s = grid[:-1], grid[1:]
    extreme = unit.reverse_variance(t, s) if fixed == "beta" else point.reverse_variance(t.clamp(min=2), s.clamp(min=1))
    ratio = data.reverse_variance(t, s) / extreme
    wanted = 0.5 * (ratio - 1 - ratio.log()).sum(0).mean()
    return excess(eps_process(data.schedule, FIXED[fixed]), data, grid) / wanted - 1


# Latents


@CHECKS("p(x|z): 256 levels add to 1", 1e-12)
def levels_of_laplace(device: torch.device) -> Iterator[Tensor]:
    """Of a Laplace distribution anywhere in and around [-1, 1], from a tenth of a bin to far wider than all."""
    levels = torch.arange(256, dtype=torch.uint8, device=device)[:, None, None, None]
    for y in (-1.4, -1.0, 0.003, 0.7, 2.5):
        for scale in double(7e-4, 0.004, 0.1, 20.0, device=device):
            y_of_all = torch.full(levels.shape, y, dtype=torch.float64, device=device)
            yield laplace_log_prob(levels, y_of_all, scale).exp().sum() - 1


@CHECKS("latents of deviation {deviation}: bound and entropy are the KL", 1e-9, deviation=(0.3, 1.0, 25.0))
def latents_of_any_unit(deviation: float, device: torch.device) -> Tensor:
    """z from N(0.4, 0.5) where p(z) is N(-0.2, 1.3), as x_0 = z / deviation: by densities of the normal law alone."""
    q_mean, q_variance, p_mean, p_variance = 0.4, 0.5, -0.2, 1.3
    wanted = 0.5 * (math.log(p_variance / q_variance) + (q_variance + (q_mean - p_mean) ** 2) / p_variance - 1)
    schedule = log_snr_linear(100, 12.0, -26.0)
    means, variances = double(p_mean / deviation, device=device), double(p_variance / deviation**2, device=device)
    data = GaussianData(schedule, means, variances)
    each = oracles.signs(2, device)  # quadratic in the draw of x_0 and in the noise
    x0, eps = (q_mean + math.sqrt(q_variance) * each[:, :1]) / deviation, each[:, 1:]
    sample = Subsample(0, 4, 4, 99, 99)
    walk = divided(schedule, schedule.trailing(100), 1)
    diffusion, visits = eps_process(schedule, data.exact), sample.visits(0, 4)
    sums = chunk_sums(diffusion, data, x0, walk, sample, visits, lambda: eps, latents_of=1)
    bound = double(*sums.prior, *sums.diffusion, *sums.reconstruction).sum() / 4 * math.log(2)
    return bound - oracles.entropy(double(q_variance / deviation**2)) - wanted


# The flow


def table(steps: int, top: float = 3.0) -> Schedule:
    """Signal a = tanh(u) for even u from `top` to 0: no signal is left at T, so that p(x_T) is N(0, I) exactly."""
    signal = torch.tanh(torch.linspace(top, 0, steps + 1, dtype=torch.float64))
    return Schedule(torch.cat([double(1), signal**2]))


def points(device: torch.device) -> Tensor:
    """Two of the plane, where the data are narrow and wide."""
    return double(0.49, -0.92, 0.2, 1.48, device=device).reshape(2, 2)


def found(known: Mixture, x: Tensor, divergence: Divergence | None = None) -> Tensor:
    """log p(x_1) of each x along every timestep."""
    grid = torch.arange(known.schedule.num_timesteps, 0, -1)
    return flow.flow_log_prob(eps_process(known.schedule), known, x, grid, divergence or Exact()).log_prob


@FLOW("log p of a mixture, 96 steps", 1e-4, 96)
def hills_error(steps: int, device: torch.device) -> Tensor:
    """Nats a dimension."""
    hills, x = oracles.two_hills(table(steps), device), double(0.9, 0.6, -0.8, 0.1, 0.0, 0.3, 1.5, -0.5, device=device)
    return (found(hills, x.reshape(4, 2)) - hills.log_density(x.reshape(4, 2), torch.tensor(1))) / 2


@FLOW("Hutchinson over all signs is exact", 1e-12)
def all_signs(device: torch.device) -> Tensor:
    hills, x = oracles.two_hills(table(8), device), double(0.9, 0.6, -0.8, 0.1, device=device).reshape(2, 2)
    corners = itertools.cycle(double(1, 1, 1, -1, -1, 1, -1, -1, device=device).reshape(4, 2))
    return found(hills, x, Hutchinson(4, lambda: next(corners).expand(2, 2))) - found(hills, x)


@FLOW("forward dequantisation: every draw is -log p(x_0)", 5e-5)
def exact_decoder(device: torch.device) -> Tensor:
    """Where the decoder is the exact p(x_0 | x_1)."""
    known, x = gaussian(table(96), 0.03, 2.0, device=device), points(device)
    noise = double(0.4, -1.3, 2.1, 0.2, device=device).reshape(2, 2)
    draws = (x, torch.arange(known.schedule.num_timesteps, 0, -1), Exact(), noise, DiagonalGaussian.log_prob)
    bound = flow.forward_flow_bound(eps_process(known.schedule, known.exact), known, *draws).nats
    return bound + log_normal(x, known.mean, known.variance).sum(1)


@FLOW("uniform dequantisation: density times width", 5e-5)
def middle_of_bins(device: torch.device) -> Tensor:
    """In the middle of a bin it is the density of y = x_1 / alpha_1 times its width, at a = 0.76."""
    known, x = gaussian(table(96, top=1.0), 0.03, 2.0, device=device), points(device)
    middle, grid = torch.full_like(x, 0.5), torch.arange(known.schedule.num_timesteps, 0, -1)
    bound = flow.uniform_flow_bound(eps_process(known.schedule), known, x, grid, Exact(), middle).nats
    kept = math.tanh(1.0) ** 2
    density = log_normal(x, known.mean, known.variance + (1 - kept) / kept).sum(1)
    return bound + density + 2 * math.log(BIN_WIDTH)
