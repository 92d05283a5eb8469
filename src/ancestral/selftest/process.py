"""The forward process and its posterior, against steps in turn, Bayes' rule and the joint Gaussian of a whole chain."""

import math
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import PredictsEps
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import from_betas, linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import double, eps_process, normal
from ancestral.selftest.checks import Check, apart, largest
from ancestral.selftest.schedules import SHORT, TABLES

FIVE = from_betas((0.1, 0.3, 0.2, 0.55, 0.4))
CHAIN = eps_process(FIVE)
PAIRS = ((5, 4), (5, 3), (4, 1), (5, 1), (2, 1))
"""Steps (t, s) of FIVE, most of them strides."""


def by_hand(device: torch.device) -> float:
    """At alpha_bar = 0.36, x_t = 0.6 x_0 + 0.8 eps, drawn in one go or through q(x_t | x_0)."""
    x0, eps, t = double(1, -2, 0.5, device=device)[:, None], double(0.3, 1, -1, device=device)[:, None], torch.tensor(3)
    found = torch.cat([eps_process(SHORT).q_sample(x0, t, eps), eps_process(SHORT).q_marginal(x0, t).sample(eps)], 1)
    return apart(found, double(0.84, -0.4, -0.5, device=device)[:, None])


def in_turn(name: str, device: torch.device) -> float:
    """Mean and variance of x_t for all t: T = 100 steps one after the other, against one jump."""
    process, mean, errors = eps_process(TABLES[name](100)), double(1.7, device=device)[:, None], []
    variance = torch.zeros_like(mean)
    for t in map(torch.tensor, range(1, 101)):
        step = process.q_step(mean, t, t - 1)
        slope = process.q_step(torch.ones_like(mean), t, t - 1).mean
        mean, variance = step.mean, slope**2 * variance + step.log_var.exp()
        jump = process.q_marginal(double(1.7, device=device)[:, None], t)
        errors += [apart(mean, jump.mean), apart(variance, jump.log_var.exp())]
    return largest(errors)


def composed(device: torch.device) -> float:
    """q(x_t | x_s) after q(x_s | x_0), at strides, is q(x_t | x_0)."""
    errors, x0 = [], double(-0.9, device=device)[:, None]
    for t, s in ((torch.tensor(t), torch.tensor(s)) for t, s in ((1000, 1), (1000, 999), (730, 20), (2, 1))):
        process = eps_process(linear())
        start, jump = process.q_marginal(x0, s), process.q_marginal(x0, t)
        step, slope = process.q_step(start.mean, t, s), process.q_step(torch.ones_like(x0), t, s).mean
        errors += [apart(step.mean, jump.mean)]
        errors += [apart(slope**2 * start.log_var.exp() + step.log_var.exp(), jump.log_var.exp())]
    return largest(errors)


def walked(device: torch.device) -> float:
    """The forward chain, noise by noise: x_5 = sum of what each noise keeps of itself to the end."""
    kicks = normal(5, device=device)
    *_, last = CHAIN.forward_chain(double(0.4, device=device)[:, None], iter(kicks.reshape(5, 1, 1)).__next__)
    return apart(
        last[0, 0], double(0.4, device=device)[0] * joint()[0][-1].to(device) + joint()[1][-1].to(device) @ kicks
    )


def joint() -> tuple[Tensor, Tensor]:
    """(x_1, ..., x_5) = first * x_0 + second @ noise, from the betas alone: (5,) and (5, 5)."""
    first, second, kept = [], torch.zeros(6, 5, dtype=torch.float64), 1.0
    for i, beta in enumerate((0.1, 0.3, 0.2, 0.55, 0.4)):
        second[i + 1] = (1 - beta) ** 0.5 * second[i]
        second[i + 1, i] = beta**0.5
        kept *= (1 - beta) ** 0.5
        first.append(kept)
    return double(*first), second[1:]


def bayes(device: torch.device) -> float:
    """log q(x_s | x_t, x_0) + log q(x_t | x_0) = log q(x_t | x_s) + log q(x_s | x_0), at many points."""
    errors, (x0, low, high) = [], (2 * normal(3, 64, 1, device=device))
    for t, s in ((torch.tensor(t), torch.tensor(s)) for t, s in PAIRS):
        down = CHAIN.q_posterior(x0, high, t, s).log_prob(low) + CHAIN.q_marginal(x0, t).log_prob(high)
        up = CHAIN.q_step(low, t, s).log_prob(high) + CHAIN.q_marginal(x0, s).log_prob(low)
        errors.append(apart(down, up))
    return largest(errors)


def conditioned(device: torch.device) -> float:
    """q(x_s | x_t, x_0) by conditioning the joint Gaussian of x_1..x_5 given x_0: mean and variance."""
    first, second = joint()
    covariance, errors = second @ second.T, []
    for t, s in PAIRS:
        gain = covariance[s - 1, t - 1] / covariance[t - 1, t - 1]
        mean = 0.7 * first[s - 1] + gain * (-1.3 - 0.7 * first[t - 1])
        variance = covariance[s - 1, s - 1] - gain * covariance[t - 1, s - 1]
        x0, x_t = (double(x, device=device)[:, None] for x in (0.7, -1.3))
        found = CHAIN.q_posterior(x0, x_t, torch.tensor(t), torch.tensor(s))
        errors += [apart(found.mean, float(mean)), apart(found.log_var.exp(), float(variance))]
    return largest(errors)


def through_eps(device: torch.device) -> float:
    """The mean of p(x_{t-1} | x_t) is (x_t - beta / sqrt(1 - alpha_bar) eps) / sqrt(1 - beta), at every t > 1."""
    process, errors = eps_process(linear()), []
    betas = [1e-4 + (0.02 - 1e-4) * i / 999 for i in range(1000)]
    x_t, eps, kept = normal(8, 1, device=device), normal(8, 1, device=device).flip(0), 1 - betas[0]
    for t in range(2, 1001):
        kept *= 1 - betas[t - 1]
        wanted = (x_t - betas[t - 1] / (1 - kept) ** 0.5 * eps) / (1 - betas[t - 1]) ** 0.5
        time = torch.tensor(t)
        if t % 97 == 2 or t == 1000:
            prediction = process.decode(eps, x_t, time)
            errors.append(apart(process.p_posterior(prediction, x_t, time, time - 1).mean, wanted))
    return largest(errors)


def onto_data(device: torch.device) -> float:
    """q(x_0 | x_t, x_0) is the point x_0."""
    x0, x_t = normal(2, 6, 1, device=device)
    found = CHAIN.q_posterior(x0, x_t, torch.tensor(4), torch.tensor(0))
    return apart(found.mean, x0) + float(found.log_var.exp().max())


def halves(device: torch.device) -> float:
    """Twice the channels: the first half decodes as alone, the second is the variance coefficient; times count from
    0.
    """
    x, output = normal(2, 4, 3, 2, 2, device=device)
    twice, t = torch.cat([output, output.flip(0)], 1), torch.tensor([1, 2, 3, 5])
    alone, both = CHAIN.decode(output, x, t), CHAIN.decode(twice, x, t)
    assert both.variance_coeff is not None
    times = CHAIN.network_time(t, x).double() - double(0, 1, 2, 4, device=device)
    return apart(both.x0, alone.x0) + apart(both.variance_coeff, output.flip(0)) + apart(times, 0.0)


def told_of_noise(device: torch.device) -> float:
    """A network that is told the log-SNR: 20 is 0, -20 is 1000, so SNR 9 at t = 1 is 500 - 25 log 9."""
    process = GaussianDiffusion(SHORT, PredictsEps(), beta_tilde, "log-snr")
    found = process.network_time(torch.tensor([1, 3]), torch.zeros(2, 1, device=device)).double()
    return apart(found, double(500 - 25 * math.log(9), 500 - 25 * math.log(9 / 16), device=device))


def kl_integral(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    """KL of two Gaussians, each (mean, variance), as the integral of q log(q / p) over the nodes x."""
    log_q, log_p = (-0.5 * ((x - mean) ** 2 / var + (2 * math.pi * var).log()) for mean, var in (q, p))
    return torch.trapezoid(log_q.exp() * (log_q - log_p), x, dim=0)


def divergence(device: torch.device) -> float:
    """KL of Gaussians against the integral of q log(q / p) on a fine grid."""
    errors, x = [], torch.linspace(-14, 14, 20001, dtype=torch.float64, device=device)[:, None]
    for numbers in ((0.0, 0.0, 0.0, 0.0), (0.3, -1.0, -0.4, 0.2), (1.0, 0.7, 0.2, -0.5), (-2.0, -0.3, 0.5, 1.0)):
        mean, log_var, other, width = (double(number, device=device)[:, None] for number in numbers)
        integral = kl_integral((mean, log_var.exp()), (other, width.exp()), x)
        errors.append(apart(DiagonalGaussian(mean, log_var).kl(DiagonalGaussian(other, width)), float(integral)))
    return largest(errors)


CHECKS = (
    Check("x_t = 0.6 x_0 + 0.8 eps at alpha_bar = 0.36", 1e-14, by_hand),
    *(Check(f"{name}: 100 steps in turn are one jump", 1e-12, partial(in_turn, name)) for name in TABLES),
    Check("strides compose to the jump", 1e-12, composed),
    Check("forward chain: each noise keeps its share", 1e-13, walked),
    Check("posterior: Bayes' rule in densities, at strides", 1e-11, bayes),
    Check("posterior: the joint Gaussian conditioned, at strides", 1e-13, conditioned),
    Check("reverse mean through eps, T = 1000", 1e-10, through_eps),
    Check("posterior onto s = 0 is the point x_0", 1e-14, onto_data),
    Check("output of twice the channels: mean, spread, time", 0, halves),
    Check("time as log-SNR: from 0 at 20 to 1000 at -20", 1e-4, told_of_noise),
    Check("KL of Gaussians by integration", 1e-10, divergence),
)
