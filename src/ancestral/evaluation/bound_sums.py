"""The terms of the bound: which images visit which steps, and the sums of a chunk that every figure is made of.

A chain of M steps (its last one, onto the data, apart) costs an image f_0 + ... + f_{M-1}. Divide [0, M) into K equal
parts, draw a point in each and visit the step that it lies in: j <= point < j + 1. Every step is visited K / M times on
average, wherever the parts end, so

    (M / K) sum_k f_{j_k}                                                                         (1)

is unbiased for each image. For the image of rank r the point of part k lies at the fraction

    v_rk = shift_k + r phi (mod 1),   phi = (sqrt(5) - 1) / 2                                     (2)

of its part, with shift_k uniform. For one image these are K independent uniform numbers. Over n images they are spread
as evenly as any sequence can be, with no gap of 2 / n or more, so that all steps are visited alike. K = M is every step
once, with nothing drawn.

Images are independent and steps are spread more evenly than that, so the spread of (1) over images gives an error that
is true or too large, never too small. Of it the choice of steps and the noise make up (M / K)^2 sum_k Var f_{j_k}. A
single draw in a part does not show that variance, but the difference d of two neighbouring parts does,

    Var d = Var f_{j_k} + Var f_{j_{k+1}} + what their means differ from image to image              (3)

which again is true or too large. Its mean over images, the slope of the terms over t, does not count.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from ancestral.diffusion.likelihood import DENSITY, PIXELS, bits_per_dim, prior_term, step_term
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.errors import NonFinite
from ancestral.rng import generator, mix
from ancestral.sampling.denoiser import Denoiser
from ancestral.settings import Settings
from ancestral.tensors import Data, PerImage, Timesteps, mean_over_image

MOST_STRETCHES = 64
LEVELS_IN_ONE = 127.5  # pixel levels in one unit of [-1, 1]
GOLDEN = (math.sqrt(5) - 1) / 2  # phi of (2)


@dataclass(frozen=True)
class Subsample:
    """`num_images` of the `available` images, each of which visits `draws` (K) of the `steps` (M) steps of a chain.

    What an image is given depends on the seed and on its own place in the data, not on the batch it is in; with more
    images, the first are the same. K is 0 only where there is no step.
    """

    seed: int
    available: int
    num_images: int
    steps: int
    draws: int

    def __post_init__(self) -> None:
        assert 0 <= self.draws <= self.steps and 0 < self.num_images <= self.available

    @property
    def everything(self) -> bool:
        """Whether every step is visited once."""
        return self.draws == self.steps

    @property
    def weight(self) -> float:
        """M / K of (1), of every visit."""
        return 1.0 if self.everything else self.steps / self.draws

    @property
    def widest_gap(self) -> int:
        """Steps in a row of which at least one is visited by some image: half of them lie within one part."""
        return 1 if self.everything else math.ceil(4 * self.weight / self.num_images)

    def images(self) -> Int64[Tensor, "N"]:
        """Places in the data, in the order of their ranks."""
        return torch.randperm(self.available, generator=generator(self.seed, "likelihood images"))[: self.num_images]

    def visits(self, start: int, stop: int) -> Int64[Tensor, "n K"]:
        """The steps, 0..M-1, that images of rank `start` to `stop` visit, in rising order."""
        part = torch.arange(self.draws)
        if self.everything:
            return part.expand(stop - start, -1)
        rank = torch.arange(start, stop, dtype=torch.float64)[:, None]
        shifts = torch.rand(self.draws, generator=generator(self.seed, "likelihood timesteps"), dtype=torch.float64)
        within = (shifts + rank * GOLDEN) % 1
        return ((part + within) * self.weight).long().clamp(max=self.steps - 1)

    def noise_seeds(self, places: Int64[Tensor, "n"]) -> list[int]:
        """The seed of each image's noise."""
        return [mix(self.seed, "likelihood noise", place) for place in places.tolist()]


class Sums(Settings):
    """Of one chunk, the unit of work: a few hundred numbers whatever the images are, which add up over chunks.

    Bits are bits per dimension of images, and visits count with their weight. The first three are of each image, the
    next four of each stretch; the last three are of each image, and empty unless x0 is latents.
    """

    prior: tuple[float, ...]  # L_T
    diffusion: tuple[float, ...]  # the estimated sum of all L_(t,s)
    reconstruction: tuple[float, ...]  # L_0
    bits: tuple[float, ...]  # over images
    bits_squared: tuple[float, ...]  # the squares of what it costs each image
    errors_squared: tuple[float, ...]
    """mean squared error of the predicted x0 over its visits: in squared pixel levels, or, of latents, as they are"""
    visits: tuple[int, ...]
    differences: tuple[float, ...]  # between neighbouring parts, over images: (3), with the weight
    differences_squared: float  # over images and pairs of parts
    seconds: Annotated[float, Field(ge=0)] = 0.0
    pixels: tuple[float, ...] = ()  # as in `latent_likelihood.CodecNats`
    posterior: tuple[float, ...] = ()
    kl: tuple[float, ...] = ()


class Walk(NamedTuple):
    """A chain and its division into stretches."""

    chain: Timesteps  # (steps + 1,), falling from T to 0; its last step is L_0 and belongs to no stretch
    edges: tuple[int, ...]  # places in `chain` where a stretch begins, and where the last one ends: 0, ..., steps - 1


def divided(schedule: Schedule, chain: Timesteps, shortest: int) -> Walk:
    """`chain` in at most 64 stretches of `shortest` steps or more, as even in log-SNR as that allows."""
    steps = len(chain) - 1
    own = Schedule(schedule.alpha_bar_at(chain.flip(0)))  # a strided chain is a schedule too
    even = (steps - own.uniform_log_snr(min(MOST_STRETCHES + 1, steps))[:-1]).tolist()
    edges, last = even[:1], even[-1]
    for edge in even[1:-1]:
        if edge - edges[-1] >= shortest and last - edge >= shortest:
            edges.append(edge)
    return Walk(chain, (*edges, last) if last > edges[0] else ())


def chunk_sums(
    diffusion: GaussianDiffusion,
    denoise: Denoiser,
    x0: Data,
    walk: Walk,
    subsample: Subsample,
    visits: Int64[Tensor, "B K"],
    noise: Callable[[], Data],
    latents_of: int | None = None,
) -> Sums:
    """The sums of a chunk, by K + 1 calls of the denoiser: L_0, then the visits in their order.

    Args:
        x0: (B, ...) pixels in [-1, 1], a ValueError where it is none; or latents.
        noise: the next standard normal draw, (B, ...): one a call.
        latents_of: where x0 is latents, of which L_0 is a density: the dimensions of an image, which bits are of.
    """
    device = x0.device
    dims, decoder, unit = (x0[0].numel(), PIXELS, LEVELS_IN_ONE) if latents_of is None else (latents_of, DENSITY, 1.0)
    chain, images = walk.chain.to(device), torch.arange(len(x0), device=device)
    lengths = torch.tensor([end - start for start, end in pairwise(walk.edges)], dtype=torch.int64)
    stretch_of = torch.arange(len(lengths)).repeat_interleave(lengths).to(device)  # each step's

    def visit(t: Timesteps, s: Timesteps) -> tuple[PerImage, PerImage]:
        """Bits per dimension, and the squared error of the predicted x0."""
        x_t = diffusion.q_sample(x0, t, noise())
        prediction = denoise(x_t, t)
        nats = step_term(diffusion, prediction, x0, x_t, t, s, decoder)
        return bits_per_dim(nats, dims), mean_over_image((prediction.x0.double() - x0.double()) ** 2) * unit**2

    reconstruction, _ = visit(chain[-2], chain[-1])
    bits = torch.zeros(2, len(x0), len(lengths), dtype=torch.float64, device=device)
    differences, before = [], reconstruction
    visits = visits.to(device)
    for k, step in enumerate(visits.T):
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
    sums = {
        "prior": prior,
        "diffusion": bits[0].sum(1),
        "reconstruction": reconstruction,
        "bits": bits[0].sum(0),
        "bits_squared": (bits[0] ** 2).sum(0),
        "errors_squared": bits[1].sum(0),
        "visits": torch.bincount(stretch_of[visits].flatten(), minlength=len(lengths)),
        "differences": apart.sum(1),
        "differences_squared": (apart**2).sum(),
    }
    return Sums.model_validate({name: values.tolist() for name, values in sums.items()})
