"""Small pipelines that nobody trained, and what makes them answer something."""

from typing import Any

import torch

from ancestral.pipeline import Pipeline
from ancestral.settings import Config, ImageSpec, UNetSettings

TINY = UNetSettings(widths=(8,), layers=1, attention=(), middle_attention=False, norm_groups=4)
"""The smallest network."""
SMALL = UNetSettings(widths=(8, 16), layers=1, attention=(1,), norm_groups=4)
"""Two levels and attention."""


def untrained(
    shape: tuple[int, int, int] = (1, 8, 8), classes: tuple[str, ...] = (), changes: dict[str, Any] | None = None
) -> Pipeline:
    """A fresh pipeline of images of a shape (C, H, W); `changes`: to the settings, whose network is TINY."""
    channels, height, width = shape
    spec = ImageSpec(channels=channels, height=height, width=width, class_names=classes)
    return Pipeline.fresh(Config(**{"network": TINY, **(changes or {})}), spec, "cpu")


def answering(pipeline: Pipeline, seed: int = 0) -> Pipeline:
    """The pipeline with random numbers added to its weights: a fresh one answers 0, one of a few steps nearly so."""
    weights = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in pipeline.network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=weights)
    return pipeline
