"""Quality against network calls: every sampler on every grid, generated with one network from the same seeds.

Two distances, which answer two questions:

    to the flow     how far from where the probability flow of this network ends, image by image, root mean square in
                    levels of 0..255: the sampler's own error. The end is that of many steps from the same noise. A
                    sampler that draws noise goes elsewhere, and has no such distance.
    to real images  Fréchet distance to the test part in the features of a classifier: what the images are worth. A
                    sampler cannot be better than its network, so this one levels off at the network's own error.

The recommendation is the smallest number of calls at which the second is not worse than the best that was measured by
more than a tenth, nor by more than one standard error of the difference; among those, the least. Both were generated
from the same seeds and compared with the same test images, so the difference is known far better than either.

How the pipeline generates images already is measured too, and gives way only to what is better by more than the error
at the same number of calls, or equal within it at fewer: few images tell nothing, and an unsure change is none.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from ancestral.building import build_sampler
from ancestral.errors import InputError
from ancestral.evaluation.features import WIDTH, Extractor
from ancestral.evaluation.metrics import Features, Jackknife, few_images, frechet_jackknife
from ancestral.evaluation.settings import SweepSettings
from ancestral.pipeline import Pipeline
from ancestral.rng import generator, mix
from ancestral.settings import SamplingSettings, Settings
from ancestral.tensors import Labels, Pixels

TOLERATED = 0.1
"""Share of the best Fréchet distance by which fewer calls may be worse: few images cannot tell much larger ones."""
LEAST_TO_CHOOSE = 200
"""Images drawn by each, from which a sweep changes how a pipeline draws."""
REFERENCE_SAMPLER, REFERENCE_GRID = "dpm++3m", "log-snr"


class SamplerChoice(Settings):
    """A sampler on a grid, within a number of network calls."""

    sampler: str
    grid: str
    budget: int
    """Network calls that were allowed."""
    steps: int
    calls: int
    """Network calls of an image; guidance doubles what each costs, for all alike."""


class SweepRow(Settings):
    """What a sampler choice's images are worth."""

    choice: SamplerChoice
    jackknife: Jackknife
    """Fréchet distance to the test images, also without each group of the generated and of the test images."""
    to_flow: float | None
    """Root mean square difference from the reference, in levels of 0..255. None where noise is drawn."""
    agreement: float | None
    """Share of images in which the classifier sees the class that was asked for. None without classes."""

    @property
    def frechet(self) -> float:
        """Fréchet distance to the test images."""
        return self.jackknife.value


class Present(Settings):
    """How a pipeline generates images unless asked otherwise, and what its images are worth."""

    sampling: SamplingSettings
    row: SweepRow


class Sweep(Settings):
    """Everything measured. The fields before `num_test` say of what: a file of others is begun anew."""

    weights: str
    guide: str = ""
    """Digest of another network that all were guided by, if any."""
    settings: SweepSettings
    sampling: SamplingSettings
    """What all sampler choices had in common: guidance, clipping. Sampler, grid and steps in it count for nothing."""
    num_test: int
    """Test images compared with."""
    floor: float
    """Fréchet distance of as many training images to the test images."""
    reference: float
    """Fréchet distance of the reference to the test images."""
    rows: tuple[SweepRow, ...]
    fitted_apart: bool = False
    """Whether the features have seen no image that is compared; in files of earlier versions they have."""
    present: Present | None = None
    """How the pipeline generated when it was swept. None: in the files of earlier versions, or not measured yet."""
    made: SamplingSettings | None = None
    """What has become of the rows: how the pipeline was made to draw. None: nothing yet."""

    @property
    def best(self) -> SweepRow:
        """The row with the least Fréchet distance."""
        return min(self.rows, key=lambda row: row.frechet)

    @property
    def recommended(self) -> SweepRow:
        """The fewest calls that are hardly and not clearly worse than the best, and the least distance there."""
        return fewest_calls(self.rows)


class Decision(NamedTuple):
    """What is to become of how a pipeline generates: `row` takes its place, None: nothing does; and why."""

    row: SweepRow | None
    reason: str


def fewest_calls(rows: Sequence[SweepRow]) -> SweepRow:
    """Of some rows the one with the fewest calls that is hardly and not clearly worse than the best of them."""
    best = min(rows, key=lambda row: row.frechet)
    worse = ((row, row.jackknife.minus(best.jackknife)) for row in rows)
    hardly = TOLERATED * best.frechet
    enough = [row for row, difference in worse if difference.value <= min(difference.error, hardly)] or [best]
    fewest = min(row.choice.calls for row in enough)
    return min((row for row in enough if row.choice.calls == fewest), key=lambda row: row.frechet)


def decide(found: Sweep) -> Decision:
    """Whether one of the rows takes the place of how the pipeline generates, by what was measured of both."""
    few = few_images(found.settings.images, found.num_test, width=WIDTH)
    if found.settings.images < LEAST_TO_CHOOSE:
        few = f"{found.settings.images} images of each are fewer than {LEAST_TO_CHOOSE}; set --images higher"
    if few:
        return Decision(None, f"this sweep cannot tell: {few}")
    if found.present is None:
        return Decision(None, "how it generates images now was not measured beside them")
    if found.present.sampling == found.made:
        return Decision(None, "that is this sweep's choice already")
    present = found.present.row
    able = [row for row in found.rows if takes_the_place(row, present)]
    winner = fewest_calls([present, *able])
    if winner is present:
        return Decision(None, _no_winner(found.recommended, present))
    calls = f"{winner.choice.calls} network calls in place of {present.choice.calls}"
    return Decision(winner, f"{calls}, Fréchet {_difference(winner, present)}")


def takes_the_place(row: SweepRow, present: SweepRow) -> bool:
    """Whether it is better by more than the error at the same number of calls, or equal within it at fewer."""
    difference, fewer = row.jackknife.minus(present.jackknife), present.choice.calls - row.choice.calls
    return difference.value < -difference.error if fewer == 0 else fewer > 0 and difference.value <= difference.error


def _no_winner(best: SweepRow, present: SweepRow) -> str:
    if best.choice.calls > present.choice.calls:
        return f"nothing is better with the {present.choice.calls} network calls it takes now or fewer"
    return f"this sweep cannot tell the recommended from it (Fréchet {_difference(best, present)})"


def _difference(row: SweepRow, other: SweepRow) -> str:
    found = row.jackknife.minus(other.jackknife)
    return f"{found.value:+.2g} ± {found.error:.2g}"


def sampler_choices(settings: SweepSettings, pipeline: Pipeline, sampling: SamplingSettings) -> list[SamplerChoice]:
    """Every sampler on every grid at every budget that this schedule has the timesteps for, cheapest first."""
    found = []
    for budget in sorted(settings.calls):
        for name in settings.samplers:
            sampler = build_sampler(chosen(sampling, name, None, 1), pipeline.diffusion)
            steps = (budget - 1) // sampler.calls + 1
            if steps <= pipeline.diffusion.num_timesteps:
                spent = sampler.network_calls(steps)
                found += [
                    SamplerChoice(sampler=name, grid=grid, budget=budget, steps=steps, calls=spent)
                    for grid in settings.grids
                ]
    if not found:
        raise InputError(f"expected fewer network calls than T = {pipeline.diffusion.num_timesteps}, got none")
    return found


def as_sampler_choice(pipeline: Pipeline, sampling: SamplingSettings) -> SamplerChoice:
    """Any settings of sampling, by what a table says of them."""
    sampler = pipeline.sampler(sampling)
    calls = sampler.network_calls(sampling.steps)
    grid = sampling.grid or sampler.grid
    return SamplerChoice(sampler=sampling.sampler, grid=grid, budget=calls, steps=sampling.steps, calls=calls)


def chosen(base: SamplingSettings, sampler: str, grid: str | None, steps: int) -> SamplingSettings:
    """`base` with another sampler, and what belonged to the old one gone; no cache."""
    changes = {"sampler": sampler, "grid": grid, "steps": steps, "eta": None, "variance": None, "cache": 1}
    return SamplingSettings.model_validate(base.model_dump() | changes)


def seeds_and_labels(pipeline: Pipeline, settings: SweepSettings) -> tuple[list[int], Labels | None]:
    """Of the images of a sweep: as many of every class, in no order, each with a seed of its own.

    In order of classes, a group that a jackknife leaves out could be a class, and every distance would look uncertain.
    """
    seeds = [mix(settings.seed, "sweep", i) for i in range(settings.images)]
    order = torch.randperm(settings.images, generator=generator(settings.seed, "sweep", "classes"))
    return seeds, order % len(pipeline.class_names) if pipeline.class_names else None


class Scorer(NamedTuple):
    """Generates the same images by one sampler after another, and compares them with a reference from the same noise,
    and with test images in some features.
    """

    pipeline: Pipeline
    common: SamplingSettings
    """What all samplers have in common."""
    seeds: list[int]
    labels: Labels | None
    reference: Pixels
    extractor: Extractor
    real: Features

    def row(self, each: SamplerChoice, settings: SamplingSettings | None = None) -> SweepRow:
        """What one sampler choice's images are worth.

        Args:
            settings: known as `each`; None: what is common, by its sampler.
        """
        settings = settings or chosen(self.common, each.sampler, each.grid, each.steps)
        generated = self.pipeline.generate(self.seeds, self.labels, settings)
        jackknife = frechet_jackknife(self.extractor.features(generated), self.real)
        agreement = self.extractor.agreement(generated, self.labels)
        to_flow = None if self.pipeline.sampler(settings).stochastic else apart(generated, self.reference)
        return SweepRow(choice=each, jackknife=jackknife, to_flow=to_flow, agreement=agreement)


def apart(generated: Pixels, reference: Pixels) -> float:
    """Root mean square difference over all pixels, in levels."""
    return math.sqrt(float(((generated.double() - reference.double()) ** 2).mean()))
