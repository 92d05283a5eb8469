"""The tasks of `ancestral edit` that restore what was measured: colorize, enlarge, deblur."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ancestral import edits
from ancestral.cli.edit_inputs import MOST_PIXELS, real
from ancestral.cli.editing import (
    ComparisonRow,
    EditPlan,
    EditRequest,
    LargerPixels,
    NamedImage,
    PngFacts,
    numbers_of,
    one_by_one,
)
from ancestral.cli.options import whole
from ancestral.colors import NAMES
from ancestral.editing.operators import Blurred, Grey, MeanPooled, Operator, gaussian_kernel
from ancestral.editing.posterior import PosteriorGuided
from ancestral.errors import InputError
from ancestral.rng import ImageNoise
from ancestral.sampling.loop import Step
from ancestral.tensors import Pixels, from_pixels, to_pixels

PULL_BACKS = {"projection": 0, "gradient": 1, "moments": 2 + PosteriorGuided.iterations}
"""Backward passes of a call."""


def colorize(asked: EditRequest) -> EditPlan:
    """`ancestral edit colorize`."""
    channels = asked.pipeline.spec.channels
    if channels != 3:
        kind, lacks = NAMES[channels], "knows no colours" if channels < 3 else "draws more than colours"
        raise InputError(f"expected a pipeline of RGB images, got one of {kind}, which {lacks}")
    return _restored(asked, "grey", Grey(), 1, 1, lambda y: y, {})


def enlarge(asked: EditRequest) -> EditPlan:
    """`ancestral edit enlarge`."""
    factor, (_, height, width) = whole(asked.found.factor, "--factor", 2, MOST_PIXELS), asked.pipeline.spec.shape
    if height % factor or width % factor:
        raise InputError(f"expected a factor above 1 that divides {height} and {width}, got {factor}")

    def squares(y: Pixels) -> LargerPixels:
        return y.repeat_interleave(factor, -1).repeat_interleave(factor, -2)

    return _restored(
        asked, "small", MeanPooled(factor), asked.pipeline.spec.channels, factor, squares, {"factor": str(factor)}
    )


def deblur(asked: EditRequest) -> EditPlan:
    """`ancestral edit deblur`."""
    deviation, (channels, height, width) = real(asked.found.blur, "--blur"), asked.pipeline.spec.shape
    kernel = gaussian_kernel(deviation)
    if len(kernel) > min(height, width):
        raise InputError(f"expected a blur narrower than {min(height, width) / 6:.3g} pixels here, got {deviation}")
    return _restored(asked, "blurred", Blurred(kernel), channels, 1, lambda y: y, {"blur": str(deviation)})


def _restored(
    asked: EditRequest,
    name: str,
    operator: Operator,
    channels: int,
    factor: int,
    show: Callable[[Pixels], LargerPixels],
    options: PngFacts,
) -> EditPlan:
    """By posterior guidance from what `operator` makes of images: that of files, or of whole images degraded here.

    Args:
        name: what stands beneath a measurement.
        channels, factor: of a measurement, and how much smaller it is than an image.
        show: measurements -> pictures of the images' size.
    """
    sigma, variance = real(asked.found.noise, "--noise"), real(asked.found.data_variance, "--data-variance")
    _, height, width = asked.pipeline.spec.shape
    given = asked.read() if asked.found.degrade else asked.read(channels, height // factor, width // factor)
    seen = torch.cat([from_pixels(picture.pixels) for picture in given])
    if asked.found.degrade:
        seen = _noisy(operator(seen), sigma, asked.seeds[0])
    y = seen.repeat_interleave(len(asked.seeds), 0)

    def steps(part: slice) -> Iterator[Step]:
        words = asked.all_seeds[part], asked.labels_of(part), asked.settings, sigma, asked.found.how, variance
        return edits.restore(asked.pipeline, operator, y[part], *words)

    measured = one_by_one(to_pixels(seen))
    before: list[list[NamedImage]] = [[("image", p.pixels)] if asked.found.degrade else [] for p in given]
    rows = [ComparisonRow([*full, (name, show(one))], []) for full, one in zip(before, measured, strict=True)]
    words = {"how": asked.found.how, "noise": str(sigma), "data variance": str(variance)}
    plan = EditPlan(rows, asked.of_seeds(given), steps, asked.settings.steps, {**options, **words})
    plan = replace(plan, pull_backs=PULL_BACKS[asked.found.how])
    if not asked.found.degrade:
        return plan
    made = tuple((number + name, one) for number, one in zip(numbers_of(given), measured, strict=True))
    return replace(plan, options={**plan.options, "degraded": "by ancestral"}, made=made)


def _noisy(y: Tensor, sigma: float, seed: int) -> Tensor:
    """Each measurement with noise of its own."""
    return y + sigma * ImageNoise(range(seed, seed + len(y)), y.shape[1:], stream="measurement")()
