"""Large images through an autoencoder in overlapping tiles, so that memory is bounded by a tile and not by the image.

With y_i what is computed of tile i, at the places that it covers,

    y = sum_i w_i y_i,   sum_i w_i = 1 everywhere                                                                    (1)

A tile knows nothing of what is behind its edges, where convolutions see zeros. So w_i is 0 within a quarter of the
overlap of an edge that was cut, rises smoothly over the half behind it, and is 1 in the middle; the weights of tiles
that meet are divided by their sum. At the edges of the image nothing was cut.

For layers that see no farther than that quarter, (1) is what they make of the whole image, up to rounding. Group
normalisation and attention see everything there is, here a tile: each normalises by its own mean and deviation, and
colours may differ a little from those of the whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from ancestral.errors import InputError
from ancestral.windows import starts

Planes = Shaped[Tensor, "B C H W"]  # pixels to encode, or latents to decode
Computed = Float[Tensor, "B _ _ _"]
MULTIPLE = 32  # px, of sides and overlaps: a quarter of it is the largest factor of an autoencoder


@dataclass(frozen=True)
class Tiling:
    """Which images are cut into tiles, and into which."""

    whole: int = 1024**2  # pixels of the largest image that is not cut
    side: int = 512  # of a tile, px
    overlap: int = 128  # of neighbouring tiles at least, px

    def __post_init__(self) -> None:
        if not MULTIPLE <= self.overlap < self.side or self.overlap % MULTIPLE or self.side % MULTIPLE:
            raise InputError(
                f"expected a tile's side above its overlap, both multiples of {MULTIPLE} px, got {self.side} and "
                f"{self.overlap}"
            )

    def cuts(self, height: int, width: int) -> bool:
        """Whether images of so many pixels a side are cut; one that is no larger than a tile never is."""
        return height * width > self.whole and max(height, width) > self.side


USUAL = Tiling()
MOST_TOGETHER = 64


def at_once(height: int, width: int) -> int:
    """How many images of so many pixels a side are computed together: `MOST_TOGETHER`, or as few as have no more pixels
    than the largest image that is not cut."""
    return max(1, min(MOST_TOGETHER, USUAL.whole // (height * width)))


class Scale(NamedTuple):
    """Sides that a network takes in, and makes, for each latent: (1, f) of a decoder, (f, 1) of an encoder."""

    taken: int
    made: int

    @property
    def factor(self) -> int:
        return max(self)


class Covered(NamedTuple):
    """What of one side is covered by a tile: of the input, of the output, and the weights there."""

    taken: slice
    made: slice
    weight: Float[Tensor, "n"]


def in_tiles(compute: Callable[[Planes], Computed], x: Planes, scale: Scale, tiling: Tiling) -> Computed:
    """`compute` of x, (B, C, H, W), where images are large in tiles (1): of one image after the other, so that no more
    than a tile of one is computed at once. With its gradient, for which all that is computed is kept."""
    sides = [side // scale.taken for side in x.shape[-2:]]  # in latents
    if not len(x) or not tiling.cuts(*(side * scale.factor for side in sides)):
        return compute(x)
    rows, columns = ([*stretches(side, scale, tiling)] for side in sides)
    total = None
    for number, row, column in product(range(len(x)), rows, columns):
        here = slice(number, number + 1)
        made = compute(x[here, :, row.taken, column.taken])
        if total is None:
            total = made.new_zeros(len(x), made.shape[1], *(side * scale.made for side in sides))
        total[here, :, row.made, column.made] += torch.outer(row.weight, column.weight).to(made) * made
    assert total is not None
    return total


def stretches(latents: int, scale: Scale, tiling: Tiling) -> Iterator[Covered]:
    """How tiles cover a side of so many latents; their weights, float32 on the CPU, add to 1."""
    largest, overlap = tiling.side // scale.factor, tiling.overlap // scale.factor
    side = min(latents, largest)
    places = starts(latents, side, largest - overlap)
    weights = torch.zeros(len(places), latents * scale.made, dtype=torch.float64)
    slices = [[slice(start * each, (start + side) * each) for each in scale] for start in places]
    for weight, (_, made) in zip(weights, slices, strict=True):
        weight[made] = _weight(side * scale.made, overlap * scale.made, made.start > 0, made.stop < len(weight))
    weights /= weights.sum(dim=0)
    for weight, (taken, made) in zip(weights.float(), slices, strict=True):
        yield Covered(taken, made, weight[made])


def _weight(length: int, overlap: int, cut_before: bool, cut_behind: bool) -> Float64[Tensor, "n"]:
    """Of a tile along one side, before weights are divided by their sum."""
    weight, places = torch.ones(length, dtype=torch.float64), torch.arange(length, dtype=torch.float64) + 0.5
    for is_cut, distance in ((cut_before, places), (cut_behind, places.flip(0))):
        if is_cut:
            risen = ((distance - overlap / 4) / (overlap / 2)).clamp(0, 1)
            weight *= risen.square() * (3 - 2 * risen)
    return weight
