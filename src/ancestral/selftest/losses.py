"""What a network trains on: values of the losses, where their gradients go, and that drawing t leaves them unbiased."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ancestral.diffusion.losses import hybrid, min_snr, squared_error, uniform, variance_loss, vlb
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.timesteps import RecentLosses, even, sample_timesteps
from ancestral.diffusion.variances import interpolated
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import GaussianData, double, eps_process, expected_terms, normal, signs
from ancestral.selftest.checks import Checks
from ancestral.selftest.parameterizations import ALL, TIMES
from ancestral.selftest.parameterizations import process as published
from ancestral.selftest.process import FIVE, LINEAR
from ancestral.selftest.schedules import SHORT

CHECKS = Checks()


@CHECKS("simple loss of {name}: its least value on Gaussian data", 1e-10, name=ALL)
def least_error(name: str, device: torch.device) -> Iterator[Tensor]:
    """Var(x_0 | x_t) over the square of the scale of errors."""
    data = GaussianData(LINEAR, double(0, 0, device=device), double(0.05, 1.7, device=device))
    each, process = signs(2, device), published(name)
    x0, eps = data.variance.sqrt() * each[:, :1], each[:, 1:].expand(4, 2)
    for t in TIMES:
        said = data(process.q_sample(x0, t, eps), t)
        found = squared_error(process, process.target(said.x0, said.eps, t), x0, eps, t).mean()
        scale = ALL[name].x0_scale(LINEAR.alpha_bar[t].sqrt(), (1 - LINEAR.alpha_bar[t]).sqrt()).to(device)
        yield found - (data.reverse_variance(t, torch.tensor(0)) / scale**2).mean()


@CHECKS("min-SNR weights at SNR 9 and 9/16", 1e-13)
def weights(device: torch.device) -> Iterator[Tensor]:
    """Gamma 5: over SNR for eps, alone for x0, over SNR + 1 for v; `uniform` is 1."""
    t = torch.tensor([1, 3], device=device)
    wanted = {"eps": (5 / 9, 1.0), "x0": (5.0, 0.5625), "v": (0.5, 0.36)}
    for name, expected in wanted.items():
        chain = GaussianDiffusion(SHORT, ALL[name], interpolated)
        yield from (min_snr()(chain, t) - double(*expected, device=device), uniform(chain, t) - 1)


LEARNED = eps_process(FIVE, interpolated)


def batch(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An output of two channels, pixels, eps and t = 1..5."""
    mean, variance_coeff, eps = normal(3, 5, 1, 2, 2, device=device)
    x0 = torch.arange(20, device=device).reshape(5, 1, 2, 2).double() * 13 / 127.5 - 1
    return torch.cat([mean, variance_coeff.clamp(-1, 1)], 1), x0, eps, torch.arange(1, 6)


@CHECKS("L_vlb over all t: the terms of the bound but L_T", 1e-10)
def whole_bound(device: torch.device) -> Tensor:
    """By a coefficient that says the exact variance between its extremes."""
    data = GaussianData(FIVE, double(0, device=device), double(0.3, device=device))
    point, unit = (GaussianData(FIVE, double(0), double(each)) for each in (0.0, 1.0))
    t, each = torch.arange(1, 6).repeat_interleave(4), signs(2, device).repeat(5, 1)
    x0, eps = 0.3**0.5 * each[:, :1], each[:, 1:]
    said = data(LEARNED.q_sample(x0, t, eps), t)
    low = point.reverse_variance(t.clamp(min=2), (t - 1).clamp(min=1)).log().to(device)
    high = unit.reverse_variance(t, t - 1).log().to(device)
    variance_coeff = 2 * (data.reverse_variance(t, t - 1).log() - low) / (high - low) - 1
    found = vlb(LEARNED, torch.cat([said.eps, variance_coeff], 1), x0, eps, t, DiagonalGaussian.log_prob).mean()
    terms = expected_terms(eps_process(FIVE, data.exact), data, FIVE.trailing(5))
    return found * math.log(2) - terms[1:].sum()


@CHECKS("hybrid: the variance coefficient feels 0.001 L_vlb", 1e-8)
def guides_variance(device: torch.device) -> Tensor:
    output, x0, eps, t = batch(device)
    step = torch.cat([torch.zeros_like(x0), normal(5, 1, 2, 2, device=device).flip(0)], 1)
    moved = output.clone().requires_grad_()
    (found,) = torch.autograd.grad(hybrid(LEARNED, moved, x0, eps, t).sum(), moved)
    up, down = (vlb(LEARNED, output + side * 1e-5 * step, x0, eps, t).sum() for side in (1, -1))
    return (found[:, 1:] * step[:, 1:]).sum() - 0.001 * (up - down) / 2e-5


@CHECKS("hybrid: simple + 0.001 L_vlb, which leaves the mean alone", 1e-12)
def adds_up(device: torch.device) -> tuple[Tensor, ...]:
    """Of its gradient -2 (target - mean) / D of the simple loss alone reaches the mean."""
    output, x0, eps, t = batch(device)
    output.requires_grad_()
    simple = (eps - output[:, :1]).square().flatten(1).mean(1)
    share = 0.001 * vlb(LEARNED, output, x0, eps, t)
    whole, second = (loss(LEARNED, output, x0, eps, t) for loss in (hybrid, variance_loss))
    (gradient,) = torch.autograd.grad(whole.sum(), output)
    return whole - (simple + share), second - share, gradient[:, :1] + (eps - output[:, :1]) / 2


@CHECKS("importance sampling: weights leave the mean alone", 1e-13)
def unbiased(_: torch.device) -> tuple[Tensor, Tensor]:
    """The mean of w_t l_t over even u is the plain mean of l_t, whatever p: here p of a steep table.

    What is below t, and the share of p_t that says where between t - 1 and t a draw lies, make up u.
    """
    p, u = double(1, 2, 3, 4, 10) / 20, (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    chosen, losses, below = sample_timesteps(p, u), double(3, -1, 4, 1, 5), double(0, 1, 3, 6, 10) / 20
    mean = (chosen.weight * losses[chosen.t - 1]).mean()
    return mean - 12 / 5, below[chosen.t - 1] + chosen.within * p[chosen.t - 1] - u


@CHECKS("importance sampling: second moments, after warm-up", 1e-14)
def by_second_moment(_: torch.device) -> tuple[Tensor, Tensor]:
    """p ~ sqrt(mean of the last ten squares), with one draw in a thousand uniform; uniform until all are known.

    After twelve losses of two timesteps: 3 and then 1, 4 all along.
    """
    table, (first, second) = RecentLosses.none(2), (math.sqrt((5 * 9 + 5 * 1) / 10), 4.0)
    for i in range(12):
        table = table.after(torch.tensor([1, 2]), double(3.0 if i < 7 else 1.0, 4.0))
    wanted = double(first, second) / (first + second) * 0.999 + 0.0005
    cold = RecentLosses.none(3).after(torch.tensor([1, 3]), double(9, 1))
    return table.probabilities() - wanted, cold.probabilities() - even(3)
