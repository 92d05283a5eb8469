"""Posterior guidance: samples of x_0 given a linear measurement y = A x_0 + sigma n, with a network that never saw A.

What is wanted is E[x_0 | x_t, y]. Take p(x_0 | x_t) for Gaussian, with the network's mean x_0^ and a covariance C:

    E[x_0 | x_t, y] = x_0^ + C A' (A C A' + sigma^2 I)^{-1} (y - A x_0^)                        (1)

Every method is (1) with a C of its own. For data of variance l it is r^2 I with

    r^2 = sigma_t^2 l / (alpha_t^2 l + sigma_t^2)                                                           (2)

and for any data it is, with J the Jacobian of x_0^ by x_t (Efron 2011; the second order of Tweedie's formula),

    C = (sigma_t^2 / alpha_t) J                                                                         (3)

projection   r^2 I in both places: no gradient. With sigma = 0 it is x_0^ with what y tells put in its place
             (Wang et al. 2023, DDNM).
gradient     (3) in front, r^2 I inside the inverse: the score of N(y; A x_0^, r^2 A A' + sigma^2 I) by x_t, through
             the network (Song et al. 2023, pseudo-inverse guidance). l = 0 is Chung et al. 2023 (DPS) without its step
             size: it trusts x_0^ wholly, and pulls much too hard at high noise.
moments      (3) in both places (Boys et al. 2023), the inverse by conjugate gradients, one pull-back each.

All three are exact for data N(m, l I) and the l of (2); `moments` is exact for any Gaussian. Elsewhere p(x_0 | x_t) has
more than one peak, and C is a guess of its width that is good at low noise only.

eps is recomputed from x_0, so guidance is that of the score by (sigma_t / alpha_t) (x_0 - x_0^), and samplers see a
denoiser.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.editing.operators import Operator, Seen
from ancestral.errors import InputError
from ancestral.sampling.denoiser import Denoiser, with_x0
from ancestral.tensors import Data, Images, Timesteps, broadcast_like

MOST = 1e6
"""Of noise and of variance, whose squares and products stay numbers; pixels are in [-1, 1]."""
Covariance = Callable[[Data], Data]  # v -> C v, (B, ...)


@dataclass(frozen=True)
class Measured:
    """y = A x_0 + sigma n."""

    operator: Operator
    y: Seen
    sigma: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= MOST:
            raise InputError(f"expected a noise of 0 or more, at most {MOST:g}, got {self.sigma:g}")


@dataclass(frozen=True)
class PosteriorGuided:
    """(1) around a denoiser of images.

    Network calls: projection 1; gradient 1 and a backward pass; moments 1 and 2 + `iterations` backward passes.

    `data_variance` is l of (2), the mean variance of a pixel of the data in [-1, 1]; `iterations`, for moments alone,
    are those of conjugate gradients.
    """

    denoise: Denoiser
    schedule: Schedule
    measured: Measured
    how: Literal["projection", "gradient", "moments"] = "gradient"
    data_variance: float = 1.0
    iterations: int = 5

    def __post_init__(self) -> None:
        known = 0 <= self.data_variance <= MOST
        if not known or self.data_variance == self.measured.sigma == 0:  # nothing says how far to go
            raise InputError(
                f"expected data_variance above 0, at most {MOST:g}, or 0 with a sigma above 0, got "
                f"{self.data_variance:g}; take the variance of the training images"
            )

    def __call__(self, x_t: Images, t: Timesteps) -> Prediction:
        alpha_bar, operator, noise = self.schedule.alpha_bar_at(t), self.measured.operator, self.measured.sigma**2
        signal = float(alpha_bar)
        spread = (1 - signal) * self.data_variance / (signal * self.data_variance + 1 - signal)  # r^2 of (2)
        if projects := self.how == "projection" or signal == 0:  # without signal J is 0 and alpha is too
            prediction = self.denoise(x_t, t)

            def covariance(v: Data) -> Data:
                return spread * v

        else:
            prediction, pull_back = linearised(self.denoise, x_t, t)

            def covariance(v: Data) -> Data:  # (3)
                return broadcast_like((1 - alpha_bar) / alpha_bar.sqrt(), v) * pull_back(v)

        residual = self.measured.y - operator(prediction.x0)
        wanted = operator.solve(residual, spread, noise)
        if self.how == "moments" and not projects:
            wanted = conjugate_gradients(
                lambda v: operator(covariance(operator.transpose(v))) + noise * v, residual, wanted, self.iterations
            )
        x0 = prediction.x0 + covariance(operator.transpose(wanted))
        return with_x0(self.schedule, x0, x_t, t)._replace(variance_coeff=prediction.variance_coeff)


def linearised(denoise: Denoiser, x_t: Data, t: Timesteps) -> tuple[Prediction, Covariance]:
    """The prediction at x_t, and v -> J' v for the Jacobian J of its x0. J is symmetric for a true denoiser.

    Works under `torch.no_grad` and `torch.inference_mode`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        prediction = denoise(x, t)
    if not prediction.x0.requires_grad:
        raise ValueError("expected a denoiser with gradients, got an x0 without; guide by projection instead")

    def pull_back(v: Data) -> Data:
        with torch.inference_mode(False):
            return torch.autograd.grad(prediction.x0, x, v.clone(), retain_graph=True)[0]

    variance_coeff = None if prediction.variance_coeff is None else prediction.variance_coeff.detach()
    return Prediction(t, prediction.x0.detach(), prediction.eps.detach(), variance_coeff), pull_back


def conjugate_gradients(matrix: Covariance, wanted: Data, start: Data, iterations: int) -> Data:
    """`matrix`^{-1} `wanted` for a symmetric positive matrix, image by image, from `start` (Hestenes, Stiefel 1952).

    An image whose residual has vanished, or along whose direction the matrix is not positive, stays where it is.
    """
    x, residual = start, wanted - matrix(start)
    direction, square = residual, _dot(residual, residual)
    for _ in range(iterations):
        image = matrix(direction)
        curvature = _dot(direction, image)
        going = (curvature > 0) & (square > 0)
        length = torch.where(going, square / curvature.where(going, torch.ones_like(square)), 0.0)
        x, residual = x + length * direction, residual - length * image
        before, square = square, _dot(residual, residual)
        direction = residual + square / before.where(before > 0, torch.ones_like(before)) * direction
    return x


def _dot(a: Data, b: Data) -> Data:
    """Inner product of every image, broadcast over it."""
    return broadcast_like((a * b).flatten(1).sum(1), a)
