"""The terms of the bound for a chunk of images, as the sums that every figure of the measurement is made of.

A chunk is the unit of work: its sums are a few hundred numbers whatever the images are, they add up over chunks, and
they are what is kept when a measurement is interrupted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from ancestral.diffusion.likelihood import bits_per_dim, prior_term, step_term
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.errors import NonFinite
from ancestral.evaluation.subsample import Subsample
from ancestral.sampling.denoiser import Denoiser
from ancestral.settings import Settings
from ancestral.tensors import Data, PerImage, Timesteps, mean_over_image

MOST_STRETCHES = 64
LEVELS_IN_ONE = 127.5
"""Pixel levels in one unit of [-1, 1]."""


class Sums(Settings):
    """Of one chunk. Bits are bits per dimension, and visits count with their weight."""

    prior: tuple[float, ...]
    """L_T of each image."""
    diffusion: tuple[float, ...]
    """The estimated sum of all L_(t,s) of each image."""
    reconstruction: tuple[float, ...]
    """L_0 of each image."""
    bits: tuple[float, ...]
    """Of each stretch, over images."""
    bits_squared: tuple[float, ...]
    """Of each stretch, the squares of what it costs each image."""
    errors_squared: tuple[float, ...]
    """Mean squared error of the predicted x0, in squared pixel levels, over the visits of each stretch."""
    visits: tuple[int, ...]
    """Of each stretch."""
    differences: tuple[float, ...]
    """Between neighbouring parts, over images: (3) of `evaluation.subsample`, with the weight."""
    differences_squared: float
    """Over images and pairs of parts."""
    seconds: Annotated[float, Field(ge=0)] = 0.0
    """What it took."""


@dataclass(frozen=True)
class Walk:
    """A chain and its division into stretches.

    Args:
        chain: (steps + 1,), falling from T to 0. Its last step is L_0 and belongs to no stretch.
        edges: places in `chain` where a stretch begins, and where the last one ends: 0, ..., steps - 1.
    """

    chain: Timesteps
    edges: tuple[int, ...]

    @property
    def stretch_of(self) -> Int64[Tensor, "M"]:
        """The stretch that each step belongs to."""
        lengths = torch.tensor([end - start for start, end in pairwise(self.edges)], dtype=torch.int64)
        return torch.arange(len(lengths)).repeat_interleave(lengths)


def divided(schedule: Schedule, chain: Timesteps, shortest: int) -> Walk:
    """`chain` in at most 64 stretches of `shortest` steps or more, as even in log-SNR as that allows."""
    steps = len(chain) - 1
    own = Schedule(schedule.alpha_bar_at(chain.flip(0)))  # a strided chain is a schedule too
    even = steps - own.uniform_log_snr(min(MOST_STRETCHES + 1, steps))[:-1]
    return Walk(chain, _apart(even.tolist(), shortest))


def _apart(edges: Sequence[int], shortest: int) -> tuple[int, ...]:
    """First and last edge, and of the others those that leave every stretch long enough."""
    first, *inner, last = edges if len(edges) > 1 else [*edges, *edges]
    kept = [first]
    for edge in inner:
        if edge - kept[-1] >= shortest and last - edge >= shortest:
            kept.append(edge)
    return (*kept, last) if last > first else ()


def chunk_sums(
    diffusion: GaussianDiffusion,
    denoise: Denoiser,
    x0: Data,
    walk: Walk,
    subsample: Subsample,
    visits: Int64[Tensor, "B K"],
    noise: Callable[[], Data],
) -> Sums:
    """The sums of a chunk, by K + 1 calls of the denoiser: L_0, then the visits in their order.

    Args:
        x0: (B, ...) pixels in [-1, 1].
        noise: the next standard normal draw, (B, ...): one a call.

    Raises:
        ValueError: x0 that is no pixels.
        NonFinite: a term that is NaN or infinity.
    """
    dims, device = x0[0].numel(), x0.device
    chain, stretch_of = walk.chain.to(device), walk.stretch_of.to(device)
    images, stretches = torch.arange(len(x0), device=device), max(len(walk.edges) - 1, 0)

    def visit(t: Timesteps, s: Timesteps) -> tuple[PerImage, PerImage]:
        """Bits per dimension, and the squared error of the predicted x0."""
        x_t = diffusion.q_sample(x0, t, noise())
        prediction = denoise(x_t, t)
        nats = step_term(diffusion, prediction, x0, x_t, t, s)
        return bits_per_dim(nats, dims), mean_over_image((prediction.x0.double() - x0.double()) ** 2) * LEVELS_IN_ONE**2

    reconstruction, _ = visit(chain[-2], chain[-1])
    bits = torch.zeros(2, len(x0), stretches, dtype=torch.float64, device=device)
    differences, before = [], reconstruction
    for k, step in enumerate(visits.T.to(device)):
        cost, error = visit(chain[step], chain[step + 1])
        # no two entries are the same, so adding is in one order even on a GPU
        bits[:, images, stretch_of[step]] += torch.stack([cost * subsample.weight, error])
        if k % 2 or 0 < k == visits.shape[1] - 1:
            differences.append((cost - before) * subsample.weight)
        before = cost
    prior = bits_per_dim(prior_term(diffusion, x0), dims)
    if not bool((prior + reconstruction + bits.sum((0, 2))).isfinite().all()):
        raise NonFinite(
            "the bound is not finite, though every prediction was: the variance or the schedule is at fault; measure "
            "with --variance beta_tilde, or fewer --timesteps"
        )
    apart = torch.stack(differences) if differences else bits.new_zeros(0, len(x0))
    return Sums(
        prior=_list(prior),
        diffusion=_list(bits[0].sum(1)),
        reconstruction=_list(reconstruction),
        bits=_list(bits[0].sum(0)),
        bits_squared=_list((bits[0] ** 2).sum(0)),
        errors_squared=_list(bits[1].sum(0)),
        visits=tuple(torch.bincount(walk.stretch_of[visits].flatten(), minlength=stretches).tolist()),
        differences=_list(apart.sum(1)),
        differences_squared=float((apart**2).sum()),
    )


def _list(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
