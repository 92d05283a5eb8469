"""What tasks of `edit` plan, and what they need for it: image files at the pipeline's size, masks, the price."""

import hashlib
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from ancestral import edits
from ancestral.colors import NAMES, WHITE
from ancestral.data.images import as_channels, decode, fit, load, read, to_array
from ancestral.editing.canvas import starts
from ancestral.errors import InputError
from ancestral.jobs.events import Event, NoteEvent, ProgressEvent
from ancestral.jobs.generated import as_asked, file_room
from ancestral.jobs.running import allow
from ancestral.pipeline import Pipeline
from ancestral.sampling.loop import Step
from ancestral.settings import SamplingSettings
from ancestral.tensors import Data, Images, Labels, Pixels, from_pixels
from ancestral.text import printable
from ancestral.tuning.price import Price, of_chains, refuse_more_than_is_free

REMEDY = "ask for fewer or smaller images or --steps"
NEW = 128
"""A mask's grey level from which on a pixel is generated anew."""
PngFacts = dict[str, str]
One = UInt8[Tensor, "1 _ _ _"]
NamedImage = tuple[str, One]
"""A name, such as stands beneath a picture of the comparison, and the picture, (1, C, H, W), a mask of one channel."""
Steps = Callable[[slice], Iterator[Step]]
"""A part of the results -> the steps of their chain."""


@dataclass(frozen=True)
class Picture:
    """An image file as the pipeline takes it.

    Attributes:
        pixels: (1, C, H, W).
        size: height and width of the file's image, before it was fitted.
        digest: SHA-256 of the file.
        changes: what was done to fit it, in words; "": nothing.
    """

    pixels: Pixels
    size: tuple[int, int]
    digest: str
    changes: str


class Result(NamedTuple):
    """One image to be generated: the end of its file's name, what stands beneath it, and what its file says of it."""

    name: str
    label: str
    facts: PngFacts


def nothing(images: Images) -> dict[str, Any]:
    """No numbers."""
    return {}


@dataclass(frozen=True)
class EditPlan:
    """A task with everything that it was asked.

    Attributes:
        results: those of the first image given, then those of the second, ...
        steps: generates some of the results.
        options: what its files say of the task.
        count: steps of a chain.
        rows: what the comparison shows before the results of each image given; one where there are none.
        after: what it shows after them.
        tilings: how often it shows each of them, in both directions.
        measure: the results -> numbers about them, by name.
        made: pictures that were made on the way, with the ends of their files' names.
        is_path: its results lie on a path, which a film goes along; else a film shows how they came to be.
        size: height and width of a result; None: the pipeline's.
        work: of a step of one result, in network calls on an image of the pipeline's size.
        pull_backs: backward passes of a call.
        whole: whether the network sees all of a result at once, however large.
    """

    results: list[Result]
    steps: Steps
    options: PngFacts
    count: int
    rows: list[list[NamedImage]]
    after: tuple[NamedImage, ...] = ()
    tilings: int = 1
    measure: Callable[[Images], dict[str, Any]] = nothing
    made: tuple[NamedImage, ...] = ()
    is_path: bool = False
    size: tuple[int, int] | None = None
    work: int = 1
    pull_backs: int = 0
    whole: bool = False


@dataclass(frozen=True)
class EditRequest:
    """What a task is given. Every image has as many results as there are `seeds`.

    Attributes:
        labels: the class of each seed's result.
        paths: of the images.
        folder: where the results go.
        yes: whether it may cost more than is usual.
    """

    pipeline: Pipeline
    settings: SamplingSettings
    labels: Labels | None
    seeds: range
    paths: tuple[Path, ...]
    folder: Path
    yes: bool

    def plan(self, given: list[Picture], steps: Steps, options: PngFacts) -> EditPlan:
        """That of a task that changes every image given, with every seed, along the pipeline's own chain."""
        rows = [[("image", picture.pixels)] for picture in given] or [[]]
        return EditPlan(self.of_seeds(given), steps, options, self.settings.steps, rows)

    def read(
        self, channels: int | None = None, height: int | None = None, width: int | None = None
    ) -> Generator[Event, None, list[Picture]]:
        """The images given, in the pipeline's shape or this one."""
        own = self.pipeline.spec.shape
        shape = channels or own[0], height or own[1], width or own[2]
        pictures = []
        for path in self.paths:
            pictures.append(read_picture(path, *shape))
            yield from [NoteEvent(f"ancestral: {changes}") for changes in [pictures[-1].changes] if changes]
        return pictures

    def repeated(self, given: list[Picture]) -> Images:
        """Every image given once for each seed, in [-1, 1]."""
        return floats(given).repeat_interleave(len(self.seeds), 0)

    def words(self, part: slice) -> tuple[list[int], Labels | None, SamplingSettings]:
        """What every call of `edits` takes, of some of all results: seeds, labels, settings."""
        rows = max(1, len(self.paths))
        labels = None if self.labels is None else self.labels.repeat(rows)[part]
        return ([*self.seeds] * rows)[part], labels, self.settings

    def label(self, count: int) -> Labels | None:
        """The one class of a task that has but one, for so many images."""
        return None if self.labels is None else self.labels[:1].expand(count)

    def afford(
        self,
        images: int,
        steps: int,
        work: int = 1,
        size: tuple[int, int] | None = None,
        pull_backs: int = 0,
        whole: bool = False,
    ) -> Price:
        """What chains of so many steps take, where they may be generated.

        Args:
            work, size, pull_backs, whole: as in `EditPlan`.

        Raises:
            InputError: more than is usual and not meant, or than fits.
        """
        pipeline, numbers = self.pipeline, numbers_of(self.pipeline, size)
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

    def inverted(self, images: Images, corrections: int, grain: float) -> Generator[Event, None, Data]:
        """The noises that images come from."""
        count, pipeline = self.settings.steps, self.pipeline
        price = self.afford(len(images), count, 1 + corrections)
        seeds = range(self.seeds[0], self.seeds[0] + len(images))
        steps = edits.invert(pipeline, images, self.label(len(images)), self.settings, corrections, grain, seeds)
        for number, step in enumerate(steps, 1):  # noqa: B007
            yield from [NoteEvent(price.words)] * (number == 1)  # by now what was asked wrongly is found
            yield ProgressEvent("inverting", number, count)
        return step.x_s

    def from_noise(self, x_T: Data) -> Steps:
        """Down from noises, without any more."""
        return lambda part: edits.from_noise(self.pipeline, x_T[part], self.label(len(x_T[part])), self.settings)

    def of_seeds(self, given: list[Picture]) -> list[Result]:
        """Every image given with every seed."""
        return [
            Result(f"{number}seed-{seed}", f"seed {seed}", {"seed": str(seed), "class": self._class(i), **came_from})
            for number, came_from in _origins(given)
            for i, seed in enumerate(self.seeds)
        ]

    def of_images(self, given: list[Picture], name: str) -> list[Result]:
        """Every image given, once."""
        return [
            Result(number + name, name, {"class": self._class(0), **came_from}) for number, came_from in _origins(given)
        ]

    def of_points(self, count: int) -> list[Result]:
        """Places on the way from 0 to 1."""
        places = [f"{i / (count - 1):.3g}" for i in range(count)]
        return [
            Result(f"point-{i}", place, {"point": place, "class": self._class(0)}) for i, place in enumerate(places)
        ]

    def _class(self, i: int) -> str:
        return "none" if self.labels is None else as_asked(self.pipeline.class_names[int(self.labels[i])])


def read_picture(path: Path, channels: int, height: int, width: int) -> Picture:
    """The image in a file, cropped to the shape and resized where it has another.

    Raises:
        BadImage: for every fault of the file.
    """
    data = read(path)
    image = load(path, data)[0]
    fitted = fit(as_channels(image, channels, WHITE), height, width, "crop")
    changes = [] if image.size == fitted.size else [f"fitted from {_size(image)} to {_size(fitted)} pixels"]
    changes += [] if image.mode == fitted.mode else [f"made {NAMES[channels]}"]
    said = f"{printable(path)} was {' and '.join(changes)}" if changes else ""
    return Picture(_pixels(fitted), (image.height, image.width), hashlib.sha256(data).hexdigest(), said)


def read_mask(path: Path, height: int, width: int, sizes: Sequence[tuple[int, int]]) -> Bool[Tensor, "H W"]:
    """The pixels to keep, (height, width): those that the mask's file shows black; True is kept.

    Args:
        sizes: of the images' files. A mask of their size is fitted as they are.

    Raises:
        BadImage: for every fault of the file.
        InputError: a mask of another size, or one that leaves nothing to generate or nothing to keep.
    """
    mask = decode(path, channels=1)
    own, of_images = (mask.height, mask.width), {*sizes}
    if own != (height, width) and of_images != {own}:
        theirs = "".join(f" or {h}x{w}" for h, w in sorted(of_images - {(height, width)}) if len(of_images) == 1)
        raise InputError(f"expected a mask of {height}x{width}{theirs} pixels, got {own[0]}x{own[1]}; resize the mask")
    keep = _pixels(fit(mask, height, width, "crop"))[0, 0] < NEW
    if bool(keep.all()) or not bool(keep.any()):
        all_of_it = "everything" if bool(keep.all()) else "nothing"
        raise InputError(
            f"expected a mask that keeps some pixels, got one that keeps {all_of_it}; white is generated anew"
        )
    return keep


def floats(given: list[Picture]) -> Images:
    """Every image given, in [-1, 1]."""
    return from_pixels(torch.cat([picture.pixels for picture in given]))


def one_by_one(pixels: Pixels) -> list[One]:
    """A batch as pictures."""
    return [*torch.split(pixels, 1)]


def numbers_of(pipeline: Pipeline, size: tuple[int, int] | None = None) -> int:
    """That an image of this height and width is made of; None: of the pipeline's."""
    return pipeline.spec.channels * math.prod(size or pipeline.spec.shape[1:])


def refuse_more(pipeline: Pipeline, images: int, size: tuple[int, int] | None = None) -> None:
    """Before any of so many images of this size is made.

    Raises:
        InputError: more than fit into memory.
    """
    refuse_more_than_is_free(4 * images * numbers_of(pipeline, size), pipeline.device, REMEDY)


def name_beginnings(given: list[Picture]) -> list[str]:
    """What the names of each image's files begin with, where there are several images."""
    return [f"{i}-" for i in range(len(given))] if len(given) > 1 else [""]


def _origins(given: list[Picture]) -> list[tuple[str, PngFacts]]:
    """How the names of each given image's files begin, and what the files of its results say of it."""
    facts = [{"image sha256": picture.digest} for picture in given] or [{}]
    return [*zip(name_beginnings(given), facts, strict=True)]


def _size(image: Image.Image) -> str:
    return f"{image.height}x{image.width}"


def _pixels(image: Image.Image) -> Pixels:
    return torch.from_numpy(to_array(image).copy()).permute(2, 0, 1)[None].contiguous()
