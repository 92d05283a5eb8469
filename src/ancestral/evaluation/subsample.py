"""Which images are measured and which steps of the chain each of them visits: an unbiased sample at a chosen cost.

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
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from ancestral.rng import generator, mix

GOLDEN = (math.sqrt(5) - 1) / 2
"""phi of (2)."""


@dataclass(frozen=True)
class Subsample:
    """`num_images` of the `available` images, each of which visits `draws` of the `steps` steps of a chain.

    What an image is given depends on the seed and on its own place in the data, not on the batch it is in; with more
    images, the first are the same.

    Args:
        steps: M, at least `draws`.
        draws: K; 0 only where there is no step.
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
