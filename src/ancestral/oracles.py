"""Data whose every distribution is known, so that nothing here is taken from the formulas that are checked.

Gaussian data, element by element N(m, l), stay jointly Gaussian with all their noisy versions. With
v_t = alpha_bar_t l + 1 - alpha_bar_t,

    Var x_t = v_t,   Cov(x_0, x_t) = sqrt(alpha_bar_t) l,   Cov(x_s, x_t) = sqrt(alpha_bar_t / alpha_bar_s) v_s   (1)

and conditioning one on another is a regression, with the Schur complement as variance:

    E[x | y] = E x + Cov(x, y) / Var y (y - E y),   Var(x | y) = Var x - Cov(x, y)^2 / Var y                      (2)

l = 0 is data at a single point, and (2) then gives q(x_s | x_t, x_0) itself. A mixture of Gaussians is (2) within
each component, weighed by the probability of the component. Pixels are a mixture of 256 points. Correlated data are (2)
with matrices, and so are data of which something else was measured.

Where everything is affine, expectations over N(0, 1) are means over +1 and -1, exactly: see `signs`; and the law of a
chain is that of its response to each draw: see `moments`.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ancestral.diffusion.likelihood import prior_term, step_term
from ancestral.diffusion.parameterization import Prediction, PredictsEps
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.diffusion.variances import Variance, beta_tilde
from ancestral.gaussian import DiagonalGaussian
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers import Sampler

Device = torch.device | str


def double(*values: float | int, device: Device = "cpu") -> Tensor:
    """The values, (N,) float64."""
    return torch.tensor(values, dtype=torch.float64, device=device)


def normal(*shape: int, device: Device = "cpu") -> Tensor:
    """Some standard normal numbers, always the same, float64."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return drawn.to(device)


def signs(count: int, device: Device = "cpu") -> Tensor:
    """All rows of `count` signs, (2 ** count, count): a quadratic of normal numbers has its mean over them."""
    return torch.tensor([*itertools.product((1.0, -1.0), repeat=count)], dtype=torch.float64, device=device)


def legendre(count: int, device: Device = "cpu") -> tuple[Tensor, Tensor]:
    """Nodes in [-1, 1] and weights of Gauss and Legendre's quadrature, (count,) each, float64."""
    nodes, weights = (torch.tensor(each, device=device) for each in np.polynomial.legendre.leggauss(count))
    return nodes, weights


def pixel_levels(device: Device = "cpu") -> Tensor:
    """All 256 levels of a pixel, (256, 1)."""
    return (torch.arange(256, dtype=torch.float64, device=device) / 127.5 - 1)[:, None]


def log_normal(x: Tensor, mean: Tensor | float, variance: Tensor) -> Tensor:
    """The log-density of N(mean, variance) at x, element by element."""
    return -0.5 * ((x - mean) ** 2 / variance + (2 * math.pi * variance).log())


def level(schedule: Schedule, t: Tensor, like: Tensor) -> Tensor:
    """alpha_bar_t, read from the table and shaped to broadcast over `like` (B, D)."""
    alpha_bar = schedule.alpha_bar[t].to(like)
    return alpha_bar[:, None] if alpha_bar.ndim else alpha_bar


def noised(schedule: Schedule, prediction: Prediction) -> Tensor:
    """The x_t that the pair of a prediction makes, (B, D)."""
    alpha_bar = level(schedule, prediction.t, prediction.x0)
    return alpha_bar.sqrt() * prediction.x0 + (1 - alpha_bar).sqrt() * prediction.eps


@dataclass(frozen=True)
class GaussianData:
    """N(mean, diag(variance)) and its exact denoiser; mean and variance (D,)."""

    schedule: Schedule
    mean: Tensor
    variance: Tensor

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_t: (D,), or (B, D) for t (B,)."""
        alpha_bar = level(self.schedule, t, self.mean)
        return alpha_bar.sqrt() * self.mean, alpha_bar * self.variance + 1 - alpha_bar

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """E[x_0 | x_t] by (2), and the eps that goes with it."""
        alpha_bar, (mean, variance) = level(self.schedule, t, x_t), self.at(t)
        off = (x_t - mean) / variance
        return Prediction(t, self.mean + alpha_bar.sqrt() * self.variance * off, (1 - alpha_bar).sqrt() * off)

    def reverse_variance(self, t: Tensor, s: Tensor) -> Tensor:
        """Var(x_s | x_t) by (2)."""
        v_t, v_s = self.at(t)[1], self.at(s)[1]
        kept = level(self.schedule, t, self.mean) / level(self.schedule, s, self.mean)
        return v_s - kept * v_s**2 / v_t

    def exact(self, schedule: Schedule, t: Tensor, s: Tensor, prediction: Prediction) -> Tensor:
        """log Var(x_s | x_t), as the variance of a process: (D,), or (B, D)."""
        return self.reverse_variance(t.cpu(), s.cpu()).log()

    def flow(self, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
        """Where the probability flow carries x_t from t to s: as many standard deviations from the mean as before."""
        (mean_t, v_t), (mean_s, v_s) = self.at(t), self.at(s)
        return mean_s + (v_s / v_t).sqrt() * (x_t - mean_t)


def gaussian(schedule: Schedule, *variance: float, device: Device = "cpu") -> GaussianData:
    """Data of these variances, four at the most, with means that are not all 0."""
    means = (0.3, -0.5, 0.1, 0.0)[: len(variance)]
    return GaussianData(schedule, double(*means, device=device), double(*variance, device=device))


@dataclass(frozen=True)
class CorrelatedData:
    """N(mean, covariance) and its exact denoiser, for data (B, ...) of D elements; mean (D,), covariance (D, D)."""

    schedule: Schedule
    mean: Tensor
    covariance: Tensor

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """E[x_0 | x_t] by (2), and the eps that goes with it."""
        alpha_bar = level(self.schedule, t, self.mean)
        total = alpha_bar * self.covariance + (1 - alpha_bar) * torch.eye(len(self.mean)).to(self.mean)
        off = torch.linalg.solve(total, x_t.flatten(1) - alpha_bar.sqrt() * self.mean, left=False)
        x0, eps = self.mean + alpha_bar.sqrt() * off @ self.covariance, (1 - alpha_bar).sqrt() * off
        return Prediction(t, x0.reshape(x_t.shape), eps.reshape(x_t.shape))

    def given(self, matrix: Tensor, y: Tensor, sigma: float) -> "CorrelatedData":
        """The data given y = matrix x_0 + sigma n, by (2); y (K,), matrix (K, D)."""
        seen = matrix @ self.covariance
        total = seen @ matrix.T + sigma**2 * torch.eye(len(y)).to(y)
        gain = seen.T @ torch.linalg.pinv(total, hermitian=True)
        return CorrelatedData(self.schedule, self.mean + gain @ (y - matrix @ self.mean), self.covariance - gain @ seen)


@dataclass(frozen=True)
class Mixture:
    """sum_k w_k N(means_k, variances_k I) and its exact denoiser; weights (K,), means (K, D), variances (K,)."""

    schedule: Schedule
    weights: Tensor
    means: Tensor
    variances: Tensor

    def log_joint(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log p(k, x_t), (B, K)."""
        alpha_bar = self.schedule.alpha_bar[t].to(x_t)
        variance = alpha_bar * self.variances + 1 - alpha_bar
        distance = (x_t[:, None] - alpha_bar.sqrt() * self.means).square().sum(-1) / variance
        return self.weights.log() - 0.5 * (distance + self.means.shape[1] * (2 * math.pi * variance).log())

    def log_density(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log q(x_t), (B,)."""
        return self.log_joint(x_t, t).logsumexp(1)

    def log_posterior(self, x_t: Tensor, t: Tensor) -> Tensor:
        """log p(k | x_t), (B, K)."""
        return self.log_joint(x_t, t).log_softmax(1)

    def __call__(self, x_t: Tensor, t: Tensor) -> Prediction:
        """E[x_0 | x_t] and E[eps | x_t]."""
        alpha_bar = self.schedule.alpha_bar[t].to(x_t)
        off = x_t[:, None] - alpha_bar.sqrt() * self.means
        off = off / (alpha_bar * self.variances + 1 - alpha_bar)[:, None]
        share = self.log_joint(x_t, t).softmax(1)[..., None]
        x0 = (share * (self.means + alpha_bar.sqrt() * self.variances[:, None] * off)).sum(1)
        return Prediction(t, x0, (share * (1 - alpha_bar).sqrt() * off).sum(1))

    def component(self, k: int) -> "GaussianData":
        """The data of one component alone."""
        return GaussianData(self.schedule, self.means[k], self.variances[k].expand(self.means.shape[1]))

    def flow(self, x: Tensor, timesteps: Tensor) -> Tensor:
        """Where the probability flow carries points of a line, x (B,), along `timesteps` from the first: (steps, B, 1).

        On a line no point can overtake another, so each keeps its quantile, found by halving an interval around it.
        """
        alpha_bar = self.schedule.alpha_bar[timesteps].to(x)[:, None, None]
        centres = alpha_bar.sqrt() * self.means[:, 0]
        widths = (alpha_bar * self.variances + 1 - alpha_bar).sqrt()

        def below(points: Tensor) -> Tensor:
            return (self.weights * torch.special.ndtr((points[..., None] - centres) / widths)).sum(-1)

        wanted = below(x.expand(len(timesteps), -1))[:1]
        low = x.new_full((len(timesteps), len(x)), -9.0)
        high = -low
        for _ in range(60):
            middle = (low + high) / 2
            left = below(middle) < wanted
            low, high = torch.where(left, middle, low), torch.where(left, high, middle)
        return ((low + high) / 2)[..., None]


def eps_process(schedule: Schedule, variance: Variance = beta_tilde) -> GaussianDiffusion:
    """A process whose network predicts eps."""
    return GaussianDiffusion(schedule, PredictsEps(), variance)


def correlated(size: int, device: Device = "cpu") -> Tensor:
    """A covariance (size, size) with eigenvalues evenly between 0.1 and 1, in no direction of the axes."""
    turn, _ = torch.linalg.qr(normal(size, size, device=device))
    return turn @ torch.linspace(0.1, 1, size, dtype=turn.dtype, device=turn.device).diag() @ turn.T


def matrix_of(linear: Callable[[Tensor], Tensor], shape: tuple[int, ...], device: Device = "cpu") -> Tensor:
    """The matrix (K, D) of a linear map of (B, *shape)."""
    units = torch.eye(math.prod(shape), dtype=torch.float64, device=device)
    return linear(units.reshape(-1, *shape)).flatten(1).T


def two_hills(schedule: Schedule, device: Device = "cpu") -> Mixture:
    """A mixture of two Gaussians in the plane."""
    means = double(1.0, 0.5, -1.0, 0.2, device=device).reshape(2, 2)
    return Mixture(schedule, double(0.3, 0.7, device=device), means, double(0.05, 0.2, device=device))


def three_hills(schedule: Schedule, device: Device = "cpu", wider: float = 0.0) -> Mixture:
    """A mixture of three Gaussians in the plane; `wider`: added to every variance."""
    means = double(1.0, 0.5, -1.0, 0.2, 0.3, -1.1, device=device).reshape(3, 2)
    variances = double(0.05, 0.2, 0.1, device=device) + wider
    return Mixture(schedule, double(0.3, 0.5, 0.2, device=device), means, variances)


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The gradient of a function (B, D) -> (B,) at x, by automatic differentiation: (B, D)."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


def propagate(
    sampler: Sampler, denoise: Denoiser, timesteps: Tensor, mean: Tensor, variance: Tensor
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(s, mean, variance) of x_s after every step, exactly, where the denoiser is affine element by element.

    A step is then x_s = offset + slope x_t + width z, and three calls find the three numbers.
    """
    zero, one = torch.zeros_like(mean)[None], torch.ones_like(mean)[None]
    for t, s in itertools.pairwise(timesteps):
        offset = sampler.step(denoise, zero, t, s, [], lambda: zero)[0]
        slope = sampler.step(denoise, one, t, s, [], lambda: zero)[0] - offset
        width = sampler.step(denoise, zero, t, s, [], lambda: one)[0] - offset
        mean, variance = (offset + slope * mean)[0], (slope**2 * variance + width**2)[0]
        yield int(s), mean, variance


def moments(
    run: Callable[[Callable[[], Tensor]], Tensor], shape: tuple[int, ...], device: Device = "cpu"
) -> tuple[Tensor, Tensor]:
    """Mean (K,) and covariance (K, K), exactly, of what `run` makes of normal draws of a shape, affine in all of them.

    In the first row of its batch every draw is 0; in each of the others one element of one draw is 1.
    """
    asked, size = itertools.count(), math.prod(shape)

    def nothing() -> Tensor:
        next(asked)
        return torch.zeros(1, *shape, dtype=torch.float64, device=device)

    run(nothing)
    draws = next(asked)
    units = torch.eye(draws * size, dtype=torch.float64, device=device)
    kicks = iter(torch.cat([torch.zeros_like(units[:1]), units]).reshape(-1, draws, *shape).unbind(1))
    ends = run(kicks.__next__).flatten(1)
    response = ends[1:] - ends[0]
    return ends[0], response.T @ response


def expected_terms(diffusion: GaussianDiffusion, data: GaussianData, timesteps: Tensor) -> Tensor:
    """L_T and the term of every step, in expectation over data and noise, nats a dimension: (steps + 1,).

    The decoder is the density. All steps are one batch, each with the four signs of (x_0, eps).
    """
    steps = len(timesteps) - 1
    each = signs(2, data.mean.device).repeat(steps, 1)
    x0 = data.mean + data.variance.sqrt() * each[:, :1]
    t, s = (times.repeat_interleave(4) for times in (timesteps[:-1], timesteps[1:]))
    x_t = diffusion.q_sample(x0, t, each[:, 1:].expand_as(x0))
    nats = step_term(diffusion, data(x_t, t), x0, x_t, t, s, DiagonalGaussian.log_prob).reshape(-1, 4).mean(1)
    return torch.cat([prior_term(diffusion, x0[:4]).mean()[None], nats]) / len(data.mean)


def entropy(variance: Tensor) -> Tensor:
    """Of N(., variance), nats: the shape of `variance`."""
    return 0.5 * torch.log(2 * math.pi * math.e * variance)
