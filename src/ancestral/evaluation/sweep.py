"""Quality against network calls: every sampler on every grid, drawn with one network from the same seeds.

Two distances, which answer two questions:

    to the flow     how far from where the probability flow of this network ends, image by image, root mean square in
                    levels of 0..255: the sampler's own error. The end is that of many steps from the same noise. A
                    sampler that draws noise goes elsewhere, and has no such distance.
    to real images  Fréchet distance to the test part in the features of a classifier: what the images are worth. A
                    sampler cannot be better than its network, so this one levels off at the network's own error.

The recommendation is the smallest number of calls at which the second is not worse than the best that was measured by
more than a tenth, nor by more than one standard error of the difference; among those, the least. Both were drawn from
the same seeds and compared with the same test images, so the difference is known far better than either.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field

from ancestral.building import GRIDS, build_sampler
from ancestral.config import PositiveInt, SamplingSettings, Settings
from ancestral.errors import InputError
from ancestral.evaluation.features import Extractor
from ancestral.evaluation.metrics import GROUPS, Features, Jackknife, frechet_jackknife
from ancestral.pipeline import Pipeline
from ancestral.rng import generator, mix
from ancestral.tensors import Labels, Pixels

SAMPLERS: tuple[str, ...] = SamplingSettings.model_fields["sampler"].annotation.__args__  # type: ignore[union-attr]
LEAST_IMAGES = 2 * GROUPS
"""Of which a Fréchet distance has an error bar."""
TOLERATED = 0.1
"""Share of the best Fréchet distance by which fewer calls may be worse: few images cannot tell much larger ones."""
REFERENCE_SAMPLER, REFERENCE_GRID = "dpm++3m", "log-snr"


class SweepSettings(Settings):
    """What is drawn and compared."""

    samplers: tuple[str, ...] = SAMPLERS
    grids: tuple[str, ...] = tuple(GRIDS)
    calls: tuple[PositiveInt, ...] = (5, 10, 20)
    """Network calls an image, at most."""
    images: Annotated[int, Field(ge=LEAST_IMAGES)] = 256
    """Drawn by each."""
    reference: PositiveInt = 200
    """Steps of the reference from the same noise."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the images that are drawn."""


class Contender(Settings):
    """A sampler on a grid, within a number of network calls."""

    sampler: str
    grid: str
    budget: int
    """Network calls that were allowed."""
    steps: int
    calls: int
    """Network calls of an image; guidance doubles what each costs, for all alike."""


class Row(Settings):
    """What a contender's images are worth."""

    contender: Contender
    jackknife: Jackknife
    """Fréchet distance to the test images, also without each group of the drawn and of the test images."""
    to_flow: float | None
    """Root mean square difference from the reference, in levels of 0..255. None where noise is drawn."""
    agreement: float | None
    """Share of images in which the classifier sees the class that was asked for. None without classes."""

    @property
    def frechet(self) -> float:
        """Fréchet distance to the test images."""
        return self.jackknife.value


class Sweep(Settings):
    """Everything measured. The fields before `num_test` say of what: a file of others is begun anew."""

    weights: str
    guide: str = ""
    """Digest of another network that all were guided by, if any."""
    settings: SweepSettings
    sampling: SamplingSettings
    """What all contenders had in common: guidance, clipping. Sampler, grid and steps in it count for nothing."""
    num_test: int
    """Test images compared with."""
    floor: float
    """Fréchet distance of as many training images to the test images."""
    reference: float
    """Fréchet distance of the reference to the test images."""
    rows: tuple[Row, ...]

    @property
    def best(self) -> Row:
        """The row with the least Fréchet distance."""
        return min(self.rows, key=lambda row: row.frechet)

    @property
    def recommended(self) -> Row:
        """The fewest calls that are hardly and not clearly worse than the best, and the least distance there."""
        worse = ((row, row.jackknife.minus(self.best.jackknife)) for row in self.rows)
        hardly = TOLERATED * self.best.frechet
        enough = [row for row, difference in worse if difference.value <= min(difference.error, hardly)] or [self.best]
        fewest = min(row.contender.calls for row in enough)
        return min((row for row in enough if row.contender.calls == fewest), key=lambda row: row.frechet)


def contenders(settings: SweepSettings, pipeline: Pipeline, sampling: SamplingSettings) -> list[Contender]:
    """Every sampler on every grid at every budget that this schedule has the timesteps for, cheapest first."""
    found = []
    for budget in sorted(settings.calls):
        for name in settings.samplers:
            sampler = build_sampler(chosen(sampling, name, None, 1), pipeline.diffusion)
            steps = (budget - 1) // sampler.calls + 1
            if steps <= pipeline.diffusion.num_timesteps:
                spent = sampler.network_calls(steps)
                found += [
                    Contender(sampler=name, grid=grid, budget=budget, steps=steps, calls=spent)
                    for grid in settings.grids
                ]
    if not found:
        raise InputError(f"expected fewer network calls than T = {pipeline.diffusion.num_timesteps}, got none")
    return found


def chosen(base: SamplingSettings, sampler: str, grid: str | None, steps: int) -> SamplingSettings:
    """`base` with another sampler, and what belonged to the old one gone; no cache."""
    changes = {"sampler": sampler, "grid": grid, "steps": steps, "eta": None, "variance": None, "cache": 1}
    return SamplingSettings.model_validate(base.model_dump() | changes)


@dataclass(frozen=True)
class Drawer:
    """Draws the same images again and again, by one sampler after another.

    Args:
        sampling: what all have in common.
        on_calls: told of network calls times images, as they are made.
    """

    pipeline: Pipeline
    sampling: SamplingSettings
    seeds: list[int]
    labels: Labels | None
    on_calls: Callable[[int], None]

    def draw(self, sampler: str, grid: str, steps: int) -> Pixels:
        """The images; of several processes each counts the steps of its own as those of all."""
        settings, spent = chosen(self.sampling, sampler, grid, steps), 0
        calls = build_sampler(settings, self.pipeline.diffusion).network_calls(steps) * len(self.seeds)

        def on_progress(done: int, total: int) -> None:
            nonlocal spent
            self.on_calls(calls * done // total - spent)
            spent = calls * done // total

        return self.pipeline.draw(self.seeds, self.labels, settings, on_progress=on_progress)


def drawer(
    pipeline: Pipeline, sampling: SamplingSettings, settings: SweepSettings, on_calls: Callable[[int], None]
) -> Drawer:
    """The images of a sweep: as many of every class, in no order, each with a seed of its own.

    In order of classes, a group that a jackknife leaves out could be a class, and every distance would look uncertain.
    """
    seeds = [mix(settings.seed, "sweep", i) for i in range(settings.images)]
    order = torch.randperm(settings.images, generator=generator(settings.seed, "sweep", "classes"))
    labels = order % len(pipeline.class_names) if pipeline.class_names else None
    return Drawer(pipeline, sampling, seeds, labels, on_calls)


class Judge(NamedTuple):
    """What images are compared with: a reference from the same noise, and test images in some features."""

    reference: Pixels
    extractor: Extractor
    real: Features

    def row(self, drawer: Drawer, each: Contender) -> Row:
        """What one contender's images are worth."""
        drawn = drawer.draw(each.sampler, each.grid, each.steps)
        noisy = build_sampler(chosen(drawer.sampling, each.sampler, None, 1), drawer.pipeline.diffusion).stochastic
        jackknife = frechet_jackknife(self.extractor.features(drawn), self.real)
        agreement = None
        if drawer.labels is not None and self.extractor.kind == "labels":
            agreement = float((self.extractor.classify(drawn) == drawer.labels).double().mean())
        to_flow = None if noisy else apart(drawn, self.reference)
        return Row(contender=each, jackknife=jackknife, to_flow=to_flow, agreement=agreement)


def apart(drawn: Pixels, reference: Pixels) -> float:
    """Root mean square difference over all pixels, in levels."""
    return math.sqrt(float(((drawn.double() - reference.double()) ** 2).mean()))
