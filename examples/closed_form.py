"""Sampling without a network: data whose best denoiser is known, so that only the sampler can be wrong.

The data is a mixture of three Gaussians in the plane, sum_k w_k N(m_k, l_k I). At a level with signal a and noise s
each is N(a m_k, v_k I), v_k = a^2 l_k + s^2, and knowing which one x_t came from, the best guess of x_0 is linear:

    E[x_0 | x_t] = sum_k p(k | x_t) (m_k + a l_k / v_k (x_t - a m_k)),    p(k | x_t) ~ w_k N(x_t; a m_k, v_k I)

    python examples/closed_form.py --points 20000
"""

import argparse

import torch
from torch import Tensor

from ancestral import DDIM, Ancestral, GaussianDiffusion, sample
from ancestral.diffusion.parameterization import PredictsEps
from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule, cosine
from ancestral.diffusion.variances import beta_tilde
from ancestral.rng import generator
from ancestral.sampling.denoiser import Denoiser, with_x0
from ancestral.sampling.samplers import Sampler

WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MEANS = torch.tensor([[-1.0, 0.0], [1.0, 1.0], [0.5, -1.0]], dtype=torch.float64)
VARIANCES = torch.tensor([0.01, 0.04, 0.09], dtype=torch.float64)


def exact_denoiser(schedule: Schedule) -> Denoiser:
    """E[x_0 | x_t] of the mixture, and the eps that goes with it."""

    def denoise(x_t: Tensor, t: Tensor) -> Prediction:
        a, s = schedule.signal(t, x_t), schedule.noise(t, x_t)
        v = a**2 * VARIANCES + s**2
        offset = x_t[:, None] - a * MEANS
        share = torch.softmax(WEIGHTS.log() - v.log() - 0.5 * (offset**2).sum(-1) / v, dim=1)
        guess = MEANS + (a * VARIANCES / v)[:, None] * offset
        return with_x0(schedule, (share[..., None] * guess).sum(1), x_t, t)

    return denoise


def draw(sampler: Sampler, schedule: Schedule, steps: int, points: int) -> Tensor:
    """(points, 2) samples."""
    source = generator(0, "closed-form")

    def normal() -> Tensor:
        return torch.randn(points, 2, generator=source, dtype=torch.float64)

    *_, last = sample(exact_denoiser(schedule), sampler, normal(), schedule.trailing(steps), normal)
    return last.x_s


def moments(weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (2,) and covariance (2, 2) of a mixture."""
    mean = weights @ means
    return mean, torch.einsum("k,ki,kj->ij", weights, means - mean, means - mean) + weights @ variances * torch.eye(2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Moments of samples drawn with the exact denoiser of a mixture.")
    parser.add_argument("--points", type=int, default=20_000)
    asked = parser.parse_args()
    schedule = cosine()
    samplers = {"ancestral": Ancestral(GaussianDiffusion(schedule, PredictsEps(), beta_tilde)), "ddim": DDIM(schedule)}
    mean, covariance = moments(WEIGHTS, MEANS, VARIANCES)
    line = "{:10} {:>5}   {:7.3f} {:7.3f}   {:7.3f} {:7.3f} {:7.3f}"
    print("sampler    steps   mean x  mean y     var x   var y  cov xy")
    print(line.format("exact", "", *mean.tolist(), *covariance.diag().tolist(), float(covariance[0, 1])))
    for steps in (5, 20, 100):
        for name, sampler in samplers.items():
            x = draw(sampler, schedule, steps, asked.points)
            c = x.T.cov()
            print(line.format(name, steps, *x.mean(0).tolist(), *c.diag().tolist(), float(c[0, 1])))


if __name__ == "__main__":
    main()
