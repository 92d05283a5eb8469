"""The likelihood of the probability flow, against densities that are known."""

import itertools
import math

import torch
from torch import Tensor

from ancestral.diffusion import flow
from ancestral.diffusion.flow import Divergence, Exact, Hutchinson
from ancestral.diffusion.schedules import Schedule
from ancestral.gaussian import BIN_WIDTH, DiagonalGaussian
from ancestral.oracles import GaussianData, Mixture, double, eps_process, every, gaussian, log_normal, two_hills
from ancestral.selftest.checks import Checks, largest

CHECKS = Checks()


def table(steps: int, top: float = 3.0) -> Schedule:
    """Signal a = tanh(u) for even u from `top` to 0: no signal is left at T, so that p(x_T) is N(0, I) exactly."""
    signal = torch.tanh(torch.linspace(top, 0, steps + 1, dtype=torch.float64))
    return Schedule(torch.cat([double(1), signal**2]))


def data(schedule: Schedule, device: torch.device) -> GaussianData:
    """Data in the plane, narrow and wide."""
    return gaussian(schedule, 0.03, 2.0, device=device)


def points(device: torch.device) -> Tensor:
    """Two of them."""
    return double(0.49, -0.92, 0.2, 1.48, device=device).reshape(2, 2)


def found(known: Mixture, x: Tensor, divergence: Divergence | None = None) -> Tensor:
    """log p(x_1) of each x along every timestep."""
    grid = every(known.schedule)[:-1]
    return flow.flow_log_prob(eps_process(known.schedule), known, x, grid, divergence or Exact()).log_prob


@CHECKS("log p of a mixture, 96 steps", 1e-4, 96)
def hills_error(steps: int, device: torch.device) -> Tensor:
    """Nats a dimension."""
    hills, x = two_hills(table(steps), device), double(0.9, 0.6, -0.8, 0.1, 0.0, 0.3, 1.5, -0.5, device=device)
    return (found(hills, x.reshape(4, 2)) - hills.log_density(x.reshape(4, 2), torch.tensor(1))) / 2


@CHECKS("order 3 on a mixture, by halving the steps", 0.4)
def order(device: torch.device) -> float:
    return math.log2(largest(hills_error(48, device)) / largest(hills_error(96, device))) - 3


@CHECKS("Hutchinson over all signs is exact", 1e-12)
def all_signs(device: torch.device) -> Tensor:
    hills, x = two_hills(table(8), device), double(0.9, 0.6, -0.8, 0.1, device=device).reshape(2, 2)
    corners = itertools.cycle(double(1, 1, 1, -1, -1, 1, -1, -1, device=device).reshape(4, 2))
    return found(hills, x, Hutchinson(4, lambda: next(corners).expand(2, 2))) - found(hills, x)


@CHECKS("exact divergence of a known Jacobian", 1e-14)
def trace(device: torch.device) -> tuple[Tensor, Tensor]:
    """Its diagonal is cos(x_1), 2 x_2."""

    def known(y: Tensor) -> Tensor:
        return torch.stack([y[:, 0].sin() + y[:, 1], y[:, 1] ** 2 - y[:, 0]], 1)

    x = double(0.3, -1.2, device=device)[None]
    value, forms = flow.quadratic_forms(known, x, Exact().vectors(x))
    wanted = double(math.sin(0.3) - 1.2, 1.44 - 0.3, device=device)[None]
    return value - wanted, forms[:, 0] - double(math.cos(0.3), -2.4, device=device)


@CHECKS("forward dequantisation: every draw is -log p(x_0)", 5e-5)
def exact_decoder(device: torch.device) -> Tensor:
    """Where the decoder is the exact p(x_0 | x_1)."""
    known, x = data(table(96), device), points(device)
    noise = double(0.4, -1.3, 2.1, 0.2, device=device).reshape(2, 2)
    draws = (x, every(known.schedule)[:-1], Exact(), noise, DiagonalGaussian.log_prob)
    bound = flow.forward_flow_bound(eps_process(known.schedule, known.exact), known, *draws).nats
    return bound + log_normal(x, known.mean, known.variance).sum(1)


@CHECKS("uniform dequantisation: density times width", 5e-5)
def middle_of_bins(device: torch.device) -> Tensor:
    """In the middle of a bin it is the density of y = x_1 / alpha_1 times its width, at a = 0.76."""
    known, x = data(table(96, top=1.0), device), points(device)
    middle, grid = torch.full_like(x, 0.5), every(known.schedule)[:-1]
    bound = flow.uniform_flow_bound(eps_process(known.schedule), known, x, grid, Exact(), middle).nats
    kept = math.tanh(1.0) ** 2
    density = log_normal(x, known.mean, known.variance + (1 - kept) / kept).sum(1)
    return bound + density + 2 * math.log(BIN_WIDTH)
