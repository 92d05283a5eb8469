"""Flow matching: the straight path z = (1 - tau) x_0 + tau eps is this process rescaled, in its steps and its loss."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ancestral.diffusion.losses import squared_error
from ancestral.diffusion.parameterization import PredictsFlow, PredictsV
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import cosine, rectified
from ancestral.diffusion.timesteps import around, normal
from ancestral.diffusion.variances import beta_tilde
from ancestral.oracles import gaussian
from ancestral.oracles import normal as draws
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM
from ancestral.selftest.checks import Checks

CHECKS = Checks()
SHIFTS = (1.0, 3.0)


def tau_of(T: int, shift: float) -> Tensor:
    """tau at t = 0..T by its definition (Esser et al. 2024, section 5.3.2)."""
    t = torch.arange(T + 1, dtype=torch.float64) / T
    return shift * t / (1 + (shift - 1) * t)


@CHECKS("Euler on the path is DDIM, shift {shift:g}", 1e-12, shift=SHIFTS)
def euler(shift: float, device: torch.device) -> Iterator[Tensor]:
    """z' = z + (tau' - tau) u with u of the exact denoiser, against every step of DDIM on the trailing grid."""
    table, tau = rectified(1000, shift), tau_of(1000, shift)
    known, (z,) = gaussian(table, 0.05, 0.4, 1.7, device=device), draws(1, 64, 3, device=device)
    for step in sample(known, DDIM(table), z.clone(), table.trailing(25), known.mean.clone):
        now, then = float(tau[step.t]), float(tau[step.s])
        said = known(z / math.hypot(now, 1 - now), torch.tensor(step.t))
        z = z + (then - now) * (said.eps - said.x0)
        yield step.x_s - z / math.hypot(then, 1 - then)


@CHECKS("flow loss: 1 + 2 alpha sigma times that of v", 1e-12)
def weighted(device: torch.device) -> Iterator[Tensor]:
    """Of one answer, told as v and as u = (sigma - alpha) x_t + (alpha + sigma) v."""
    for table in (cosine(), rectified()):
        x0, eps, v = draws(3, 5, 1, 2, 2, device=device)
        by_v, by_flow = (GaussianDiffusion(table, kind, beta_tilde) for kind in (PredictsV(), PredictsFlow()))
        noised = by_v.noised(x0, torch.tensor([1, 300, 500, 900, 999]), eps)
        alpha, sigma = noised.level.over(x0)
        u = (sigma - alpha) * noised.x_t + (alpha + sigma) * v
        ratio = squared_error(by_flow, u, noised) / squared_error(by_v, v, noised)
        yield ratio - (1 + 2 * alpha * sigma).flatten()


@CHECKS("timesteps normal: logit-normal in tau, m = -0.3, s = 0.8", 1e-5)
def logit_normal(_: torch.device) -> Iterator[Tensor]:
    """Their p_t is the density of tau; log-SNR of mean -2 m and deviation 2 s."""
    tau, p = tau_of(4000, 1.0)[1:-1], normal(rectified(4000), 0.6, 1.6)
    bell = torch.exp(-((torch.logit(tau) + 0.3) ** 2) / (2 * 0.8**2)) / (0.8 * math.sqrt(2 * math.pi))
    yield from (4000 * p[:-1] - bell / (tau * (1 - tau)), p.sum() - 1)


@CHECKS("timesteps normal: corrected, the mean of uniform ones", 2e-3)
def unbiased(_: torch.device) -> tuple[Tensor, Tensor]:
    """Over even u; uncorrected it is the mean by their density."""
    p, u = normal(rectified(20), 1.0, 2.0), (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    losses = torch.linspace(1, 3, 20, dtype=torch.float64)
    corrected, plain = (
        (chosen.weight * losses[chosen.t - 1]).mean() for chosen in (around(p, u, each) for each in (True, False))
    )
    return corrected - 2, plain - p @ losses


@CHECKS("network of flow matching: told z and 1000 tau, SiT's 1 - tau", 1e-4)
def door(device: torch.device) -> Iterator[Tensor]:
    """A network that answers what it is given, at tau = 0.6 by signal 0.4 / rho and noise 0.6 / rho."""
    table, (x0, eps) = rectified(10), draws(2, 1, 3, device=device)
    for time, told, sign in (("flow", 600.0, 1), ("sit", 0.4, -1)):
        process = GaussianDiffusion(table, PredictsFlow(), beta_tilde, time)  # type: ignore[arg-type]
        noised = process.noised(x0, torch.tensor(6), eps)
        z = 0.4 * x0 + 0.6 * eps
        yield process.ask(lambda x, time: x * time, noised.x_t, noised.level) - sign * told * z
