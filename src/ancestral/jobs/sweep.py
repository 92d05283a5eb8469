"""The job `sweep`: every sampler on every grid is measured, what was is kept, and the best may be the default."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.evaluation import sweep as evaluated
from ancestral.evaluation.evaluate import Indices, apart_of, as_pixels, extractor_of
from ancestral.evaluation.metrics import frechet_distance
from ancestral.evaluation.settings import LEAST_IMAGES, EvaluationSettings, SweepSettings
from ancestral.evaluation.sweep import Decision, Present, Scorer, Sweep, as_sampler_choice, chosen, read_sweep
from ancestral.files import write_whole
from ancestral.jobs.events import Event, FileEvent, ProgressEvent, ResultEvent
from ancestral.jobs.guides import prepared
from ancestral.jobs.measurement_settings import SweepJobSettings
from ancestral.jobs.measuring import data_of, followed, generated, priced, run_and_results
from ancestral.jobs.running import Load, together
from ancestral.models import comes_along, resolved
from ancestral.outputs import SWEPT, Output, check_part, claim, place_for
from ancestral.pipeline import Pipeline
from ancestral.report.measurements import figure, in_words
from ancestral.settings import SamplingSettings
from ancestral.training.default_sampling import agreed, check_free, choose, config_of, restored, run_of
from ancestral.training.run import RunFolder
from ancestral.tuning.price import Price, of_chains
from ancestral.viz.plots import figure_to_png

MOST_TEST_IMAGES = 5000
OF_A_ROW = ("images", "reference", "seed")  # settings that a row depends on; the others say which rows there are


class Swept(NamedTuple):
    """What was measured, and what has become of the recommendation, in a sentence."""

    found: Sweep
    outcome: str


def sweep(job: SweepJobSettings, load: Load = Pipeline.load) -> Generator[Event, None, None]:
    """Measures what is not yet in RUN/sweep.json and stores what it decides; the result's value is `Swept`."""
    run, out = run_and_results(job.run)
    if job.use is not None:
        yield used(run, out / evaluated.FILE, job.use)
        return
    stays = job.keep or comes_along(run)  # nothing but its settings is written into a mere pipeline
    if not stays:
        check_part(RunFolder(run).pipeline)
    file = place_for(out / evaluated.FILE, job.images, lambda file: read_sweep(file).settings.images, job.overwrite)
    picture = file.with_suffix(".png")
    claim([Output(picture, SWEPT)], job.overwrite)
    with together(job.device) as (device, processes, notes):
        yield from notes
        with processes.main_first():
            if processes.is_main and not stays:
                check_free(run)
                agreed(run)
        config, pipeline = config_of(run), load(run, device, job.compute)
        pipeline, common = prepared(pipeline.with_processes(processes), job, job.changes(), run)
        parts = yield from data_of(run, config, pipeline)
        if min(len(parts.test), len(parts.train)) < LEAST_IMAGES:
            got = f"{len(parts.train)} and {len(parts.test)}; set data.test higher"
            raise InputError(f"expected at least {LEAST_IMAGES} training and test images to compare with, got {got}")
        found, price = yield from measured(pipeline, parts, job, common, file)
        if not processes.is_main:
            return
        yield FileEvent(file)
        write_whole(picture, figure_to_png(figure(found), writer=SWEPT.decode()))
        yield FileEvent(picture)
        decision = evaluated.decide(found)
        stored = decision.row is not None and not stays and common.guidance_by == "classifier-free"
        if decision.row is not None and stored:
            best = decision.row.choice
            made = chosen(common, best.sampler, best.grid, best.steps)
            choose(run, made)
            _added(found, {"made": made}, file, write=True)
    told = {"recommended": found.recommended.model_dump(mode="json"), "stored": stored, "reason": decision.reason}
    tree = found.model_dump(mode="json") | told | {"price": price and price.as_tree()}
    yield ResultEvent(tree, Swept(found, outcome(run, decision, stored, not job.keep)))


def restore(folder: Path) -> Generator[Event, None, None]:
    """Undoes the last choice; the result's value is a sentence."""
    run = run_of(resolved(folder))
    agreed(run)
    before = restored(run)
    said = f"{run} generates images as before the last sweep: {before.sampler}, {before.steps} steps"
    yield ResultEvent({"restored": before.model_dump(mode="json")}, said)


def used(run: Path, file: Path, wanted: tuple[str, str, int]) -> ResultEvent:
    """Makes a row that was measured how the run generates images."""
    found = read_sweep(file)
    rows = [row for row in found.rows if (row.choice.sampler, row.choice.grid, row.choice.budget) == wanted]
    if not rows:
        raise InputError(f"expected a row of {file}, got {','.join(map(str, wanted))}; measure it first")
    if comes_along(run) or found.sampling.guidance_by != "classifier-free":
        raise InputError(f"expected a run of your own, swept without other networks, got {run}; it stays as it is")
    agreed(run)
    made = chosen(found.sampling, rows[0].choice.sampler, rows[0].choice.grid, rows[0].choice.steps)
    choose(run, made)
    said = f"{run} generates images from now on, unless asked otherwise, by {in_words(rows[0])}; --restore undoes it"
    return ResultEvent({"made": made.model_dump(mode="json")}, Swept(_added(found, {"made": made}, file, True), said))


def outcome(run: Path, decision: Decision, stored: bool, wanted: bool) -> str:
    """What has become of the recommendation, in a sentence."""
    if decision.row is None:
        return f"{run} generates images as it did: {decision.reason}"
    choice = f"{in_words(decision.row)} ({decision.reason})"
    if stored:
        return f"{run} generates images from now on, unless asked otherwise, by {choice}; --restore undoes it"
    if not wanted:
        return f"not stored (--keep): {choice}"
    if comes_along(run):
        return f"not stored: a model that comes along stays as it is: {choice}"
    return f"not stored: a pipeline generates images without other networks unless they are named: {choice}"


def measured(
    pipeline: Pipeline, parts: Parts, job: SweepJobSettings, common: SamplingSettings, file: Path
) -> Generator[Event, None, tuple[Sweep, Price | None]]:
    """All rows that were asked for, those before them included; each is kept as soon as it is known. And what that
    took; None where all were known.
    """
    asked = SweepSettings(**{name: getattr(job, name) for name in SweepSettings.model_fields})
    guide = "" if pipeline.classify is None else pipeline.classify.digest
    if pipeline.weaker is not None:
        guide = pipeline.weaker.weights_hash()
    same = {"weights": pipeline.weights_hash(), "guide": guide, "sampling": chosen(common, "ddim", None, 1)}
    these, before = evaluated.sampler_choices(asked, pipeline, common), kept(file, asked, same)
    pipeline.processes.barrier()  # all have read the file before the first one writes it
    known = {row.choice for row in before.rows} if before else set()
    missing = [each for each in these if each not in known]
    present, write = present_of(before, pipeline, common), pipeline.processes.is_main
    if before and present and not missing:
        return _added(before, {"present": present}, file, write), None
    now, reference = as_sampler_choice(pipeline, common), min(asked.reference, pipeline.diffusion.num_timesteps)
    new = ([] if present else [now]) + missing
    total = reference + sum(each.calls for each in new)
    price = of_chains(pipeline, common, asked.images, total, kept=2)
    remedy = "lower --images, or name fewer --samplers, --grids or --calls"
    chains = f"{len(new)} chains of {asked.images:,} images"
    price = yield from priced(price, job, pipeline, file.parent, remedy, chains)
    compared, fitted = apart_of(parts, EvaluationSettings())
    scorer = yield from scorer_of(pipeline, parts, asked, common, reference, fitted)
    found = before
    if found is None:
        train, real = as_pixels(parts.train)[compared[: asked.images]], scorer.real
        floor, best = (frechet_distance(scorer.extractor.features(some), real) for some in (train, scorer.reference))
        measured_of = {**same, "settings": asked, "num_test": len(real), "floor": floor, "reference": best}
        found = Sweep.model_validate({**measured_of, "rows": (), "fitted_apart": True})
    if present is None:
        yield ProgressEvent("generating", reference, total)
        present = Present(sampling=common, row=scorer.row(now, common))
    found = _added(found, {"present": present}, file, write)
    try:
        for number, each in enumerate(missing):
            yield ProgressEvent("generating", total - sum(left.calls for left in missing[number:]), total)
            more = {"rows": (*found.rows, scorer.row(each)), "made": None}
            found = _added(found, more, file, write)
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


def kept(file: Path, asked: SweepSettings, same: dict[str, Any]) -> Sweep | None:
    """What the file holds, if it was measured in the same way, and its fields in `same` are the same."""
    try:
        before = read_sweep(file)
    except InputError:  # none yet, or a file that is to be replaced
        return None
    alike = all(getattr(before, name) == value for name, value in same.items()) and before.fitted_apart
    of_rows = all(getattr(before.settings, name) == getattr(asked, name) for name in OF_A_ROW)
    return before if alike and of_rows else None


def scorer_of(
    pipeline: Pipeline, parts: Parts, asked: SweepSettings, common: SamplingSettings, steps: int, fitted: Indices
) -> Generator[ProgressEvent, None, Scorer]:
    """The features, learned from the `fitted` training images, the test images in them, and the reference, generated by
    many `steps`.
    """
    with pipeline.processes.main_first():  # the others find what it has learned in the cache
        extractor = yield from followed("learning features", extractor_of(parts, 0, fitted))
    seeds, condition = evaluated.seeds_and_condition(pipeline, asked, parts.train)
    work = generated(pipeline, seeds, condition, chosen(common, "dpm++3m", "log-snr", steps))
    reference = yield from followed("generating the reference", work)
    real = extractor.features(as_pixels(parts.test.sliced(0, MOST_TEST_IMAGES)))
    return Scorer(pipeline, common, seeds, condition, reference, extractor, real)
