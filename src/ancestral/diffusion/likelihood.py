"""The variational bound on -log p(x_0), term by term, along any chain T = t_0 > t_1 > ... > t_n = 0.

The evidence is an expectation over the forward process, and -log is convex (Jensen):

    -log p(x_0) = -log E_q [ p(x_{0:T}) / q(x_{1:T} | x_0) ]                                               (1)
               <= E_q [ -log p(x_T) - sum_(t,s) log p(x_s | x_t) / q(x_t | x_s) ]                           (2)

where (t, s) runs over the steps. For s > 0, by the Markov property and Bayes' rule,
q(x_t | x_s) = q(x_t | x_s, x_0) = q(x_s | x_t, x_0) q(x_t | x_0) / q(x_s | x_0). The last two factors telescope, which
leaves (Ho et al. 2020, eq. 5)

    L_T     = KL( q(x_T | x_0) || p(x_T) ),   p(x_T) = N(0, I)                                             (3)
    L_(t,s) = E KL( q(x_s | x_t, x_0) || p(x_s | x_t) ),   s > 0                                           (4)
    L_0     = E -log p(x_0 | x_t),   s = 0                                                                 (5)

Both sides of (4) are Gaussians. With one variance sigma^2 they differ by their means alone, and the means by eps:

    KL = || mu_tilde - mu ||^2 / (2 sigma^2)
       = beta^2 || eps - eps_hat ||^2 / (2 sigma^2 (1 - beta) (1 - alpha_bar_t))                           (6)

with beta = beta(t, s). Pixels are whole numbers, so p(x_0 | x_t) in (5) is the probability of a bin. By the rectangle
rule that is the density times the width of the bin, and (5) becomes (6) at s = 0 plus a constant: the reason why the
simple loss may include t = 1.

(4) and (5) are estimates from one draw of x_t ~ q(x_t | x_0). Everything is computed in float64, whatever the data's
precision, and summed over an image: a bound is a small difference of large numbers.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from ancestral.diffusion.categorical import levels_log_prob
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.gaussian import DiagonalGaussian
from ancestral.tensors import Data, PerImage, Timesteps

Decoder = Callable[[DiagonalGaussian, Data], Data]
"""(p(x_0 | x_t), x_0) -> log-probability of every element, nats, (B, ...). `PIXELS` is that of bins; for data that are
not pixels (latents) there is `DENSITY`: the bound is then on a density."""
PIXELS: Decoder = DiagonalGaussian.log_prob_of_bins
DENSITY: Decoder = DiagonalGaussian.log_prob


class BoundTerm(NamedTuple):
    """`nats` (B,): what x_s costs each image once x_t is known.

    s = 0 is L_0 (5). t = s = T is L_T (3), where nothing is known. All others are L_(t,s) (4).
    """

    t: int
    s: int
    nats: PerImage


def bound_terms(
    diffusion: GaussianDiffusion,
    denoise: Callable[[Data, Timesteps], Prediction],
    x0: Data,
    timesteps: Timesteps,
    noise: Callable[[], Data],
    decoder: Decoder = PIXELS,
) -> Iterator[BoundTerm]:
    """L_T and then the term of every step along `timesteps`; their sum estimates the bound (2) without bias.

    Args:
        denoise: called once a step, with t ().
        x0: (B, ...), in [-1, 1] if it is pixels.
        timesteps: (steps + 1,) int64, falling from T to 0, and best through 1: onto 0 from far away a fixed variance
            is much too narrow.
        noise: the next standard normal draw, (B, ...): one a step.

    Raises:
        ValueError: timesteps that do not fall from T to 0; an x0 that is not on the 256 levels, of pixels.
    """
    T = diffusion.num_timesteps
    falls = timesteps.ndim == 1 and len(timesteps) > 1 and bool((timesteps.diff() < 0).all())
    if not falls or timesteps[0] != T or timesteps[-1] != 0:
        raise ValueError(f"expected timesteps that fall from T = {T} to 0, got {timesteps.tolist()}")
    yield BoundTerm(T, T, prior_term(diffusion, x0))
    for t, s in itertools.pairwise(timesteps):
        x_t = diffusion.q_sample(x0, t, noise())
        yield BoundTerm(int(t), int(s), step_term(diffusion, denoise(x_t, t), x0, x_t, t, s, decoder))


def prior_term(diffusion: GaussianDiffusion, x0: Data) -> PerImage:
    """L_T (3) of each image, exactly, nats: (B,). No parameters, and no noise to average over."""
    end = diffusion.q_marginal(x0.double(), torch.tensor(diffusion.num_timesteps))
    return _total(end.kl(DiagonalGaussian(torch.zeros_like(end.mean), torch.zeros_like(end.mean))))


def step_term(
    diffusion: GaussianDiffusion,
    prediction: Prediction,
    x0: Data,
    x_t: Data,
    t: Timesteps,
    s: Timesteps,
    decoder: Decoder = PIXELS,
) -> PerImage:
    """L_(t,s) (4) of each image, or L_0 (5) where s = 0, at this x_t: nats, float64, (B,).

    Args:
        prediction: made at x_t. One that says how likely the levels are is its own decoder.
        t, s: () or (B,) int64, 0 <= s < t <= T.
    """
    x0, x_t, coefficient = x0.double(), x_t.double(), prediction.variance_coeff
    coefficient = None if coefficient is None else coefficient.double()
    exact = prediction._replace(x0=prediction.x0.double(), eps=prediction.eps.double(), variance_coeff=coefficient)
    p = diffusion.p_posterior(exact, x_t, t, s)
    nats = _total(diffusion.q_posterior(x0, x_t, t, s).kl(p))
    last = (s == 0).to(nats.device)
    if not bool(last.any()):
        return nats
    levels = prediction.levels
    return torch.where(last, -_total(decoder(p, x0) if levels is None else levels_log_prob(levels, x0)), nats)


def bits_per_dim(nats: PerImage, dims: int) -> PerImage:
    """Nats of whole images as bits per dimension: (B,). `dims`: C * H * W before padding, which adds no information."""
    if dims < 1:
        raise ValueError(f"expected at least one dimension, got {dims}; it is C * H * W of one image")
    return nats / (dims * math.log(2))


def _total(x: Data) -> PerImage:
    return x.reshape(x.shape[0], -1).sum(dim=1)
