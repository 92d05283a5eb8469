"""The images generated for the page, and the steps by which some of them came about."""

from dataclasses import dataclass

import torch

from ancestral.pipeline import Pipeline
from ancestral.pipeline.generate import FinishedPart, Frame, Keep, collected
from ancestral.tensors import Labels, Pixels

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


@dataclass(frozen=True)
class Samples:
    """Samples of seeds 0, 1, 2, ..., sorted by class, and the way that led to some of them."""

    pixels: Pixels
    labels: Labels | None
    shown: list[int]
    """Which of the samples the frames show."""
    frames: list[Frame]
    """Their states and estimates of x0 as pixels, at every timestep from T to 0."""

    @property
    def seeds(self) -> range:
        """One per sample."""
        return range(len(self.pixels))


def generate(pipeline: Pipeline) -> Samples:
    """Samples of every class (of at most 20), or plain ones, with the settings of the run."""
    per_class, count = sample_counts(pipeline)
    labels = torch.arange(count) // per_class if pipeline.num_classes else None
    shown = film_choice(pipeline, per_class, count)
    keep = Keep(shown, as_pixels=True)
    parts = [
        event for event in pipeline.generating(range(count), labels, None, keep) if isinstance(event, FinishedPart)
    ]
    pixels, frames = collected(parts, keep)
    return Samples(pixels, labels, shown, frames)


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
