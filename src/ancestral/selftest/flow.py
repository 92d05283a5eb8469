"""The likelihood of the probability flow, against densities that are known."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.flow import (
    Exact,
    Hutchinson,
    flow_log_prob,
    forward_flow_bound,
    quadratic_forms,
    uniform_flow_bound,
)
from ancestral.diffusion.parameterization import PredictsEps
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.gaussian import BIN_WIDTH, DiagonalGaussian
from ancestral.oracles import GaussianData, double, eps_process, every, two_hills
from ancestral.selftest.checks import Check, apart


def table(steps: int, top: float = 3.0) -> Schedule:
    """Signal a = tanh(u) for even u from `top` to 0: no signal is left at T, so that p(x_T) is N(0, I) exactly."""
    signal = torch.tanh(torch.linspace(top, 0, steps + 1, dtype=torch.float64))
    return Schedule(torch.cat([double(1), signal**2]))


def gaussian(schedule: Schedule, device: torch.device) -> GaussianData:
    """Data in the plane, narrow and wide."""
    return GaussianData(schedule, double(0.3, -0.5, device=device), double(0.03, 2.0, device=device))


def points(device: torch.device) -> Tensor:
    """Two of them."""
    return double(0.49, -0.92, 0.2, 1.48, device=device).reshape(2, 2)


def gaussian_error(steps: int, device: torch.device) -> float:
    """Error of log p(x_1) for Gaussian data, nats a dimension."""
    data = gaussian(table(steps), device)
    mean, variance = data.at(torch.tensor(1))
    wanted = -0.5 * ((points(device) - mean) ** 2 / variance + (2 * math.pi * variance).log()).sum(1)
    grid = every(data.schedule)[:-1]
    return apart(flow_log_prob(eps_process(data.schedule), data, points(device), grid, Exact()).log_prob, wanted) / 2


def hills_error(steps: int, device: torch.device) -> float:
    """The same for a mixture of two."""
    hills = two_hills(table(steps), device)
    x = double(0.9, 0.6, -0.8, 0.1, 0.0, 0.3, 1.5, -0.5, device=device).reshape(4, 2)
    found = flow_log_prob(eps_process(hills.schedule), hills, x, every(hills.schedule)[:-1], Exact()).log_prob
    return apart(found, hills.log_density(x, torch.tensor(1))) / 2


def order(error: Callable[[int, torch.device], float], device: torch.device) -> float:
    """How far from 3 the order is that halving the steps measures."""
    return abs(math.log2(error(48, device) / error(96, device)) - 3)


def all_signs(device: torch.device) -> float:
    """Hutchinson's estimate over every vector of signs is the exact divergence."""
    hills = two_hills(table(8), device)
    corners = itertools.cycle(double(1, 1, 1, -1, -1, 1, -1, -1, device=device).reshape(4, 2))
    x, grid = double(0.9, 0.6, -0.8, 0.1, device=device).reshape(2, 2), every(hills.schedule)[:-1]
    probes = Hutchinson(4, lambda: next(corners).expand(2, 2))
    found, wanted = (flow_log_prob(eps_process(hills.schedule), hills, x, grid, each) for each in (probes, Exact()))
    return apart(found.log_prob, wanted.log_prob)


def trace(device: torch.device) -> float:
    """The exact divergence of a function whose Jacobian has the diagonal cos(x_1), 2 x_2."""
    x = double(0.3, -1.2, device=device)[None]
    value, forms = quadratic_forms(lambda y: torch.stack([y[:, 0].sin() + y[:, 1], y[:, 1] ** 2 - y[:, 0]], 1), x, (
        Exact().vectors(x)))  # fmt: skip
    wanted = double(math.sin(0.3) - 1.2, 1.44 - 0.3, device=device)[None]
    return apart(value, wanted) + apart(forms[:, 0], double(math.cos(0.3), -2.4, device=device))


def exact_decoder(device: torch.device) -> float:
    """Every draw of the bound by forward noise is -log p(x_0) where the decoder is the exact p(x_0 | x_1)."""
    data = gaussian(table(96), device)
    chain = GaussianDiffusion(data.schedule, PredictsEps(), data.exact)
    noise = double(0.4, -1.3, 2.1, 0.2, device=device).reshape(2, 2)
    draws = (points(device), every(data.schedule)[:-1], Exact(), noise, DiagonalGaussian.log_prob)
    found = forward_flow_bound(chain, data, *draws).nats
    density = ((points(device) - data.mean) ** 2 / data.variance + (2 * math.pi * data.variance).log()).sum(1)
    return apart(found, 0.5 * density)


def middle_of_bins(device: torch.device) -> float:
    """The uniform bound in the middle of a bin is the density of y = x_1 / alpha_1 times its width, at a = 0.76."""
    data = gaussian(table(96, top=1.0), device)
    middle, grid = torch.full((2, 2), 0.5, dtype=torch.float64, device=device), every(data.schedule)[:-1]
    found = uniform_flow_bound(eps_process(data.schedule), data, points(device), grid, Exact(), middle).nats
    kept = math.tanh(1.0) ** 2
    variance = data.variance + (1 - kept) / kept
    density = -0.5 * ((points(device) - data.mean) ** 2 / variance + (2 * math.pi * variance).log()).sum(1)
    return apart(found, -density - 2 * math.log(BIN_WIDTH))


CHECKS = (
    Check("log p of Gaussian data, 96 steps", 2e-5, partial(gaussian_error, 96)),
    Check("log p of a mixture, 96 steps", 1e-4, partial(hills_error, 96)),
    Check("order 3 on Gaussian data, by halving the steps", 0.4, partial(order, gaussian_error)),
    Check("order 3 on a mixture, by halving the steps", 0.4, partial(order, hills_error)),
    Check("exact divergence of a known Jacobian", 1e-14, trace),
    Check("Hutchinson over all signs is exact", 1e-12, all_signs),
    Check("forward dequantisation: every draw is -log p(x_0)", 5e-5, exact_decoder),
    Check("uniform dequantisation: density times width", 5e-5, middle_of_bins),
)
