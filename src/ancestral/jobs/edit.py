"""`edit`: what a trained model does beside generating from noise.

A task, of those in edit_tasks.py, makes an `EditPlan` of what it is given, an `EditRequest`; the rest is the same for
all of them.
"""

from collections.abc import Generator
from functools import partial
from itertools import islice, pairwise

import torch
from torch import Tensor

from ancestral.jobs import generated
from ancestral.jobs.edit_requests import EditRequest, NamedImage, read_images
from ancestral.jobs.edit_tasks import EditPlan, EditSettings, Result
from ancestral.jobs.events import Event, FileEvent, ResultEvent
from ancestral.jobs.guides import prepared
from ancestral.jobs.running import Load, device_named
from ancestral.pipeline import Pipeline
from ancestral.pipeline.generate import Keep, collected, generating
from ancestral.tensors import Pixels
from ancestral.viz import pictures
from ancestral.viz.boxes import Box


def edit(task: EditSettings, load: Load = Pipeline.load, show: bool = False) -> Generator[Event, None, None]:
    """Generates what the task asks for, and writes its files; `load` and `show` as for `sample`."""
    changes, seeds = task.changes(), task.result_seeds
    task.check_film()
    task.files([])
    pipeline = load(task.run, device_named(task.device), task.compute, task.null_class)
    pipeline, settings = prepared(pipeline, task, changes, task.run)
    yield from generated.note_of_words(pipeline, task.classes)
    prompts = task.asked_in_words
    mixtures = prompts.of_each(len(seeds))
    condition = generated.condition_for(pipeline, task.classes, len(seeds), task.attributes, prompts)
    yield from generated.notes_of_prompts(pipeline, prompts, settings.negative)
    given = yield from read_images(task.paths, task.given_shape(pipeline.spec.shape))
    request = EditRequest(pipeline, settings, condition, seeds, given, task.folder("edited"), task.yes, mixtures)
    request.refuse_more(len(seeds) * max(1, len(given)))
    results = task.results(request)
    task.files([result.name for result in results])  # before the work that some plans begin with
    plan = yield from task.plan(request)
    if plan.pull_backs:
        pipeline.by_torch("restoring by gradients")
    comparison, *places = task.files([name for name, _ in plan.made] + [result.name for result in results])
    count = settings.steps if plan.count is None else plan.count
    price = request.afford(len(results), count, plan.work, plan.size, plan.pull_backs, plan.whole)
    facts = {"task": task.task(), **plan.options, **generated.how_generated(pipeline, settings)}
    facts |= {} if task.attributes is None else {"attributes": task.attributes}

    decode = plan.decode or partial(pipeline.decode, size=plan.size)
    files, first = generated.ImageFiles(comparison.parent, len(places)), len(plan.made)
    keep = Keep(range(min(generated.filmed(pipeline.latent_shape), len(results))), generated.KEPT, after=True)
    shown, decoded = generated.NOT_SHOWN, list[Pixels]()
    if show:
        path = plan.path() if plan.path else pairwise(pipeline.timesteps(settings).tolist())
        labels = [result.label for result in results]
        shown = generated.shown(pipeline, path, len(results), decode, plan.size, labels)
    yield from shown.begun
    chains = generating(plan.steps, pipeline.chunks(len(results)), count, keep, Tensor.cpu, show=shown.keep)

    def save(place: int, x0: Tensor) -> FileEvent:
        decoded.append(decode(x0[None]))
        return files.write(decoded[-1][0], places[first + place], {**results[place].facts, **facts})

    for (_, made), place in zip(plan.made, places, strict=False):
        yield files.write(made[0], place, facts)
    x0, frames = collected((yield from files.written(chains, save, price.words)), keep)
    pixels = torch.cat(decoded)
    numbers = plan.measure(x0, pixels)
    every = {key: ", ".join(dict.fromkeys(result.facts[key] for result in results)) for key in results[0].facts}
    pictures.save_png(_comparison(plan, plan.rows or request.rows(), results, pixels), comparison, {**every, **facts})
    yield FileEvent(comparison)
    if task.film and plan.is_path:
        pictures.save_film(pictures.morph(pixels, [result.label for result in results]), task.film)
        yield FileEvent(task.film)
    elif task.film:
        names = "x after the step", "estimate of x₀"
        yield from generated.write_film(frames, len(results), task.film, decode, names)
    paths = [str(file) for file in (comparison, *places, *([task.film] if task.film else []))]
    yield ResultEvent({"files": paths, **numbers, "price": price.as_tree()}, numbers)


def _comparison(plan: EditPlan, rows: list[list[NamedImage]], results: list[Result], pixels: Pixels) -> Box:
    """The rows beneath one another, where none is longer than 13 pictures; else in reading order."""
    each = len(results) // len(rows)
    tiled = pixels.repeat(1, 1, plan.tilings, plan.tilings)
    shown = ((result.label, picture[None]) for result, picture in zip(results, tiled, strict=True))
    line: list[NamedImage] = []
    for before in rows:
        line += [*before, *islice(shown, each), *plan.after]
    images = torch.cat(pictures.alike([picture for _, picture in line]))
    columns = len(line) // len(rows)
    return pictures.grid(images, columns if columns <= 13 else None, labels=[label for label, _ in line])
