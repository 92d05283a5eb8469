"""Inpainting (Lugmayr et al. 2022, RePaint): the known pixels are noised, the others sampled, and both harmonised.

After every step t -> s the known part is replaced by a draw of its own marginal,

    x_s = keep * (alpha_s x_0 + sigma_s z) + (1 - keep) * x_s^sampled                                   (1)

The sampled part was drawn before it saw this known part, so the two do not fit yet. Going back up,

    x_t ~ q(x_t | x_s) = N(sqrt(alpha_bar_t / alpha_bar_s) x_s, beta(t, s) I)                   (2)

and down again lets what is sampled see what is known; each round brings the pair nearer to its joint law. (2) holds
for any s < t of any schedule: a jump over several steps of a strided chain is one draw with the beta of that jump, not
one for each training timestep between (`diffusion.process`, eq. 1).

What the rounds settle at is a law in which the unknown part at noise t is conditioned on a noisy known part; at low
noise that is the known part itself. So it comes as near to the conditional law as there are rounds and levels: with an
exact denoiser the error of mean and covariance falls towards 0 with both.

The last step, onto t = 0, is taken once: it arrives at a mean, and noise added to a mean is no draw of q(x_t).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, repeat
from numbers import Integral

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor
from torch.nn import functional as F

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.errors import InputError
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import REMEMBERED, Step
from ancestral.sampling.samplers import Noise, Sampler
from ancestral.tensors import Data, Timesteps

GREY = 128  # the level of a pixel
Mask = Bool[Tensor, "..."]
"""True where x0 is known; broadcasts over it: (H, W), (B, 1, H, W)."""
LargerImages = Shaped[Tensor, "B C h w"]  # a canvas with an image on it


@dataclass(frozen=True)
class Rounds:
    """How often each stretch of `jump` steps is gone down: 1 never goes back up. Calls: `count` times the steps."""

    count: int = 10
    jump: int = 1

    def __post_init__(self) -> None:
        if not all(isinstance(each, Integral) and each >= 1 for each in (self.count, self.jump)):
            raise InputError(f"expected whole rounds and jumps of at least 1, got {self.count} and {self.jump}")

    def legs(self, timesteps: Timesteps) -> Iterator[Timesteps]:
        """Falling stretches, in order; one that starts above the end of the one before is reached by (2)."""
        above = timesteps[:-1]
        for start in range(0, len(above) - 1, self.jump):
            yield from repeat(above[start : start + self.jump + 1], self.count)
        yield timesteps[-2:]

    def steps(self, timesteps: Timesteps) -> int:
        """How many steps that is in all."""
        return self.count * (len(timesteps) - 2) + 1


def inpaint(
    denoise: Denoiser,
    sampler: Sampler,
    diffusion: GaussianDiffusion,
    image: Data,
    keep: Mask,
    x_T: Data,
    timesteps: Timesteps,
    noise: Noise,
    rounds: Rounds | None = None,
) -> Iterator[Step]:
    """Steps that end at an image whose kept pixels are `image`'s to the bit.

    Args:
        sampler: deterministic or not; a multistep one starts anew after each way up. One that corrects x_t by the
            predictions before it (UniPC) takes back some of (1) on the way; what is kept at the end is exact.
        image: (B, ...) in [-1, 1]; what it holds where `keep` is False does not matter, but must be finite.
        x_T: (B, ...) noise at timesteps[0].
        timesteps: (steps + 1,) int64, falling to 0.
        rounds: None: 10 of every step.
    """
    try:
        keep.expand_as(image)
    except RuntimeError:
        raise InputError(
            f"expected a mask that fits images of {tuple(image.shape)}, got {tuple(keep.shape)}; "
            "give it the images' height and width"
        ) from None
    if len(timesteps) < 2 or not bool((timesteps.diff() < 0).all()) or timesteps[-1] != 0:
        raise InputError(f"expected at least two timesteps that fall to 0, got {timesteps.tolist()}")
    x_t, past = _keeping(diffusion, image, keep, x_T, timesteps[0], noise), deque[Prediction](maxlen=REMEMBERED)
    now = timesteps[0]
    for leg in (rounds or Rounds()).legs(timesteps):
        if leg[0] > now:
            x_t = diffusion.q_step(x_t, leg[0], now).sample(noise())
            past.clear()
        for t, s in pairwise(leg):
            x_s, prediction = sampler.step(denoise, x_t, t, s, past, noise)
            x_s = _keeping(diffusion, image, keep, x_s, s, noise)
            past.append(prediction)
            yield Step(int(t), int(s), x_t, x_s, prediction.x0)
            x_t = x_s
        now = leg[-1]


def _keeping(diffusion: GaussianDiffusion, image: Data, keep: Mask, x: Data, t: Timesteps, noise: Noise) -> Data:
    """(1): x with the known part drawn at t; at t = 0 it is the image itself."""
    known = image if t == 0 else diffusion.q_sample(image, t, noise())
    return torch.where(keep.to(x.device), known, x)


def outside_box(height: int, width: int, top: int, left: int, bottom: int, right: int) -> Bool[Tensor, "H W"]:
    """The mask that keeps all but rows top..bottom - 1 and columns left..right - 1."""
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise InputError(
            f"expected a box inside {height} x {width} pixels, got rows {top}..{bottom} and columns {left}..{right}"
        )
    keep = torch.ones(height, width, dtype=torch.bool)
    keep[top:bottom, left:right] = False
    return keep


def extended(
    image: Shaped[Tensor, "B C H W"], top: int, bottom: int, left: int, right: int
) -> tuple[LargerImages, Bool[Tensor, "h w"]]:
    """Outpainting as inpainting: the image, in [-1, 1] or pixels, on a larger canvas, and the mask that keeps it; the
    margins are grey so far."""
    margins = (left, right, top, bottom)
    if min(margins) < 0:
        raise InputError(f"expected margins of 0 or more pixels, got left, right, top, bottom {margins}")
    keep = F.pad(torch.ones(image.shape[-2:], dtype=torch.bool), margins)
    return F.pad(image, margins, value=0 if image.is_floating_point() else GREY), keep
