"""`edit`: what a trained model does beside generating from noise.

A task, of those in edit_tasks.py, makes an `EditPlan` of what it is given, an `EditRequest`; the rest is the same for
all of them.
"""

import hashlib
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from ancestral import edits
from ancestral.colors import NAMES, WHITE
from ancestral.data.images import as_channels, decode, fit, load, read, to_array
from ancestral.editing.canvas import starts
from ancestral.errors import InputError
from ancestral.jobs.edit_tasks import EditPlan, EditSettings, Result, Shape
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.jobs.generated import (
    KEPT,
    ImageFiles,
    as_asked,
    file_room,
    filmed,
    how_generated,
    labels_for,
    note_of_words,
    run_chains,
    write_film,
)
from ancestral.jobs.guides import prepared
from ancestral.jobs.running import allow, device_named
from ancestral.pipeline import Pipeline
from ancestral.pipeline.generate import Keep, collected, generating
from ancestral.sampling.loop import Step
from ancestral.settings import SamplingSettings
from ancestral.tensors import Data, Images, Labels, Pixels, from_pixels, to_pixels
from ancestral.text import printable
from ancestral.tuning.price import Price, of_chains, refuse_more_than_is_free
from ancestral.viz import pictures
from ancestral.viz.boxes import Box

REMEDY = "ask for fewer or smaller images or --steps"
NEW = 128
"""A mask's grey level from which on a pixel is generated anew."""
WIDE = 13
"""Pictures beside each other in a comparison of one image, at most."""
NamedImage = tuple[str, UInt8[Tensor, "1 _ _ _"]]
"""A name, such as stands beneath a picture of the comparison, and the picture, (1, C, H, W), a mask of one channel."""


class GivenImage(NamedTuple):
    """An image file as the pipeline takes it: (1, C, H, W); `size` is the file's own, before it was fitted."""

    pixels: Pixels
    size: tuple[int, int]
    digest: str
    """SHA-256 of the file."""


@dataclass(frozen=True)
class EditRequest:
    """What a task is given. Every image has as many results as there are `seeds`.

    Attributes:
        labels: the class of each seed's result.
        folder: where the results go.
        yes: whether it may cost more than is usual.
    """

    pipeline: Pipeline
    settings: SamplingSettings
    labels: Labels | None
    seeds: range
    given: list[GivenImage]
    folder: Path
    yes: bool

    @property
    def count(self) -> int:
        """Of all results, where each has a seed."""
        return len(self.seeds) * max(1, len(self.given))

    def images(self) -> Images:
        """Those given, in [-1, 1]."""
        return from_pixels(torch.cat([each.pixels for each in self.given]))

    def repeated(self) -> Images:
        """Every image given once for each seed, in [-1, 1]."""
        return self.images().repeat_interleave(len(self.seeds), 0)

    def rows(self) -> list[list[NamedImage]]:
        """The images given, as a comparison shows them; one empty row where there are none."""
        return [[("image", each.pixels)] for each in self.given] or [[]]

    def beginnings(self) -> list[str]:
        """What the names of each image's files begin with, where there are several images."""
        return [f"{i}-" for i in range(len(self.given))] if len(self.given) > 1 else [""]

    def results(self, each: list[Result]) -> list[Result]:
        """Those of every image given, in its name, with class and image among the facts."""
        images = [{"image sha256": image.digest} for image in self.given] or [{}]
        return [
            Result(beginning + name, label, {**facts, "class": self.class_of(i), **image})
            for beginning, image in zip(self.beginnings(), images, strict=True)
            for i, (name, label, facts) in enumerate(each)
        ]

    def class_of(self, i: int) -> str:
        """The class of seed `i`, as files say it."""
        return "none" if self.labels is None else as_asked(self.pipeline.class_names[int(self.labels[i])])

    def words(self, part: slice) -> tuple[list[int], Labels | None, SamplingSettings]:
        """What every call of `edits` takes, of some of all results: seeds, labels, settings."""
        rows = max(1, len(self.given))
        labels = None if self.labels is None else self.labels.repeat(rows)[part]
        return ([*self.seeds] * rows)[part], labels, self.settings

    def label(self, count: int) -> Labels | None:
        """The one class of a task that has but one, for so many images."""
        return None if self.labels is None else self.labels[:1].expand(count)

    def mask(self, path: Path) -> Bool[Tensor, "H W"]:
        """The pixels to keep, at the pipeline's size: those that the mask's file shows black; True is kept.

        Raises:
            BadImage: for every fault of the file.
            InputError: a mask that has neither the pipeline's size nor that of all images given, as which it is fitted.
        """
        mask, (_, height, width) = decode(path, channels=1), self.pipeline.spec.shape
        own = mask.height, mask.width
        if own != (height, width) and {image.size for image in self.given} != {own}:
            raise InputError(
                f"expected a mask of {height}x{width} pixels, or of the size of every image, got {own[0]}x{own[1]}; "
                "resize the mask"
            )
        return _pixels(fit(mask, height, width, "crop"))[0, 0] < NEW

    def refuse_more(self, images: int, size: tuple[int, int] | None = None) -> None:
        """Before any of so many images, of this height and width or of the pipeline's, is made.

        Raises:
            InputError: more than fit into memory.
        """
        refuse_more_than_is_free(4 * images * self._numbers(size), self.pipeline.device, REMEDY)

    def afford(
        self,
        images: int,
        steps: int,
        work: int = 1,
        size: tuple[int, int] | None = None,
        pull_backs: int = 0,
        whole: bool = False,
    ) -> Price:
        """What chains of so many steps take, where they may be generated; the rest is as in `EditPlan`.

        Raises:
            InputError: more than is usual and not meant, or than fits.
        """
        pipeline, numbers = self.pipeline, self._numbers(size)
        calls = steps * pipeline.sampler(self.settings).calls
        price = of_chains(pipeline, self.settings, images, calls, work, numbers, 2, pull_backs, whole)
        price = price._replace(disk=images * file_room(numbers))
        return allow(price, self.yes, pipeline.device, pipeline.processes, self.folder, REMEDY)

    def windows(self, size: tuple[int, int], stride: int | None, wraps: bool = False) -> int:
        """Calls that a step of a canvas of this size takes; 1 where the network sees it whole."""
        own = self.pipeline.spec.shape[1:]
        if size == own and not wraps:
            return 1
        between = max(1, edits.stride_of(self.pipeline, stride))
        sides = zip(size, own, strict=True)
        return math.prod(len(starts(length, window, between, wraps)) for length, window in sides)

    def inverted(self, corrections: int, grain: float) -> Generator[Event, None, Data]:
        """The noises that the images given come from."""
        images, count = self.repeated(), self.settings.steps
        price = self.afford(len(images), count, 1 + corrections)
        seeds = range(self.seeds[0], self.seeds[0] + len(images))
        steps = edits.invert(self.pipeline, images, self.label(len(images)), self.settings, corrections, grain, seeds)
        for number, step in enumerate(steps, 1):  # noqa: B007
            yield from [NoteEvent(price.words)] * (number == 1)  # by now what was asked wrongly is found
            yield ProgressEvent("inverting", number, count)
        return step.x_s

    def from_noise(self, x_T: Data) -> Callable[[slice], Iterator[Step]]:
        """Down from noises, without any more."""
        return lambda part: edits.from_noise(self.pipeline, x_T[part], self.label(len(x_T[part])), self.settings)

    def _numbers(self, size: tuple[int, int] | None) -> int:
        """That an image of this height and width, or of the pipeline's, is made of."""
        return self.pipeline.spec.channels * math.prod(size or self.pipeline.spec.shape[1:])


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
    yield from note_of_words(pipeline, task.classes)
    labels = labels_for(pipeline, task.classes, len(seeds))
    given = yield from _read(task.paths, task.given_shape(pipeline.spec.shape))
    request = EditRequest(pipeline, settings, labels, seeds, given, task.folder("edited"), task.yes)
    request.refuse_more(request.count)
    results = task.results(request)
    task.files([result.name for result in results])  # before the work that some plans begin with
    plan = yield from task.plan(request)
    comparison, *places = task.files([name for name, _ in plan.made] + [result.name for result in results])
    count = settings.steps if plan.count is None else plan.count
    price = request.afford(len(results), count, plan.work, plan.size, plan.pull_backs, plan.whole)
    facts = {"task": task.task(), **plan.options, **how_generated(pipeline, settings)}

    files, first = ImageFiles(comparison.parent, len(places)), len(plan.made)
    keep = Keep(range(min(filmed(pipeline.spec.shape), len(results))), KEPT, after=True)
    chains = generating(plan.steps, pipeline.chunks(len(results)), count, keep, Tensor.cpu)

    def save(place: int, image: Tensor) -> FileEvent:
        return files.write(to_pixels(image), places[first + place], {**results[place].facts, **facts})

    for (_, made), place in zip(plan.made, places, strict=False):
        yield files.write(made[0], place, facts)
    images, frames = collected((yield from run_chains(chains, save, files, price.words)), keep)
    numbers, pixels = plan.measure(images), to_pixels(images)
    every = {key: ", ".join(dict.fromkeys(result.facts[key] for result in results)) for key in results[0].facts}
    pictures.save_png(_comparison(plan, plan.rows or request.rows(), results, pixels), comparison, {**every, **facts})
    yield FileEvent(comparison)
    if task.film and plan.is_path:
        pictures.save_film(pictures.morph(pixels, [result.label for result in results]), task.film)
        yield FileEvent(task.film)
    elif task.film:
        yield from write_film(frames, len(results), task.film, names=("x after the step", "estimate of x₀"))
    paths = [str(file) for file in (comparison, *places, *([task.film] if task.film else []))]
    yield ResultEvent({"files": paths, **numbers, "price": price.as_tree()}, numbers)


def _comparison(plan: EditPlan, rows: list[list[NamedImage]], results: list[Result], pixels: Pixels) -> Box:
    """The rows beneath one another; one row alone, where it is too long, in several lines."""
    each = len(results) // len(rows)
    tiled = pixels.repeat(1, 1, plan.tilings, plan.tilings)
    shown = ((result.label, picture[None]) for result, picture in zip(results, tiled, strict=True))
    line: list[NamedImage] = []
    for before in rows:
        line += [*before, *islice(shown, each), *plan.after]
    images = torch.cat(pictures.alike([picture for _, picture in line]))
    columns = len(line) // len(rows)
    return pictures.grid(images, columns if columns <= WIDE else None, labels=[label for label, _ in line])


def _read(paths: tuple[Path, ...], shape: Shape) -> Generator[NoteEvent, None, list[GivenImage]]:
    """The images in files, each cropped to the shape and resized where it has another.

    Raises:
        BadImage: for every fault of a file.
    """
    (channels, height, width), given = shape, []
    for path in paths:
        data = read(path)
        image = load(path, data)[0]
        fitted = fit(as_channels(image, channels, WHITE), height, width, "crop")
        changes = [] if image.size == fitted.size else [f"fitted from {_size(image)} to {_size(fitted)} pixels"]
        changes += [] if image.mode == fitted.mode else [f"made {NAMES[channels]}"]
        if changes:
            yield NoteEvent(f"ancestral: {printable(path)} was {' and '.join(changes)}")
        given.append(GivenImage(_pixels(fitted), (image.height, image.width), hashlib.sha256(data).hexdigest()))
    return given


def _size(image: Image.Image) -> str:
    return f"{image.height}x{image.width}"


def _pixels(image: Image.Image) -> Pixels:
    return torch.from_numpy(to_array(image).copy()).permute(2, 0, 1)[None].contiguous()
