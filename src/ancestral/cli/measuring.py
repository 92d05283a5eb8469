"""The work of `ancestral evaluate`: drawing, measuring, and the table."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

from ancestral.cli.asking import computing, sampling
from ancestral.cli.guides import Guides, lend
from ancestral.cli.output import console, counting, tell, tell_json, warn_of_bad_files
from ancestral.cli.together import together
from ancestral.config import Config, SamplingSettings
from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import Evaluation, EvaluationSettings, Number, evaluate
from ancestral.evaluation.inception import load_inception
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.rng import mix
from ancestral.tensors import Labels, Pixels
from ancestral.training.run import RunFolder

DISTANCES = {"frechet": "Fréchet", "kernel": "kernel"}
LONGEST = 6
"""Decimals, beyond which a number is told with an exponent."""
SHARES = ("precision", "recall", "density", "coverage")


def measure(
    run: Path,
    count: int,
    seed: int,
    given: dict[str, Any],
    named: Guides,
    inception: Path | None,
    on: str | None,
    as_json: bool,
) -> int:
    """Draws `count` images, measures them, writes evaluation.json and says what it holds; the exit code."""
    with together(on) as (where, processes):
        folder = RunFolder(run)
        config, pipeline = folder.read_config(), Pipeline.load(run, where, computing(given))
        pipeline.processes = processes
        settings = sampling(pipeline.config, given)
        lend(pipeline, named, settings, run)
        extractor = None if inception is None else load_inception(inception)
        with processes.first_here():
            parts = data_of(run, config, pipeline)
        labels = torch.arange(count) % len(pipeline.class_names) if pipeline.class_names else None
        drawn = draw(pipeline, [mix(seed, "evaluation", i) for i in range(count)], labels, settings)
        if not processes.lead:
            return 0
        with counting() as counted:
            result = evaluate(
                drawn,
                labels,
                parts,
                EvaluationSettings(seed=seed),
                extractor,
                lambda n, of: counted("learning features", n, of),
            )
        write_whole(run / "evaluation.json", result.model_dump_json(indent=2) + "\n")
    if as_json:
        tell_json(result.model_dump(mode="json"))
    else:
        show(result, run / "evaluation.json")
    return 0


def data_of(run: Path, config: Config, pipeline: Pipeline) -> Parts:
    """The data that the run was trained on.

    Raises:
        InputError: it has other classes now, or cannot be read.
    """
    with counting() as counted:
        parts = load(config.data, counted)
    warn_of_bad_files(parts.bad, config.data.source)
    if parts.train.class_names != pipeline.spec.class_names:
        raise InputError(f"the classes of {config.data.source} are no longer those {run} was trained on; restore them")
    return parts


def draw(pipeline: Pipeline, seeds: list[int], labels: Labels | None, settings: SamplingSettings) -> Pixels:
    """One image for each seed, with a bar over all steps."""
    with counting() as counted:
        return pipeline.draw(seeds, labels, settings, on_progress=partial(counted, "drawing"))


def show(result: Evaluation, file: Path) -> None:
    """The comparisons as tables, drawn images first, then the floors; the rest in sentences."""
    to = console(stderr=False)
    distances = Table("distance (less is better)", *DISTANCES.values(), box=box.SIMPLE)
    shares = Table("neighbours (more is better)", *SHARES, box=box.SIMPLE)
    for comparison in result.comparisons:
        distances.add_row(comparison.name, *(number(comparison[name]) for name in DISTANCES))
        shares.add_row(comparison.name, *(f"{comparison[name].value:.3f}" for name in SHARES))
    first = result.comparisons[0]
    to.print(
        f"{first.num_left:,} images against {first.num_right:,}; drawn ones first, then the floors", distances, shares
    )
    for nearness in result.nearness:
        ratio = "cannot be told" if nearness.ratio is None else f"{nearness.ratio:.2f}"
        tell(
            f"distance to the nearest training image, drawn over held out, in {nearness.space}: {ratio} (1: no copies)"
        )
    if result.agreement is not None:
        tell(f"drawn images in which a classifier sees the class asked for: {number(result.agreement)}")
    features = result.features
    if features.accuracy is not None:
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
