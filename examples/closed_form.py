"""Sampling without a network: data whose best denoiser is known, so that only the sampler can be wrong.

The data is a mixture of three Gaussians in the plane. Knowing which one x_t came from, the best guess of x_0 is linear
in x_t; `ancestral.oracles` derives it.

    python examples/closed_form.py --points 20000
"""

import argparse

import torch
from torch import Tensor

from ancestral import DDIM, Ancestral, sample
from ancestral.diffusion.schedules import Schedule, cosine
from ancestral.oracles import Mixture, double, eps_process
from ancestral.rng import generator
from ancestral.sampling.samplers import Sampler

WEIGHTS, VARIANCES = double(0.5, 0.3, 0.2), double(0.01, 0.04, 0.09)
MEANS = double(-1.0, 0.0, 1.0, 1.0, 0.5, -1.0).reshape(3, 2)


def generate(sampler: Sampler, schedule: Schedule, steps: int, points: int) -> Tensor:
    """(points, 2) samples."""
    source = generator(0, "closed-form")

    def normal() -> Tensor:
        return torch.randn(points, 2, generator=source, dtype=torch.float64)

    data = Mixture(schedule, WEIGHTS, MEANS, VARIANCES)
    *_, last = sample(data, sampler, normal(), schedule.trailing(steps), normal)
    return last.x_s


def moments(weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (2,) and covariance (2, 2) of a mixture."""
    mean = weights @ means
    return mean, torch.einsum("k,ki,kj->ij", weights, means - mean, means - mean) + weights @ variances * torch.eye(2)


def main() -> None:
    parser = argparse.ArgumentParser(description="Moments of samples generated with the exact denoiser of a mixture.")
    parser.add_argument("--points", type=int, default=20_000)
    asked = parser.parse_args()
    schedule = cosine()
    samplers = {"ancestral": Ancestral(eps_process(schedule)), "ddim": DDIM(schedule)}
    mean, covariance = moments(WEIGHTS, MEANS, VARIANCES)
    line = "{:10} {:>5}   {:7.3f} {:7.3f}   {:7.3f} {:7.3f} {:7.3f}"
    print("sampler    steps   mean x  mean y     var x   var y  cov xy")
    print(line.format("exact", "", *mean.tolist(), *covariance.diag().tolist(), float(covariance[0, 1])))
    for steps in (5, 20, 100):
        for name, sampler in samplers.items():
            x = generate(sampler, schedule, steps, asked.points)
            c = x.T.cov()
            print(line.format(name, steps, *x.mean(0).tolist(), *c.diag().tolist(), float(c[0, 1])))


if __name__ == "__main__":
    main()
