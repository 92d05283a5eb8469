"""Has it learnt to generate, or learnt its images by heart? The nearest training image beside samples."""

import math

from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.neighbours import nearest
from ancestral.report.facts import RunFacts
from ancestral.report.headline import number
from ancestral.report.html import Html, element, section, styled
from ancestral.report.samples import Samples
from ancestral.report.tiles import captioned, tile, wall
from ancestral.tensors import Pixels

SHOWN = 16
MOST_TRAIN_BYTES = 2**31
"""Of training images that samples are compared with."""
MOST_HELD_OUT = 512
"""Held-out images whose distances are measured for comparison."""


def copies(facts: RunFacts, samples: Samples) -> Html:
    """The samples that lie nearest to a training image, each beside it: if there are copies, they are here."""
    every = facts.parts.train
    some = every.sliced(0, max(1, MOST_TRAIN_BYTES // math.prod(every.shape)))
    train = as_pixels(some)
    found = nearest(samples.pixels, train)
    closest = found.distance.argsort()[:SHOWN].tolist()
    figures = [
        _pair(samples.pixels[i : i + 1], i, train[j : j + 1], j, float(found.distance[i]))
        for i in closest
        for j in [int(found.indices[i])]
    ]
    words = (
        f"The {len(closest)} of {len(samples.pixels)} samples that lie nearest to a training image, nearest first: "
        f"each sample left, the training image right. Distances are L2 over pixels of 0..255."
    )
    if len(some) < len(every):
        words += f" Of {len(every):,} training images the first {len(some):,} were looked at."
    medians = f"Median distance of the samples {number(float(found.distance.median()))}{_compared(facts, train)}."
    return section(
        "copies", "Nearest training images", element("p", words), element("p", medians), wall(figures, "pair")
    )


def _compared(facts: RunFacts, train: Pixels) -> str:
    """The same of held-out images: what an image that nobody copied has."""
    held_out = facts.held_out()
    if held_out is None:
        return "; no image was held out to compare it with"
    part, images = held_out
    some = images.sliced(0, MOST_HELD_OUT)
    distance = float(nearest(as_pixels(some), train).distance.median())
    return f"; of {len(some):,} {part} images, which nobody trained on, {number(distance)}"


def _pair(generated: Pixels, i: int, copied: Pixels, j: int, distance: float) -> Html:
    """Sample i beside training image j; both (1, C, H, W)."""
    both = styled("div", "row", tile(generated, f"sample {i}"), tile(copied, f"training image {j}"))
    return captioned(number(distance), both)
