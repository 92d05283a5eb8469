"""Correlated Gaussian data in closed form, and the exact law of a chain that is affine in its noise.

Data N(m, C); what is seen is z = H x_0 + noise of covariance R, x_t among it. The best guess is the Kalman formula

    E[x_0 | z] = m + C H' (H C H' + R)^{-1} (z - H m).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule


@dataclass(frozen=True)
class FullGaussian:
    """The exact denoiser of N(mean, covariance); mean (D,), covariance (D, D), data of any shape with D elements."""

    schedule: Schedule
    mean: Tensor
    covariance: Tensor

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        alpha_bar = self.schedule.alpha_bar[t]
        total = alpha_bar * self.covariance + (1 - alpha_bar) * torch.eye(len(self.mean), dtype=torch.float64)
        white = torch.linalg.solve(total, (x_t.flatten(1) - alpha_bar.sqrt() * self.mean).T).T
        x0 = self.mean + alpha_bar.sqrt() * white @ self.covariance
        return Prediction(t, x0.reshape(x_t.shape), ((1 - alpha_bar).sqrt() * white).reshape(x_t.shape))

    def given(self, matrix: Tensor, y: Tensor, sigma: float) -> "FullGaussian":
        """The data given y = matrix x_0 + sigma n, y (K,): Gaussian again."""
        gain = self.covariance @ matrix.T
        inside = matrix @ gain + sigma**2 * torch.eye(len(matrix), dtype=torch.float64)
        mean = self.mean + gain @ torch.linalg.solve(inside, y - matrix @ self.mean)
        return FullGaussian(self.schedule, mean, self.covariance - gain @ torch.linalg.solve(inside, gain.T))


def correlated(size: int, seed: int) -> Tensor:
    """A covariance (size, size) with eigenvalues between about 0.1 and 1."""
    turn, _ = torch.linalg.qr(torch.randn(size, size, generator=torch.manual_seed(seed), dtype=torch.float64))
    return turn @ torch.diag(torch.linspace(0.1, 1, size, dtype=torch.float64)) @ turn.T


def moments(run: Callable[[Tensor, Callable[[], Tensor]], Tensor], shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Exact mean (D,) and covariance (D, D) of run(x_T, noise), affine in x_T ~ N(0, I) and in the draws of `noise`.

    One run: row 0 has no noise at all, every other row has 1 in one element of one draw and 0 elsewhere.
    """
    draws = _count(run, shape)
    size = torch.Size(shape).numel()
    rows, taken = 1 + (1 + draws) * size, iter(range(1 + draws))

    def noise() -> Tensor:
        first = 1 + next(taken) * size
        units = torch.zeros(rows, size, dtype=torch.float64)
        units[first : first + size] = torch.eye(size, dtype=torch.float64)
        return units.reshape(rows, *shape)

    ends = run(noise(), noise).flatten(1)
    response = ends[1:] - ends[0]
    return ends[0], response.T @ response


def _count(run: Callable[[Tensor, Callable[[], Tensor]], Tensor], shape: tuple[int, ...]) -> int:
    """Draws that one run takes."""
    asked = 0

    def noise() -> Tensor:
        nonlocal asked
        asked += 1
        return torch.zeros(1, *shape, dtype=torch.float64)

    run(torch.zeros(1, *shape, dtype=torch.float64), noise)
    return asked


def matrix_of(linear: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """The matrix (K, D) of a linear map of (B, *shape)."""
    units = torch.eye(torch.Size(shape).numel(), dtype=torch.float64).reshape(-1, *shape)
    return linear(units).flatten(1).T
