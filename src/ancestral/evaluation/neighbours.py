"""Is it copied? The nearest training image of each generated image, against that of held-out images.

A held-out image was never trained on, so its distance to the nearest training image is what a new image of this kind
has. Generated images that lie much nearer are copies. The measure is in pixels, or in any features.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from ancestral.errors import InputError

Vectors = Shaped[Tensor, "N ..."]
"""Images or features, one per row; uint8 or floating point."""
CHUNK = 2048


class Nearest(NamedTuple):
    """For each query, which reference is nearest, and how far in L2."""

    indices: Int64[Tensor, "N"]
    distance: Float64[Tensor, "N"]


class Memorisation(NamedTuple):
    """How near generated images lie to the training images, against how near held-out images lie.

    ratio: median distance of generated over that of held-out images: about 1 for new images, far below 1 for copies.
        None where held-out images are themselves copies of training images, so that nothing can be told.
    nearer: share of generated images no farther than the 1st percentile of held-out images; 0.01 is to be expected.
    """

    generated_median: float
    held_out_median: float
    ratio: float | None
    nearer: float


def nearest(queries: Vectors, references: Shaped[Tensor, "M ..."]) -> Nearest:
    """The nearest reference of each query. Searched in float32, then measured in float64: a copy is at exactly 0."""
    if not len(references):
        raise InputError("expected at least one training image to compare with, got none")
    indices = torch.cat([_search(part.flatten(1).float(), references) for part in torch.split(queries, CHUNK)])
    distance = torch.cat(
        [
            (part.flatten(1).double() - references[found].flatten(1).double()).norm(dim=1)
            for part, found in zip(torch.split(queries, CHUNK), torch.split(indices, CHUNK), strict=True)
        ]
    )
    return Nearest(indices, distance)


def memorisation(generated: Float64[Tensor, "N"], held_out: Float64[Tensor, "M"]) -> Memorisation:
    """Distances to the nearest training image, of generated and of held-out images, in four numbers."""
    if not len(generated) or not len(held_out):
        raise InputError(f"expected generated and held-out images, got {len(generated)} and {len(held_out)}")
    generated_median, held_out_median = float(generated.quantile(0.5)), float(held_out.quantile(0.5))
    ratio = generated_median / held_out_median if held_out_median else None
    nearer = float((generated <= held_out.quantile(0.01)).double().mean())
    return Memorisation(generated_median, held_out_median, ratio, nearer)


def _search(queries: Shaped[Tensor, "N D"], references: Shaped[Tensor, "M ..."]) -> Int64[Tensor, "N"]:
    """Index of the nearest reference, by |r|² - 2 q·r over chunks of references, so that memory stays bounded."""
    best = torch.full((len(queries),), torch.inf)
    index = torch.zeros(len(queries), dtype=torch.int64)
    origin = queries.mean(dim=0)  # distances do not depend on it, rounding does
    for start in range(0, len(references), CHUNK):
        part = references[start : start + CHUNK].flatten(1).float() - origin
        found = (part.square().sum(dim=1) - 2 * (queries - origin) @ part.T).min(dim=1)
        index = torch.where(found.values < best, start + found.indices, index)
        best = torch.minimum(best, found.values)
    return index
