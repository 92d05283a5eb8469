"""The forward process and its posterior, against steps in turn, Bayes' rule and the joint Gaussian of a whole chain."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import PredictsEps
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import from_betas, linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import double, eps_process, log_normal, normal
from ancestral.selftest.checks import Checks
from ancestral.selftest.schedules import SHORT, TABLES

CHECKS = Checks()

BETAS = (0.1, 0.3, 0.2, 0.55, 0.4)
FIVE = from_betas(BETAS)
CHAIN = eps_process(FIVE)
PAIRS = [*map(torch.tensor, ((5, 4), (5, 3), (4, 1), (5, 1), (2, 1)))]
"""Steps (t, s) of FIVE, most of them strides."""


@CHECKS("x_t = 0.6 x_0 + 0.8 eps at alpha_bar = 0.36", 1e-14)
def by_hand(device: torch.device) -> Tensor:
    """At alpha_bar = 0.36, x_t = 0.6 x_0 + 0.8 eps, drawn in one go or through q(x_t | x_0)."""
    x0, eps, t = double(1, -2, 0.5, device=device)[:, None], double(0.3, 1, -1, device=device)[:, None], torch.tensor(3)
    found = torch.cat([eps_process(SHORT).q_sample(x0, t, eps), eps_process(SHORT).q_marginal(x0, t).sample(eps)], 1)
    return found - double(0.84, -0.4, -0.5, device=device)[:, None]


@CHECKS("{name}: 100 steps in turn are one jump", 1e-12, name=TABLES)
def in_turn(name: str, device: torch.device) -> Iterator[Tensor]:
    process, x0 = eps_process(TABLES[name](100)), double(1.7, device=device)[:, None]
    mean, variance = x0, torch.zeros_like(x0)
    for t in map(torch.tensor, range(1, 101)):
        step, jump = process.q_step(mean, t, t - 1), process.q_marginal(x0, t)
        slope = process.q_step(torch.ones_like(mean), t, t - 1).mean
        mean, variance = step.mean, slope**2 * variance + step.log_var.exp()
        yield from (mean - jump.mean, variance - jump.log_var.exp())


@CHECKS("strides compose to the jump", 1e-12)
def composed(device: torch.device) -> Iterator[Tensor]:
    process, x0 = eps_process(linear()), double(-0.9, device=device)[:, None]
    for t, s in torch.tensor(((1000, 1), (1000, 999), (730, 20), (2, 1))):
        start, jump = process.q_marginal(x0, s), process.q_marginal(x0, t)
        step, slope = process.q_step(start.mean, t, s), process.q_step(torch.ones_like(x0), t, s).mean
        yield from (step.mean - jump.mean, slope**2 * start.log_var.exp() + step.log_var.exp() - jump.log_var.exp())


@CHECKS("forward chain: each noise keeps its share", 1e-13)
def walked(device: torch.device) -> Tensor:
    kicks, x0 = normal(5, device=device), double(0.4, device=device)
    first, second = (part[-1].to(device) for part in joint())
    *_, last = CHAIN.forward_chain(x0[:, None], iter(kicks.reshape(5, 1, 1)).__next__)
    return last[0, 0] - (first * x0[0] + second @ kicks)


def joint() -> tuple[Tensor, Tensor]:
    """(x_1, ..., x_5) = first * x_0 + second @ noise, from the betas alone: (5,) and (5, 5)."""
    first, second, kept = [], torch.zeros(6, 5, dtype=torch.float64), 1.0
    for i, beta in enumerate(BETAS):
        second[i + 1] = (1 - beta) ** 0.5 * second[i]
        second[i + 1, i] = beta**0.5
        kept *= (1 - beta) ** 0.5
        first.append(kept)
    return double(*first), second[1:]


@CHECKS("posterior: Bayes' rule in densities, at strides", 1e-11)
def bayes(device: torch.device) -> Iterator[Tensor]:
    """log q(x_s | x_t, x_0) + log q(x_t | x_0) = log q(x_t | x_s) + log q(x_s | x_0), at many points."""
    x0, low, high = 2 * normal(3, 64, 1, device=device)
    for t, s in PAIRS:
        down = CHAIN.q_posterior(x0, high, t, s).log_prob(low) + CHAIN.q_marginal(x0, t).log_prob(high)
        yield down - CHAIN.q_step(low, t, s).log_prob(high) - CHAIN.q_marginal(x0, s).log_prob(low)


@CHECKS("posterior: the joint Gaussian conditioned, at strides", 1e-13)
def conditioned(device: torch.device) -> Iterator[Tensor]:
    """q(x_s | x_t, x_0) by conditioning the joint Gaussian of x_1..x_5 given x_0: mean and variance."""
    first, second = (part.to(device) for part in joint())
    covariance, (x0, x_t) = second @ second.T, double(0.7, -1.3, device=device)
    for t, s in PAIRS:
        gain = covariance[s - 1, t - 1] / covariance[t - 1, t - 1]
        found = CHAIN.q_posterior(x0.reshape(1, 1), x_t.reshape(1, 1), t, s)
        yield found.mean - (x0 * first[s - 1] + gain * (x_t - x0 * first[t - 1]))
        yield found.log_var.exp() - (covariance[s - 1, s - 1] - gain * covariance[t - 1, s - 1])


@CHECKS("reverse mean through eps, T = 1000", 1e-10)
def through_eps(device: torch.device) -> Iterator[Tensor]:
    """The mean of p(x_{t-1} | x_t) is (x_t - beta / sqrt(1 - alpha_bar) eps) / sqrt(1 - beta), at some t > 1."""
    process, x_t, kept = eps_process(linear()), normal(8, 1, device=device), 1.0
    eps = x_t.flip(0)
    for t in range(1, 1001):
        beta = 1e-4 + (0.02 - 1e-4) * (t - 1) / 999
        kept *= 1 - beta
        if t % 97 == 2 or t == 1000:
            time = torch.tensor(t)
            found = process.p_posterior(process.decode(eps, x_t, time), x_t, time, time - 1).mean
            yield found - (x_t - beta / (1 - kept) ** 0.5 * eps) / (1 - beta) ** 0.5


@CHECKS("posterior onto s = 0 is the point x_0", 1e-14)
def onto_data(device: torch.device) -> tuple[Tensor, Tensor]:
    x0, x_t = normal(2, 6, 1, device=device)
    found = CHAIN.q_posterior(x0, x_t, torch.tensor(4), torch.tensor(0))
    return found.mean - x0, found.log_var.exp()


@CHECKS("output of twice the channels: mean, spread, time", 0)
def halves(device: torch.device) -> tuple[Tensor, ...]:
    """The first half decodes as alone, the second is the variance coefficient; times count from 0."""
    x, output = normal(2, 4, 3, 2, 2, device=device)
    t = torch.tensor([1, 2, 3, 5])
    alone, both = CHAIN.decode(output, x, t), CHAIN.decode(torch.cat([output, output.flip(0)], 1), x, t)
    assert both.variance_coeff is not None
    times = CHAIN.network_time(t, x).double() - double(0, 1, 2, 4, device=device)
    return both.x0 - alone.x0, both.variance_coeff - output.flip(0), times


@CHECKS("time as log-SNR: from 0 at 20 to 1000 at -20", 1e-4)
def told_of_noise(device: torch.device) -> Tensor:
    """A network that is told the log-SNR: 20 is 0, -20 is 1000, so SNR 9 at t = 1 is 500 - 25 log 9."""
    process = GaussianDiffusion(SHORT, PredictsEps(), beta_tilde, "log-snr")
    found = process.network_time(torch.tensor([1, 3]), torch.zeros(2, 1, device=device)).double()
    return found - double(500 - 25 * math.log(9), 500 - 25 * math.log(9 / 16), device=device)


def kl_integral(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    """KL of two Gaussians, each (mean, variance), as the integral of q log(q / p) over the nodes x."""
    log_q, log_p = log_normal(x, *q), log_normal(x, *p)
    return torch.trapezoid(log_q.exp() * (log_q - log_p), x, dim=0)


@CHECKS("KL of Gaussians by integration", 1e-10)
def divergence(device: torch.device) -> Iterator[Tensor]:
    x = torch.linspace(-14, 14, 20001, dtype=torch.float64, device=device)[:, None]
    for numbers in ((0.0, 0.0, 0.0, 0.0), (0.3, -1.0, -0.4, 0.2), (1.0, 0.7, 0.2, -0.5), (-2.0, -0.3, 0.5, 1.0)):
        mean, log_var, other, width = (double(number, device=device)[:, None] for number in numbers)
        found = DiagonalGaussian(mean, log_var).kl(DiagonalGaussian(other, width))
        yield found - kl_integral((mean, log_var.exp()), (other, width.exp()), x)
