"""The work of `ancestral sweep`: drawing, measuring, keeping what was measured, the table, the default it leaves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

from ancestral.building import GRIDS
from ancestral.cli.asking import Given, computing, sampling
from ancestral.cli.guides import Guides, lend
from ancestral.cli.measuring import data_of, rounded
from ancestral.cli.output import console, counting, say, tell, tell_json
from ancestral.cli.together import together
from ancestral.config import SamplingSettings, parse
from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import as_pixels, extractor_of
from ancestral.evaluation.metrics import frechet_distance
from ancestral.evaluation.sweep import (
    LEAST_IMAGES,
    REFERENCE_GRID,
    REFERENCE_SAMPLER,
    SAMPLERS,
    Drawer,
    Judge,
    Row,
    Sweep,
    SweepSettings,
    chosen,
    contenders,
    drawer,
)
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes
from ancestral.report.sweep import FILE, best_grids, figure, in_words, read_sweep
from ancestral.training.run import RunFolder
from ancestral.viz.plots import figure_to_png

PICTURE = "sweep.png"
MOST_TEST_IMAGES = 5000
OF_A_ROW = ("images", "reference", "seed")
"""Settings that a row depends on; the others say which rows there are."""


def settings(asked: dict[str, Any]) -> SweepSettings:
    """The settings that were typed.

    Raises:
        InputError: an unknown sampler or grid, too few images.
    """
    known = {"samplers": SAMPLERS, "grids": tuple(GRIDS)}
    for name, names in known.items():
        for word in asked.get(name, ()):
            if word not in names:
                raise InputError(f"expected --{name} out of {', '.join(names)}, got {word!r}")
    return parse(SweepSettings, asked, "command line")


def sweep(
    run: Path, asked: SweepSettings, given: Given, named: Guides, on: str | None, store: bool, as_json: bool
) -> int:
    """Measures what is not yet in RUN/sweep.json, tells what it holds and stores the recommendation; the exit code."""
    with together(on) as (where, processes):
        return _sweep(run, asked, given, named, where, processes, store, as_json)


def _sweep(
    run: Path,
    asked: SweepSettings,
    given: Given,
    named: Guides,
    on: torch.device,
    processes: Processes,
    store: bool,
    as_json: bool,
) -> int:
    config, pipeline = RunFolder(run).read_config(), Pipeline.load(run, on, computing(given))
    pipeline.processes = processes
    common = sampling(pipeline.config, given)
    lend(pipeline, named, common, run)
    with processes.first_here():
        parts = data_of(run, config, pipeline)
    if min(len(parts.test), len(parts.train)) < LEAST_IMAGES:
        raise InputError(
            f"expected at least {LEAST_IMAGES} training and test images to compare with, got {len(parts.train)} and "
            f"{len(parts.test)}; set data.test higher"
        )
    found = measured(pipeline, parts, asked, common, run / FILE)
    if not processes.lead:
        return 0
    write_whole(run / PICTURE, figure_to_png(figure(found)))
    if as_json:
        tell_json(found.model_dump(mode="json") | {"recommended": found.recommended.model_dump(mode="json")})
    else:
        console(stderr=False).print(table(found))
        tell(f"many steps: Fréchet {found.reference:.3g}; training images: {found.floor:.3g}")
        tell(f"{run / FILE}\n{run / PICTURE}")
    speak = say if as_json else tell
    speak(f"recommended: {in_words(found.recommended)}")
    if store and common.guidance_by != "no-class":
        speak("not stored: a pipeline draws without other networks unless they are named")
    elif store:
        best = found.recommended.contender
        sampling_now = chosen(common, best.sampler, best.grid, best.steps)
        pipeline.config = pipeline.config.model_copy(update={"sampling": sampling_now})
        pipeline.save_settings(RunFolder(run).pipeline)
        speak(f"{RunFolder(run).pipeline} draws so from now on, unless asked otherwise")
    return 0


def measured(pipeline: Pipeline, parts: Parts, asked: SweepSettings, common: SamplingSettings, file: Path) -> Sweep:
    """All rows that were asked for, those before them included; each is kept as soon as it is known."""
    these, before = contenders(asked, pipeline, common), kept(file, pipeline, asked, common)
    pipeline.processes.wait()  # all have read the file before the first one writes it
    known = {row.contender for row in before.rows} if before else set()
    missing = [each for each in these if each not in known]
    if before and not missing:
        return before
    of_an_image = _reference_steps(pipeline, asked) + sum(each.calls for each in missing)
    spent, total = 0, asked.images * of_an_image
    say(f"{len(missing)} chains of {asked.images:,} images: {total:,} network calls for one image")
    with counting() as counted:

        def on_calls(calls: int) -> None:
            nonlocal spent
            spent += calls
            counted("drawing", spent, total)

        artist = drawer(pipeline, common, asked, on_calls)
        judge = judged(artist, parts, asked, lambda n, of: counted("learning features", n, of))
        found = before or begun(pipeline, parts, asked, common, judge)
        for each in missing:
            found = found.model_copy(update={"rows": (*found.rows, judge.row(artist, each))})
            if pipeline.processes.lead:
                write_whole(file, found.model_dump_json(indent=1) + "\n")
    return found


def kept(file: Path, pipeline: Pipeline, asked: SweepSettings, common: SamplingSettings) -> Sweep | None:
    """What the file holds, if it was measured of the same weights and images in the same way."""
    if not file.is_file():
        return None
    before = read_sweep(file)
    networks = (pipeline.weights_hash(), _guide(pipeline))
    same = (before.weights, before.guide) == networks and before.sampling == _common(common)
    return before if same and all(getattr(before.settings, name) == getattr(asked, name) for name in OF_A_ROW) else None


def begun(pipeline: Pipeline, parts: Parts, asked: SweepSettings, common: SamplingSettings, judge: Judge) -> Sweep:
    """A sweep without rows."""
    train = as_pixels(parts.train.stretch(0, asked.images))
    return Sweep(
        weights=pipeline.weights_hash(),
        guide=_guide(pipeline),
        settings=asked,
        sampling=_common(common),
        num_test=len(judge.real),
        floor=frechet_distance(judge.extractor.features(train), judge.real),
        reference=frechet_distance(judge.extractor.features(judge.reference), judge.real),
        rows=(),
    )


def judged(artist: Drawer, parts: Parts, asked: SweepSettings, on_progress: Callable[[int, int], None]) -> Judge:
    """The features, the test images in them, and the reference, drawn by many steps."""
    steps = _reference_steps(artist.pipeline, asked)
    with artist.pipeline.processes.first_here():  # the others find what it has learned in the cache
        extractor = extractor_of(parts, 0, on_progress)
    reference = artist.draw(REFERENCE_SAMPLER, REFERENCE_GRID, steps)
    return Judge(reference, extractor, extractor.features(as_pixels(parts.test.stretch(0, MOST_TEST_IMAGES))))


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


def cell(row: Row) -> str:
    """A row in a few words."""
    flow = "" if row.to_flow is None else f"{row.to_flow:.1f}  "
    return f"{rounded(row.frechet, row.jackknife.error)}  {flow}{row.contender.grid}"
