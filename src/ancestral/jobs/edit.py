"""`edit`: what a trained model does beside generating from noise; the tasks are in edit_tasks.py."""

from collections.abc import Generator
from pathlib import Path

import torch
from torch import Tensor

from ancestral.jobs.edit_plans import EditPlan, EditRequest, NamedImage, PngFacts, one_by_one, refuse_more
from ancestral.jobs.edit_settings import EditSettings
from ancestral.jobs.events import Event, FileEvent, ResultEvent
from ancestral.jobs.generated import (
    KEPT,
    ImageFiles,
    filmed,
    how_generated,
    labels_for,
    note_of_words,
    run_chains,
    write_film,
)
from ancestral.jobs.guides import prepared
from ancestral.jobs.running import device_named
from ancestral.pipeline import Pipeline
from ancestral.pipeline.generate import Frame, Generated, Keep, collected, generating
from ancestral.tensors import Pixels, to_pixels
from ancestral.viz import pictures

WIDE = 13
"""Pictures beside each other in a comparison of one image, at most."""


def edit(task: EditSettings) -> Generator[Event, None, None]:
    """Generates what the task asks for, and writes its files.

    Raises:
        InputError: something asked for that does not fit the pipeline, or files of others that are there already.
        CannotWrite: one of them cannot be written.
    """
    changes, seeds = task.changes(), task.result_seeds
    task.check_film()
    task.files([])
    pipeline = Pipeline.load(task.run, device_named(task.device), task.compute, task.null_class)
    pipeline, settings = prepared(pipeline, task, changes, task.run)
    refuse_more(pipeline, len(seeds) * max(1, len(task.paths)))
    yield from note_of_words(pipeline, task.classes)
    labels = labels_for(pipeline, task.classes, len(seeds))
    request = EditRequest(pipeline, settings, labels, seeds, task.paths, task.folder("edited"), task.yes)
    plan = yield from task.plan(request)
    files = task.files([name for name, _ in plan.made] + [result.name for result in plan.results])
    price = request.afford(len(plan.results), plan.count, plan.work, plan.size, plan.pull_backs, plan.whole)
    facts = {"task": task.task(), **plan.options, **how_generated(pipeline, settings)}
    images, frames = yield from _results(pipeline, plan, files[1:], facts, price.words)
    numbers, pixels = plan.measure(images), to_pixels(images)
    _write_comparison(plan, pixels, files[0], facts)
    yield FileEvent(files[0])
    if task.film:
        yield from _film(plan, pixels, frames, task.film)
    every = [str(file) for file in (*files, *([task.film] if task.film else []))]
    yield ResultEvent({"files": every, **numbers, "price": price.as_tree()}, numbers)


def _results(
    pipeline: Pipeline, plan: EditPlan, places: list[Path], facts: PngFacts, note: str
) -> Generator[Event, None, Generated]:
    """All results, (B, C, H, W) in [-1, 1], each written as soon as it is finished, and frames of some for a film."""
    count, files = len(plan.results), ImageFiles(places[0].parent, len(places))
    keep = Keep(range(min(filmed(pipeline.spec.shape), count)), KEPT, after=True)
    chains = generating(plan.steps, pipeline.chunks(count), plan.count, keep, Tensor.cpu)
    first = len(plan.made)

    def save(place: int, image: Tensor) -> FileEvent:
        return files.write(to_pixels(image), places[first + place], {**plan.results[place].facts, **facts})

    for (_, made), place in zip(plan.made, places, strict=False):
        yield files.write(made[0], place, facts)
    return collected((yield from run_chains(chains, save, files, note)), keep)


def _film(plan: EditPlan, pixels: Pixels, frames: list[Frame], file: Path) -> Generator[Event, None, None]:
    """Along the path of the results, or of how they were generated."""
    if plan.is_path:
        pictures.save_film(pictures.morph(pixels, [result.label for result in plan.results]), file)
        yield FileEvent(file)
    else:
        yield from write_film(frames, len(plan.results), file, names=("x after the step", "estimate of x₀"))


def _write_comparison(plan: EditPlan, pixels: Pixels, file: Path, facts: PngFacts) -> None:
    """The rows beneath one another; one row alone, where it is too long, in several lines.

    Of its results it says each fact of theirs, all its values.
    """
    each = len(plan.results) // len(plan.rows)
    shown = one_by_one(pixels.repeat(1, 1, plan.tilings, plan.tilings))
    line: list[NamedImage] = []
    for i, before in enumerate(plan.rows):
        mine = range(i * each, (i + 1) * each)
        line += [*before, *((plan.results[k].label, shown[k]) for k in mine), *plan.after]
    images = torch.cat(pictures.alike([picture for _, picture in line]))
    columns = len(line) // len(plan.rows)
    picture = pictures.grid(images, columns if columns <= WIDE else None, labels=[label for label, _ in line])
    every = {key: dict.fromkeys(result.facts[key] for result in plan.results) for key in plan.results[0].facts}
    pictures.save_png(picture, file, {**{key: ", ".join(values) for key, values in every.items()}, **facts})
