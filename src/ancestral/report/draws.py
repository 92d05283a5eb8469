"""The images drawn for the page, and the steps by which some of them came about."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.pipeline import Pipeline
from ancestral.rng import ImageNoise
from ancestral.tensors import Labels, Pixels, to_pixels
from ancestral.viz.pictures import pick

MOST_CLASSES = 20
"""Classes shown, at most."""
PER_CLASS = 8
"""Samples of each class; of few classes, as many times more as make about 80 in all."""
SAMPLES = 80
UNCONDITIONAL = 40
"""Samples where there are no classes."""
PAGE_NUMBERS = 1_500_000
"""Pixels times channels of all samples together: large images are fewer, lest the page weigh too much."""
FILM_NUMBERS = 16_000_000
"""The same of all frames of the film, as shown."""
FILM_WIDTH = 400
"""Width of the film's grids, about, px."""


class Chain(NamedTuple):
    """The steps of a few samples: S timesteps from T to 0, and for each of them (B, C, H, W) images.

    At t the second is the estimate of x0 made from x_t; at 0, where nothing is left to estimate, it is the sample.
    """

    times: list[int]
    x_t: list[Pixels]
    x0: list[Pixels]


@dataclass(frozen=True)
class Draws:
    """Samples of seeds 0, 1, 2, ..., sorted by class, and the chain that led to some of them."""

    pixels: Pixels
    labels: Labels | None
    shown: list[int]
    """Which of the samples the chain belongs to."""
    chain: Chain

    @property
    def seeds(self) -> range:
        """One per sample."""
        return range(len(self.pixels))


def draw(pipeline: Pipeline) -> Draws:
    """Samples of every class (of at most 20), or plain ones, with the settings of the run."""
    per_class, count = sample_counts(pipeline)
    labels = torch.arange(count) // per_class if pipeline.num_classes else None
    shown = film_choice(pipeline, per_class, count)
    chosen = None if labels is None else labels[shown]
    return Draws(pipeline.draw(range(count), labels), labels, shown, follow(pipeline, shown, chosen))


def sample_counts(pipeline: Pipeline) -> tuple[int, int]:
    """(samples of a class, samples in all)."""
    affordable = max(8, PAGE_NUMBERS // pipeline.spec.channels // (pipeline.spec.height * pipeline.spec.width))
    if not pipeline.num_classes:
        return min(UNCONDITIONAL, affordable), min(UNCONDITIONAL, affordable)
    classes = min(pipeline.num_classes, MOST_CLASSES)
    wanted = PER_CLASS * max(1, min(4, SAMPLES // (PER_CLASS * classes)))
    per_class = max(1, min(wanted, affordable // classes))
    return per_class, per_class * classes


def film_choice(pipeline: Pipeline, per_class: int, count: int) -> list[int]:
    """Two rows of samples, of different classes as far as there are any, that fit the width of a film."""
    columns = film_columns(pipeline)
    wanted = columns * (2 if columns > 2 else 1)
    of_each_class = list(range(0, count, per_class)) if pipeline.num_classes else []
    return (of_each_class + [i for i in range(count) if i not in of_each_class])[:wanted]


def film_columns(pipeline: Pipeline) -> int:
    """Images in a row of the film."""
    return max(1, min(4, FILM_WIDTH // pipeline.spec.width))


def follow(pipeline: Pipeline, seeds: list[int], labels: Labels | None) -> Chain:
    """The chain of `seeds`: the same images as in any other batch."""
    start = ImageNoise(seeds, pipeline.spec.shape, pipeline.device)()
    times, x_t, x0 = [], [_shown(start)], []
    for step in pipeline.steps(seeds, labels):
        times.append(step.t)
        x_t.append(_shown(step.x))
        x0.append(_shown(step.x0))
    return Chain([*times, 0], x_t, [*x0, x_t[-1]])


def thinned(chain: Chain, count: int) -> Chain:
    """At most `count` of the steps, evenly spread, the first and the last among them."""
    kept = pick(range(len(chain.times)), count)
    return Chain([chain.times[i] for i in kept], [chain.x_t[i] for i in kept], [chain.x0[i] for i in kept])


def _shown(x: Tensor) -> Pixels:
    return to_pixels(x).cpu().contiguous()
