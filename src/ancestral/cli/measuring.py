"""The work of `ancestral evaluate`: generating, measuring, and the table."""

import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich import box
from rich.table import Table

from ancestral.cli.asking import computing, sampling
from ancestral.cli.guides import Guides, attach
from ancestral.cli.output import console, counting, tell, tell_json
from ancestral.cli.pricing import allow_generating, check_asked
from ancestral.cli.together import together
from ancestral.colors import check_channels
from ancestral.config import Config, SamplingSettings
from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import Evaluation, EvaluationSettings, Number, check_counts, evaluate
from ancestral.evaluation.inception import load_inception
from ancestral.files import write_whole
from ancestral.outputs import place_for
from ancestral.pipeline import Pipeline
from ancestral.report.facts import EVALUATION, read_evaluation
from ancestral.rng import mix
from ancestral.tensors import Labels, Pixels
from ancestral.training.run import RunFolder
from ancestral.tuning.price import of_chains

DISTANCES = {"frechet": "Fréchet", "kernel": "kernel"}
LONGEST = 6
"""Decimals, beyond which a number is told with an exponent."""
FEW = " (too few images)"
"""What stands beside a number that tells nothing."""
SHARES = ("precision", "recall", "density", "coverage")


class MeasuringOptions(NamedTuple):
    """What is asked for.

    Args:
        images, seed: how many are generated, and from which seed.
        given, named: settings of generating that were typed, and networks to guide by.
        inception: weights of Inception-v3, to measure in its features.
        device: None: CUDA where there is one.
        overwrite: whether a file of something else may be replaced.
        dear: whether it may cost more than is usual.
    """

    images: int
    seed: int
    given: dict[str, Any]
    named: Guides
    inception: Path | None
    device: str | None
    as_json: bool
    overwrite: bool
    dear: bool


def measure(run: Path, wanted: MeasuringOptions) -> int:
    """Generates images, measures them, writes evaluation.json and says what it holds; the exit code."""
    file = place_for(run / EVALUATION, wanted.images, images_evaluated, wanted.overwrite)
    with together(wanted.device) as (where, processes):
        folder, count, asked = RunFolder(run), wanted.images, EvaluationSettings(seed=wanted.seed)
        config, pipeline = folder.read_config(), Pipeline.load(run, where, computing(wanted.given))
        check_channels(pipeline.spec.channels)
        pipeline.processes = processes
        settings = sampling(pipeline.config, wanted.given)
        attach(pipeline, wanted.named, settings, run)
        extractor = None if wanted.inception is None else load_inception(wanted.inception)
        with processes.main_first():
            parts = data_of(run, config, pipeline)
        check_counts(count, parts, asked, extractor is None)
        calls = pipeline.sampler(settings).network_calls(settings.steps)
        price = of_chains(pipeline, settings, count, calls)
        labels = torch.arange(count) % len(pipeline.class_names) if pipeline.class_names else None
        check_asked(pipeline, labels, settings)
        price = allow_generating(price, wanted.dear, pipeline, run, "lower --images or --steps", f"{count:,} images")
        generated = generate(pipeline, [mix(wanted.seed, "evaluation", i) for i in range(count)], labels, settings)
        if not processes.is_main:
            return 0
        with counting() as counted:
            result = evaluate(
                generated, labels, parts, asked, extractor, lambda n, of: counted("learning features", n, of)
            )
        write_whole(file, result.model_dump_json(indent=2) + "\n")
    if wanted.as_json:
        tell_json(result.model_dump(mode="json") | {"price": price.as_tree()})
    else:
        show(result, file)
    return 0


def images_evaluated(file: Path) -> int:
    """How many generated images the evaluation in a file is of.

    Raises:
        InputError: no evaluation.
    """
    return read_evaluation(file).num_drawn


def data_of(run: Path, config: Config, pipeline: Pipeline) -> Parts:
    """The data that the run was trained on.

    Raises:
        InputError: it has other classes now, or cannot be read.
    """
    with counting() as counted:
        parts = load(config.data, counted)
    if parts.train.class_names != pipeline.spec.class_names:
        raise InputError(f"the classes of {config.data.source} are no longer those {run} was trained on; restore them")
    return parts


def generate(pipeline: Pipeline, seeds: list[int], labels: Labels | None, settings: SamplingSettings) -> Pixels:
    """One image for each seed, with a bar over all steps."""
    with counting() as counted:
        return pipeline.generate(seeds, labels, settings, on_progress=partial(counted, "generating"))


def show(result: Evaluation, file: Path) -> None:
    """The comparisons as tables, generated images first, then the floors; the rest in sentences."""
    to = console(stderr=False)
    distances = Table("distance (less is better)", *DISTANCES.values(), box=box.SIMPLE)
    shares = Table("neighbours (more is better)", *SHARES, box=box.SIMPLE)
    for comparison in result.comparisons:
        name = f"{comparison.name}{FEW if comparison.too_few else ''}"
        distances.add_row(name, *(number(comparison[each]) for each in DISTANCES))
        shares.add_row(name, *(f"{comparison[each].value:.3f}" for each in SHARES))
    first = result.comparisons[0]
    to.print(
        f"{first.num_left:,} images against {first.num_right:,}; generated ones first, then the floors",
        distances,
        shares,
    )
    if first.too_few:
        tell(f"these numbers say nothing for or against the images: {first.too_few}")
    for nearness in result.nearness:
        ratio = "cannot be told" if nearness.ratio is None else f"{nearness.ratio:.2f}"
        meaning = FEW if nearness.too_few else " (1: no copies)"
        tell(f"distance to the nearest training image, generated over held out, in {nearness.space}: {ratio}{meaning}")
    if result.agreement is not None:
        tell(f"generated images in which a classifier sees the class asked for: {number(result.agreement)}")
    features = result.features
    if features.accuracy is not None:
        tell(f"features of {features.num_fitted or 0:,} training images that are not among those compared")
        tell(f"accuracy of that network on {features.num_held_out} held-out images: {features.accuracy:.3f}")
    tell(str(file))


def number(measured: Number) -> str:
    """A value with its standard error, to the error's second digit."""
    return rounded(measured.value, measured.standard_error)


def rounded(value: float, error: float | None) -> str:
    """A value with its error, where there is one, to the error's second digit."""
    if not error:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > LONGEST:
        return f"{value:.2g} ± {error:.1g}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"
