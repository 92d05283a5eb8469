"""What a task of `edit` is given: a pipeline, images, masks, seeds; and what its work takes."""

import hashlib
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from ancestral import edits
from ancestral.colors import NAMES, WHITE
from ancestral.condition import Condition
from ancestral.data.images import as_channels, decode, fit, load, read, to_array
from ancestral.errors import InputError
from ancestral.jobs.events import Event, NoteEvent, ProgressEvent
from ancestral.jobs.generated import as_asked, file_room
from ancestral.jobs.running import allow
from ancestral.pipeline import Pipeline
from ancestral.prompts import Prompts, TextMix
from ancestral.sampling.loop import Step
from ancestral.settings import SamplingSettings
from ancestral.tensors import Data, Pixels
from ancestral.text import printable
from ancestral.tuning.price import Price, of_chains, refuse_more_than_is_free
from ancestral.windows import starts

REMEDY = "ask for fewer or smaller images or --steps"
Sides = tuple[int, int]
NamedImage = tuple[str, UInt8[Tensor, "1 _ _ _"]]
"""A name, such as stands beneath a picture of the comparison, and the picture, (1, C, H, W), a mask of one channel."""


class GivenImage(NamedTuple):
    """An image file as the pipeline takes it: (1, C, H, W); `size` is the file's own, before it was fitted."""

    pixels: Pixels
    size: Sides
    digest: str  # SHA-256 of the file


@dataclass(frozen=True)
class EditRequest:
    """What a task is given. Every image has as many results as there are `seeds`."""

    pipeline: Pipeline
    settings: SamplingSettings
    condition: Condition  # what is asked of each seed's result
    seeds: range
    given: list[GivenImage]
    folder: Path  # where the results go
    yes: bool  # whether it may cost more than is usual
    mixtures: list[TextMix]  # what is asked of each seed's result in words

    def images(self) -> Pixels:
        return torch.cat([each.pixels for each in self.given])

    def repeated(self) -> Pixels:
        """Every image given once for each seed."""
        return self.images().repeat_interleave(len(self.seeds), 0)

    def rows(self) -> list[list[NamedImage]]:
        """The images given, as a comparison shows them; one empty row where there are none."""
        return [[("image", each.pixels)] for each in self.given] or [[]]

    def beginnings(self) -> list[str]:
        """What the names of each image's files begin with, where there are several images."""
        return [f"{i}-" for i in range(len(self.given))] if len(self.given) > 1 else [""]

    def asked_of(self, i: int) -> dict[str, str]:
        """What was asked of seed `i`, as files say it: its class, and texts if there are any."""
        label = -1 if self.condition.labels is None else int(self.condition.labels[i])
        name = as_asked(self.pipeline.class_names[label]) if label >= 0 else "none"
        return {"class": name, **Prompts.of(self.mixtures[i]).facts()}

    def label_of(self, i: int, label: str) -> str:
        """`label`, and the text that was asked of seed `i` where not all are asked the same."""
        return f"{label}, {self.mixtures[i]}" if len({*self.mixtures}) > 1 else label

    def words(self, part: slice) -> tuple[list[int], Condition, SamplingSettings]:
        """What every call of `edits` takes, of some of all results: seeds, condition, settings."""
        rows = max(1, len(self.given))
        return ([*self.seeds] * rows)[part], self.condition.repeat(rows).rows(part), self.settings

    def first(self, count: int) -> Condition:
        """The one condition of a task that has but one, for so many images."""
        return self.condition.rows(slice(0, 1)).repeat(count)

    def mask(self, path: Path) -> Bool[Tensor, "H W"]:
        """The pixels to keep, at the pipeline's size: those that the mask's file shows black; True is kept.

        A file of the size of every image given is fitted as they are.
        """
        mask, (_, height, width) = decode(path, channels=1), self.pipeline.spec.shape
        own = mask.height, mask.width
        if own != (height, width) and {image.size for image in self.given} != {own}:
            raise InputError(
                f"expected a mask of {height}x{width} pixels, or of the size of every image, got {own[0]}x{own[1]}; "
                "resize the mask"
            )
        return _pixels(fit(mask, height, width, "crop"))[0, 0] < 128  # greys from there on are generated anew

    def refuse_more(self, images: int, size: Sides | None = None) -> None:
        """Before any of so many images is made: refuses more than fit into memory."""
        refuse_more_than_is_free(4 * images * math.prod(self._latent(size)), self.pipeline.device, REMEDY)

    def afford(
        self, images: int, steps: int, work: int, size: Sides | None = None, pull_backs: int = 0, whole: bool = False
    ) -> Price:
        """What chains of so many steps take, where they may be generated; the rest is as in `EditPlan`."""
        pipeline, numbers = self.pipeline, math.prod(self._latent(size))
        calls = steps * pipeline.sampler(self.settings).calls
        price = of_chains(pipeline, self.settings, images, calls, work, numbers, 2, pull_backs, whole)
        pixels = pipeline.spec.channels * math.prod(size or pipeline.spec.shape[1:])
        price = price._replace(disk=images * file_room(pixels))
        return allow(price, self.yes, pipeline.device, pipeline.processes, self.folder, REMEDY)

    def windows(self, size: Sides, stride: int | None, wraps: bool = False) -> int:
        """Calls that a step of a canvas of this size takes; 1 where the network sees it whole."""
        own, sides_of_x0 = self.pipeline.latent_shape[1:], self._latent(size)[1:]
        if sides_of_x0 == own and not wraps:
            return 1
        between = max(1, edits.stride_of(self.pipeline, stride))
        sides = zip(sides_of_x0, own, strict=True)
        return math.prod(len(starts(length, window, between, wraps)) for length, window in sides)

    def inverted(self, corrections: int, grain: float) -> Generator[Event, None, Data]:
        """The noises that the images given come from."""
        images, count = self.repeated(), self.settings.steps
        price = self.afford(len(images), count, 1 + corrections)
        seeds = range(self.seeds[0], self.seeds[0] + len(images))
        steps = edits.invert(self.pipeline, images, self.first(len(images)), self.settings, corrections, grain, seeds)
        for number, step in enumerate(steps, 1):  # noqa: B007
            yield from [NoteEvent(price.words)] * (number == 1)  # by now what was asked wrongly is found
            yield ProgressEvent("inverting", number, count)
        return step.x_s

    def from_noise(self, x_T: Data) -> Callable[[slice], Iterator[Step]]:
        """Down from noises, without any more."""
        return lambda part: edits.from_noise(self.pipeline, x_T[part], self.first(len(x_T[part])), self.settings)

    def _latent(self, size: Sides | None) -> tuple[int, int, int]:
        """The shape of the x0 of an image of this height and width, or of the pipeline's."""
        channels, *own = self.pipeline.spec.shape
        return self.pipeline.codec.shape((channels, *(size or own)))


def read_images(paths: tuple[Path, ...], shape: tuple[int, int, int]) -> Generator[NoteEvent, None, list[GivenImage]]:
    """The images in files, each cropped to the shape and resized where it has another."""
    (channels, height, width), given = shape, []
    for path in paths:
        data = read(path)
        image = load(path, data)[0]
        fitted = fit(as_channels(image, channels, WHITE), height, width, "crop")
        before, after = (f"{each.height}x{each.width}" for each in (image, fitted))
        changes = [] if before == after else [f"fitted from {before} to {after} pixels"]
        changes += [] if image.mode == fitted.mode else [f"made {NAMES[channels]}"]
        if changes:
            yield NoteEvent(f"ancestral: {printable(path)} was {' and '.join(changes)}")
        given.append(GivenImage(_pixels(fitted), (image.height, image.width), hashlib.sha256(data).hexdigest()))
    return given


def _pixels(image: Image.Image) -> Pixels:
    return torch.from_numpy(to_array(image).copy()).permute(2, 0, 1)[None].contiguous()
