"""The likelihood of the probability flow: a density without a bound, to check the variational bound against.

The marginals of the forward process are also those of an ordinary differential equation (Song et al. 2021b, section
4.3). With a = cos(phi), s = sin(phi) its drift is dx/dphi = a eps - s x_0, the velocity v. A step should be a factor
in s where s is small, and a length in a where a is small: take

    u = artanh(a) = log((1 + a) / s),   du = -dphi / s,   exp(log-SNR / 2) = sinh(u)           (1)
    dx / du = x_0(x, u) - a x,                            since s v = a x - x_0                (2)

u falls from data to noise; it is half the log-SNR plus log 2 at the clean end and 0 where no signal is left. (2) is
smooth on the whole way and divides by nothing, zero terminal SNR included. Along a path the log-density changes by
minus the divergence (Chen et al. 2018), so with p(x_T) = N(0, I) and J = d(x_0 - a x) / dx

    log p(x_t) = log N(x_T; 0, I) + integral of tr J du from u_t to u_T                        (3)

A denoiser speaks only at timesteps, so the solver uses the given grid and nothing between: Adams' method with uneven
nodes. A line through the last two drifts, integrated, predicts x_s; a parabola through them and the drift at that
prediction corrects it, with a local error of fourth order. The first step has no past and is Heun's, of third. The
error as a whole is of order 3. (3) takes the corrector's weights.

tr J costs one vector-Jacobian product a dimension, or is E[e' J e] over probes with E[e e'] = I (Hutchinson 1990).

Pixels are discrete. By Jensen's inequality, with y uniform on the bin of x_0, or x_t ~ q(x_t | x_0) and a decoder,

    -log P(x_0) <= E[ -log p(x_t = a y) ] - D log(a 2 / 255)                                   (4)
    -log P(x_0) <= E[ log q(x_t | x_0) - log p(x_t) - log p(x_0 | x_t) ]                       (5)

The model of (4) rounds x_t / alpha to the nearest level; that of (5) is the chain's with the flow above t.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ancestral.diffusion.likelihood import PIXELS, Decoder, step_term
from ancestral.diffusion.process import GaussianDiffusion, Prediction
from ancestral.gaussian import BIN_WIDTH, DiagonalGaussian
from ancestral.tensors import Data, PerImage, Timesteps

Denoise = Callable[[Data, Timesteps], Prediction]
"""(x_t (B, ...), t () int64) -> the estimate of x0 and eps at x_t, differentiable in x_t."""
ProbeNoise = Callable[[], Data]
"""The next draw, (B, ...), independent of those before."""
Forms = Float64[Tensor, "probes B"]
"""e' J e for every probe e and image."""


class FlowLikelihood(NamedTuple):
    """log p(x_t) of each image in nats, (B,) float64, and the standard error that random probes leave in it."""

    log_prob: PerImage
    standard_error: PerImage | None


class FlowBound(NamedTuple):
    """One draw of a bound (4) or (5) on -log P(x_0), each (B,) float64.

    Attributes:
        nats: an unbiased estimate of the bound; a single draw may lie below -log P(x_0), its expectation does not.
        decoder: the share of `nats` that buys the pixels once x_t is known, L_0; 0 for uniform dequantisation.
        standard_error: what random probes leave in `nats`; the spread over draws is not in it. None: exact.
    """

    nats: PerImage
    decoder: PerImage
    standard_error: PerImage | None


@dataclass(frozen=True)
class Exact:
    """The trace itself, one probe a dimension: a backward pass for every number in an image."""

    def vectors(self, like: Data) -> Iterator[Data]:
        """The unit vectors, each shaped as `like`."""
        basis = torch.eye(like[0].numel(), dtype=like.dtype, device=like.device)
        return (unit.reshape(like.shape[1:]).expand(like.shape) for unit in basis)

    def trace(self, forms: Forms) -> tuple[PerImage, PerImage | None]:
        """The sum of the diagonal, (B,), without an error."""
        return forms.sum(0), None


@dataclass(frozen=True)
class Hutchinson:
    """An unbiased estimate of the trace (Hutchinson 1990; Grathwohl et al. 2019).

    Args:
        probes: backward passes at every grid point, at least 2: one would have no spread to tell its error.
        noise: draws of mean 0 and unit covariance, such as `rng.ImageNoise`; `rademacher` of it has a smaller variance.
    """

    probes: int
    noise: ProbeNoise

    def __post_init__(self) -> None:
        if self.probes < 2:
            raise ValueError(f"expected at least two probes, got {self.probes}; the spread between probes is the error")

    def vectors(self, like: Data) -> Iterator[Data]:
        """Fresh draws at every grid point, so that their errors average out along the path."""
        return (self.noise() for _ in range(self.probes))

    def trace(self, forms: Forms) -> tuple[PerImage, PerImage | None]:
        """Mean over the probes, and its standard error, each (B,)."""
        return forms.mean(0), forms.std(0) / math.sqrt(len(forms))


Divergence = Exact | Hutchinson
"""How the trace of a Jacobian is found from e' J e: which vectors e, and what to make of the numbers."""


def rademacher(noise: ProbeNoise) -> ProbeNoise:
    """The signs of symmetric draws, +1 or -1: of probes with independent entries those of least variance."""

    def signs() -> Data:
        draw = noise()
        return 1 - 2 * (draw < 0).to(draw)

    return signs


def flow_log_prob(
    diffusion: GaussianDiffusion, denoise: Denoise, x_t: Data, timesteps: Timesteps, divergence: Divergence
) -> FlowLikelihood:
    """log p(x_t) under the probability flow (3), nats per image. Error of order 3 in the steps of u.

    Two network calls a step, and one backward pass for every probe. Gradients are taken with respect to x_t only.

    Args:
        denoise: float64 for closed forms; sums are float64 for any.
        x_t: (B, ...) data at the last timestep of the grid.
        timesteps: (steps + 1,) falling from T to t >= 1, such as a sampler's grid without its 0.

    Raises:
        ValueError: timesteps that do not fall from T to 1 or more, a denoiser that cannot be differentiated.
    """
    _check_grid(diffusion, timesteps)

    def drift(x: Data, t: Timesteps) -> Data:
        """dx / du (2)."""
        x0 = denoise(x, t).x0
        if x.requires_grad and not x0.requires_grad:
            # Its trace would silently be that of -a x alone.
            raise ValueError("expected a denoiser with gradients, got an x0 without; call it outside torch.no_grad")
        return x0 - diffusion.schedule.alpha(t, x) * x

    def point(x: Data, t: Timesteps) -> _Point:
        return _Point(_u(diffusion, t), *quadratic_forms(partial(drift, t=t), x, divergence.vectors(x)))

    x, here = x_t, point(x_t, timesteps[-1])
    past, volume = deque([here], maxlen=2), torch.zeros_like(here.forms)
    for s in timesteps.flip(0)[1:]:
        nodes, u = torch.stack([each.u for each in past]), _u(diffusion, s)
        drifts = [each.drift for each in past]
        with torch.no_grad():
            ahead = drift(x + _weighted(quadrature(nodes, here.u, u), drifts), s)
        parabola = quadrature(torch.cat([nodes, u[None]]), here.u, u)
        x = x + _weighted(parabola, [*drifts, ahead])
        here = point(x, s)
        volume = volume + _weighted(parabola, [*(each.forms for each in past), here.forms])
        past.append(here)
    change, standard_error = divergence.trace(volume)
    return FlowLikelihood(_standard_normal(x) + change, standard_error)


def uniform_flow_bound(
    diffusion: GaussianDiffusion,
    denoise: Denoise,
    x0: Data,
    timesteps: Timesteps,
    divergence: Divergence,
    uniform: Data,
) -> FlowBound:
    """Bound (4): the flow as a model of pixels spread evenly over their bins, y = x_t / alpha.

    Tightest where sigma_t / alpha_t is the spread of a uniform bin, a log-SNR of 12.2, and never tight: with r =
    sigma_t / alpha_t in bins, levels far apart cost 0.5 log(2 pi r^2) + 1 / (24 r^2) nats a pixel more than they are
    worth, at least 0.18.

    Args:
        x0: (B, ...) pixel values in [-1, 1], timesteps: as in `flow_log_prob`.
        uniform: (B, ...) draws in [0, 1).
    """
    _check_grid(diffusion, timesteps)
    alpha = diffusion.schedule.alpha_bar_at(timesteps[-1]).sqrt()
    x_t = diffusion.schedule.alpha(timesteps[-1], x0) * (x0 + BIN_WIDTH * (uniform - 0.5))
    flow = flow_log_prob(diffusion, denoise, x_t, timesteps, divergence)
    width = x0[0].numel() * math.log(alpha * BIN_WIDTH)
    return FlowBound(-flow.log_prob - width, torch.zeros_like(flow.log_prob), flow.standard_error)


def forward_flow_bound(
    diffusion: GaussianDiffusion,
    denoise: Denoise,
    x0: Data,
    timesteps: Timesteps,
    divergence: Divergence,
    noise: Data,
    decoder: Decoder = PIXELS,
) -> FlowBound:
    """Bound (5): the variational bound with the flow in place of the chain above t, and the same decoder below.

    Tight where the decoder is the true posterior of the pixels: then every single draw gives -log P(x_0).

    Args:
        x0: (B, ...) pixel values in [-1, 1], timesteps: as in `flow_log_prob`.
        noise: (B, ...) standard normal draws.
    """
    _check_grid(diffusion, timesteps)
    t = timesteps[-1]
    x_t = diffusion.q_sample(x0, t, noise)
    with torch.no_grad():
        pixels = step_term(diffusion, denoise(x_t, t), x0, x_t, t, torch.zeros_like(t), decoder)
    flow = flow_log_prob(diffusion, denoise, x_t, timesteps, divergence)
    log_q = _standard_normal(noise) - 0.5 * x0[0].numel() * math.log(1 - diffusion.schedule.alpha_bar_at(t))
    return FlowBound(log_q - flow.log_prob + pixels, pixels, flow.standard_error)


class _Point(NamedTuple):
    """What the solver remembers of a grid point."""

    u: Float64[Tensor, ""]
    drift: Data
    forms: Forms


def _u(diffusion: GaussianDiffusion, t: Timesteps) -> Float64[Tensor, ""]:
    """The variable (1)."""
    alpha_bar = diffusion.schedule.alpha_bar_at(t)
    return torch.log((1 + alpha_bar.sqrt()) / (1 - alpha_bar).sqrt())


def quadratic_forms(function: Callable[[Data], Data], x: Data, probes: Iterable[Data]) -> tuple[Data, Forms]:
    """function(x), and e' J e of every image for each probe e, J the Jacobian of `function` at x.

    One graph and a backward pass for each probe: torch.func.vmap of the same product took two to seven times longer
    through a U-Net on a CPU, and has no rule for attention's backward pass.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        value = function(x)
        forms = list[PerImage]()
        for e in (probe.to(x) for probe in probes):
            (product,) = torch.autograd.grad(value, x, e, retain_graph=True)
            forms.append((e.double() * product.double()).flatten(1).sum(1))
    return value.detach(), torch.stack(forms)


def quadrature(
    nodes: Float64[Tensor, "N"], start: Float64[Tensor, ""], end: Float64[Tensor, ""]
) -> Float64[Tensor, "N"]:
    """Weights w: sum of w f(nodes) is the integral of f from start to end for every polynomial of degree below N.

    The N powers of z = (node - start) / (end - start) have the integrals 1 / (k + 1): a linear system for w.
    """
    z, power = (nodes - start) / (end - start), torch.arange(len(nodes), dtype=torch.float64)
    return (end - start) * torch.linalg.solve(z ** power[:, None], 1 / (power + 1))


def _weighted(weights: Float64[Tensor, "N"], values: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
    terms = [weight * value for weight, value in zip(weights.tolist(), values, strict=True)]
    return torch.stack(terms).sum(0)


def _standard_normal(x: Data) -> Float64[Tensor, "B"]:
    """log N(x; 0, I) of each image, nats."""
    zero = torch.zeros((), dtype=torch.float64, device=x.device)
    return DiagonalGaussian(torch.zeros_like(x, dtype=torch.float64), zero).log_prob(x.double()).flatten(1).sum(1)


def _check_grid(diffusion: GaussianDiffusion, timesteps: Timesteps) -> None:
    falls = timesteps.ndim == 1 and len(timesteps) > 0 and bool((timesteps.diff() < 0).all())
    if not falls or timesteps[0] != diffusion.num_timesteps or timesteps[-1] < 1:
        raise ValueError(
            f"expected timesteps that fall from T = {diffusion.num_timesteps} to 1 or more, got {timesteps.tolist()}; "
            "at t = 0 pixels have no density, so leave a last 0 out"
        )
