"""The work of `ancestral sweep`: generating, measuring, keeping what was measured, the table, the default it leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich import box
from rich.table import Table

from ancestral.building import GRIDS
from ancestral.cli.asking import Given, computing, sampling
from ancestral.cli.guides import Guides, attach
from ancestral.cli.measuring import data_of, rounded
from ancestral.cli.output import console, counting, say, tell, tell_json
from ancestral.cli.pricing import allow_generating
from ancestral.cli.together import together
from ancestral.colors import check_channels
from ancestral.config import SamplingSettings, parse
from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import EvaluationSettings, apart_of, as_pixels, extractor_of
from ancestral.evaluation.metrics import frechet_distance
from ancestral.evaluation.sweep import (
    LEAST_IMAGES,
    REFERENCE_GRID,
    REFERENCE_SAMPLER,
    SAMPLERS,
    Decision,
    ImageGenerator,
    Present,
    Scorer,
    Sweep,
    SweepRow,
    SweepSettings,
    as_sampler_choice,
    chosen,
    decide,
    image_generator,
    sampler_choices,
)
from ancestral.files import write_whole
from ancestral.names import SAME, meant, spelled
from ancestral.outputs import SWEPT, Output, check_part, claim, place_for
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes
from ancestral.report.sweep import FILE, best_grids, figure, in_words, read_sweep
from ancestral.training.default_sampling import agreed, check_free, choose, config_of, restored, run_of
from ancestral.training.run import RunFolder
from ancestral.tuning.price import Price, of_chains
from ancestral.viz.plots import figure_to_png

MOST_TEST_IMAGES = 5000
OF_A_ROW = ("images", "reference", "seed")
"""Settings that a row depends on; the others say which rows there are."""


def settings(asked: dict[str, Any]) -> SweepSettings:
    """The settings that were typed.

    Raises:
        InputError: an unknown sampler or grid, too few images.
    """
    known = {"samplers": SAMPLERS, "grids": tuple(GRIDS)}
    for name in known.keys() & asked.keys():
        asked = {**asked, name: [_known(word, name, known[name]) for word in asked[name]]}
    return parse(SweepSettings, asked, "command line")


def _known(word: str, name: str, names: tuple[str, ...]) -> str:
    found = spelled(word, names, SAME.get(name.removesuffix("s")))
    if found not in names:
        raise InputError(f"expected --{name} out of {', '.join(names)}, got {word!r}; {meant(word, names)}")
    return found


class SweepOptions(NamedTuple):
    """How a sweep is done, and what is done with it.

    Args:
        given, named: settings of generating that were typed, and networks to guide by.
        device: None: CUDA where there is one.
        store: whether the choice is stored.
        overwrite: whether files of something else may be replaced.
        dear: whether it may cost more than is usual.
    """

    given: Given
    named: Guides
    device: str | None
    store: bool
    as_json: bool
    overwrite: bool
    dear: bool


def sweep(folder: Path, asked: SweepSettings, how: SweepOptions) -> int:
    """Measures what is not yet in RUN/sweep.json, tells what it holds and stores what it decides; the exit code."""
    run = run_of(folder)
    if how.store:
        check_part(RunFolder(run).pipeline)
    out = run if RunFolder(run).config.is_file() else Path()  # nothing but its settings is written into a mere pipeline
    file = place_for(out / FILE, asked.images, images_swept, how.overwrite)
    claim([Output(file.with_suffix(".png"), SWEPT)], how.overwrite)
    with together(how.device) as (on, processes):
        return _sweep(run, file, asked, how, on, processes)


def images_swept(file: Path) -> int:
    """How many images each chain of the sweep in a file generated.

    Raises:
        InputError: no sweep.
    """
    return read_sweep(file).settings.images


def restore(folder: Path, as_json: bool) -> int:
    """Undoes the last choice; the exit code."""
    run = run_of(folder)
    agreed(run)
    before = restored(run)
    if as_json:
        tell_json({"restored": before.model_dump(mode="json")})
    else:
        tell(f"{run} generates images as before the last sweep: {before.sampler}, {before.steps} steps")
    return 0


def _sweep(
    run: Path, file: Path, asked: SweepSettings, how: SweepOptions, on: torch.device, processes: Processes
) -> int:
    with processes.main_first():
        if processes.is_main and how.store:
            check_free(run)
            agreed(run)
    config, pipeline = config_of(run), Pipeline.load(run, on, computing(how.given))
    check_channels(pipeline.spec.channels)
    pipeline.processes = processes
    common = sampling(pipeline.config, how.given)
    attach(pipeline, how.named, common, run)
    with processes.main_first():
        parts = data_of(run, config, pipeline)
    if min(len(parts.test), len(parts.train)) < LEAST_IMAGES:
        raise InputError(
            f"expected at least {LEAST_IMAGES} training and test images to compare with, got {len(parts.train)} and "
            f"{len(parts.test)}; set data.test higher"
        )
    found, price = measured(pipeline, parts, asked, common, file, how.dear)
    if not processes.is_main:
        return 0
    picture = file.with_suffix(".png")
    write_whole(picture, figure_to_png(figure(found), writer=SWEPT.decode()))
    decision = decide(found)
    stored = decision.row is not None and how.store and common.guidance_by == "classifier-free"
    if decision.row is not None and stored:
        best = decision.row.choice
        made = chosen(common, best.sampler, best.grid, best.steps)
        choose(run, made)
        _added(found, {"made": made}, file, write=True)
    if how.as_json:
        told = {"recommended": found.recommended.model_dump(mode="json"), "stored": stored, "reason": decision.reason}
        tell_json(found.model_dump(mode="json") | told | {"price": price and price.as_tree()})
    else:
        console(stderr=False).print(table(found))
        tell(f"many steps: Fréchet {found.reference:.3g}; training images: {found.floor:.3g}")
        tell(str(file), str(picture))
    speak = say if how.as_json else tell
    if found.present is not None:
        speak(f"as it generated images: {in_words(found.present.row)}")
    speak(f"recommended: {in_words(found.recommended)}")
    speak(outcome(run, decision, stored, how.store))
    return 0


def outcome(run: Path, decision: Decision, stored: bool, wanted: bool) -> str:
    """What has become of the recommendation, in a sentence."""
    if decision.row is None:
        return f"{run} generates images as it did: {decision.reason}"
    choice = f"{in_words(decision.row)} ({decision.reason})"
    if stored:
        return f"{run} generates images from now on, unless asked otherwise, by {choice}; --restore undoes it"
    if not wanted:
        return f"not stored (--keep): {choice}"
    return f"not stored: a pipeline generates images without other networks unless they are named: {choice}"


def measured(
    pipeline: Pipeline, parts: Parts, asked: SweepSettings, common: SamplingSettings, file: Path, dear: bool
) -> tuple[Sweep, Price | None]:
    """All rows that were asked for, those before them included; each is kept as soon as it is known. And what that
    took; None where all were known.

    Raises:
        InputError: it costs more than is usual, and `dear` is not set.
    """
    these, before = sampler_choices(asked, pipeline, common), kept(file, pipeline, asked, common)
    pipeline.processes.barrier()  # all have read the file before the first one writes it
    known = {row.choice for row in before.rows} if before else set()
    missing = [each for each in these if each not in known]
    present = present_of(before, pipeline, common)
    if before and present and not missing:
        return _added(before, {"present": present}, file, pipeline.processes.is_main), None
    now = as_sampler_choice(pipeline, common)
    of_an_image = _reference_steps(pipeline, asked) + sum(each.calls for each in ([] if present else [now]) + missing)
    chains = f"{len(missing) + (not present)} chains of {asked.images:,} images"
    price = of_chains(pipeline, common, asked.images, of_an_image, kept=2)
    price = allow_generating(
        price, dear, pipeline, file.parent, "lower --images, or name fewer --samplers, --grids or --calls", chains
    )
    spent, total = 0, asked.images * of_an_image
    with counting() as counted:

        def on_calls(calls: int) -> None:
            nonlocal spent
            spent += calls
            counted("generating", spent, total)

        generator = image_generator(pipeline, common, asked, on_calls)
        scorer = scorer_of(generator, parts, asked, lambda n, of: counted("learning features", n, of))
        found = before or begun(pipeline, parts, asked, common, scorer)
        present = present or Present(sampling=common, row=scorer.measured(generator, now, common))
        found = _added(found, {"present": present}, file, pipeline.processes.is_main)
        try:
            for each in missing:
                more = {"rows": (*found.rows, scorer.row(generator, each)), "made": None}
                found = _added(found, more, file, pipeline.processes.is_main)
        except KeyboardInterrupt as stop:
            stop.add_note(f"{len(found.rows)} chains are in {file}; the same command goes on")
            raise
    return found, price


def present_of(before: Sweep | None, pipeline: Pipeline, common: SamplingSettings) -> Present | None:
    """How the pipeline generates, where the file holds what that is worth: as such, or as one of its rows."""
    if before is None:
        return None
    if before.present is not None and before.present.sampling == common:
        return before.present
    now = as_sampler_choice(pipeline, common)
    if chosen(common, now.sampler, now.grid, now.steps) != common.model_copy(update={"grid": now.grid}):
        return None  # noise, a variance or a cache of its own, which no row has
    rows = [row for row in before.rows if row.choice.model_copy(update={"budget": now.budget}) == now]
    return Present(sampling=common, row=rows[0]) if rows else None


def _added(found: Sweep, what: dict[str, Any], file: Path, write: bool) -> Sweep:
    """The sweep with something more, which is kept at once."""
    found = found.model_copy(update=what)
    if write:
        write_whole(file, found.model_dump_json(indent=1) + "\n")
    return found


def kept(file: Path, pipeline: Pipeline, asked: SweepSettings, common: SamplingSettings) -> Sweep | None:
    """What the file holds, if it was measured of the same weights and images in the same way."""
    try:
        before = read_sweep(file)
    except InputError:  # none yet, or a file that is to be replaced
        return None
    networks = (pipeline.weights_hash(), _guide(pipeline))
    same = (before.weights, before.guide) == networks and before.sampling == _common(common) and before.fitted_apart
    return before if same and all(getattr(before.settings, name) == getattr(asked, name) for name in OF_A_ROW) else None


def begun(pipeline: Pipeline, parts: Parts, asked: SweepSettings, common: SamplingSettings, scorer: Scorer) -> Sweep:
    """A sweep without rows."""
    compared, _ = apart_of(parts, EvaluationSettings())
    train = as_pixels(parts.train)[compared[: asked.images]]
    return Sweep(
        weights=pipeline.weights_hash(),
        guide=_guide(pipeline),
        settings=asked,
        sampling=_common(common),
        num_test=len(scorer.real),
        floor=frechet_distance(scorer.extractor.features(train), scorer.real),
        reference=frechet_distance(scorer.extractor.features(scorer.reference), scorer.real),
        rows=(),
        fitted_apart=True,
    )


def scorer_of(
    generator: ImageGenerator, parts: Parts, asked: SweepSettings, on_progress: Callable[[int, int], None]
) -> Scorer:
    """The features, the test images in them, and the reference, generated by many steps."""
    steps, (_, fitted) = _reference_steps(generator.pipeline, asked), apart_of(parts, EvaluationSettings())
    with generator.pipeline.processes.main_first():  # the others find what it has learned in the cache
        extractor = extractor_of(parts, 0, on_progress, fitted)
    reference = generator.generate(chosen(generator.sampling, REFERENCE_SAMPLER, REFERENCE_GRID, steps))
    return Scorer(reference, extractor, extractor.features(as_pixels(parts.test.sliced(0, MOST_TEST_IMAGES))))


def _reference_steps(pipeline: Pipeline, asked: SweepSettings) -> int:
    return min(asked.reference, pipeline.diffusion.num_timesteps)


def _guide(pipeline: Pipeline) -> str:
    if pipeline.weaker is not None:
        return pipeline.weaker.weights_hash()
    return "" if pipeline.classify is None else pipeline.classify.digest


def _common(sampling: SamplingSettings) -> SamplingSettings:
    """What does not depend on the sampler."""
    return chosen(sampling, "ddim", None, 1)


def table(found: Sweep) -> Table:
    """For each sampler and budget the grid that does best, by Fréchet distance; and how far from the flow it ends."""
    budgets, rows = best_grids(found)
    made = Table("sampler", *(f"{budget} calls: Fréchet, to the flow, grid" for budget in budgets), box=box.SIMPLE)
    for sampler, best in rows.items():
        made.add_row(sampler, *("" if row is None else cell(row) for row in best))
    return made


def cell(row: SweepRow) -> str:
    """A row in a few words."""
    flow = "" if row.to_flow is None else f"{row.to_flow:.1f}  "
    return f"{rounded(row.frechet, row.jackknife.error)}  {flow}{row.choice.grid}"
