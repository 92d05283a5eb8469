"""The work that all tasks of `ancestral edit` share: generating what a plan says, and the files of it."""

import math
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from ancestral.cli.edit_inputs import Picture, read_picture
from ancestral.cli.generating import KEPT, Finished, as_asked, file_room, filmed, how_generated, labels_for
from ancestral.cli.output import counting, say
from ancestral.cli.pricing import allow, told_after_first
from ancestral.config import SamplingSettings
from ancestral.data.fitting import StageProgress
from ancestral.generate import Frame, Generated, Keep, generate
from ancestral.pipeline import Pipeline
from ancestral.sampling.loop import Step
from ancestral.tensors import Images, Labels, Pixels, to_pixels
from ancestral.tuning.price import Price, of_chains, refuse_more_than_is_free
from ancestral.viz import pictures

REMEDY = "ask for fewer or smaller images or --steps"
WIDE = 13
"""Pictures beside each other in a comparison of one image, at most."""
PngFacts = dict[str, str]
One = UInt8[Tensor, "1 C H W"]
LargerPixels = UInt8[Tensor, "B C h w"]
NamedImage = tuple[str, One]
"""A name, such as stands beneath a picture of the comparison, and the picture, (1, C, H, W)."""
Claimed = Callable[[Sequence[str]], list[Path]]
"""Names of pictures -> their files, once it is sure that they may be written."""


class Result(NamedTuple):
    """One image to be generated: the end of its file's name, what stands beneath it, and what its file says of it."""

    name: str
    label: str
    facts: PngFacts


class ComparisonRow(NamedTuple):
    """What the comparison shows before and after the results of one image."""

    before: list[NamedImage]
    after: list[NamedImage]


def unchanged(pixels: Pixels) -> LargerPixels:
    """The results as the comparison shows them, unless it shows something else."""
    return pixels


def nothing(images: Images) -> dict[str, Any]:
    """No numbers."""
    return {}


@dataclass(frozen=True)
class EditPlan:
    """A task with everything that it was asked.

    Attributes:
        rows: one for each image given; one where there are none.
        results: those of the first row, then those of the second, ...
        steps: generates some of the results.
        count: steps of a chain.
        options: what its files say of the task.
        show: the results -> what the comparison shows of them.
        measure: the results -> numbers about them, by name.
        made: pictures that were made on the way, with the ends of their files' names.
        is_path: its results lie on a path, which a film goes along; else a film shows how they were drawn.
        size: height and width of a result; None: the pipeline's.
        work: of a step of one result, in network calls on an image of the pipeline's size.
        pull_backs: backward passes of a call.
        whole: whether the network sees all of a result at once, however large.
    """

    rows: list[ComparisonRow]
    results: list[Result]
    steps: Callable[[slice], Iterator[Step]]
    count: int
    options: PngFacts
    show: Callable[[Pixels], LargerPixels] = unchanged
    measure: Callable[[Images], dict[str, Any]] = nothing
    made: tuple[NamedImage, ...] = ()
    is_path: bool = False
    size: tuple[int, int] | None = None
    work: int = 1
    pull_backs: int = 0
    whole: bool = False


@dataclass(frozen=True)
class EditRequest:
    """What every task is asked. Every image given has `seeds` results, and each seed's class in `labels`."""

    pipeline: Pipeline
    settings: SamplingSettings
    paths: list[Path]
    seeds: range
    labels: Labels | None
    found: Namespace
    counted: StageProgress
    claimed: Claimed

    def files_of(self, names: Sequence[str]) -> list[Path]:
        """The task's picture and one of each name, once it is sure that they may be written."""
        task = self.found.task
        return self.claimed([task, *(f"{task}-{name}" for name in names)])

    @property
    def out(self) -> Path:
        """The folder of all files."""
        return self.files_of([])[0].parent

    def read(self, channels: int | None = None, height: int | None = None, width: int | None = None) -> list[Picture]:
        """The images given, in the pipeline's shape or this one."""
        own = self.pipeline.spec.shape
        shape = channels or own[0], height or own[1], width or own[2]
        return [read_picture(path, *shape) for path in self.paths]

    def afford(
        self,
        images: int,
        steps: int,
        work: int = 1,
        size: tuple[int, int] | None = None,
        pull_backs: int = 0,
        whole: bool = False,
    ) -> Price:
        """What chains of so many steps take, where they may be drawn.

        Args:
            work, size, pull_backs, whole: as in `EditPlan`.

        Raises:
            InputError: more than is usual and not meant, or than fits.
        """
        channels, height, width = self.pipeline.spec.shape
        numbers = channels * math.prod(size or (height, width))
        calls = steps * self.pipeline.sampler(self.settings).calls
        price = of_chains(self.pipeline, self.settings, images, calls, work, numbers, 2, pull_backs, whole)
        price = price._replace(disk=images * file_room(numbers))
        return allow(price, self.found.yes, self.pipeline.device, self.pipeline.processes, self.out, REMEDY)

    def refuse_more(self, images: int, size: tuple[int, int] | None = None) -> None:
        """Before any of so many images of this size is made.

        Raises:
            InputError: more than fit into memory.
        """
        channels, height, width = self.pipeline.spec.shape
        refuse_more_than_is_free(
            4 * images * channels * math.prod(size or (height, width)), self.pipeline.device, REMEDY
        )

    @property
    def all_seeds(self) -> list[int]:
        """Of all results."""
        return [*self.seeds] * max(1, len(self.paths))

    def labels_of(self, part: slice) -> Labels | None:
        """Of some of all results."""
        return None if self.labels is None else self.labels.repeat(max(1, len(self.paths)))[part]

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


def one_by_one(pixels: Pixels) -> list[One]:
    """A batch as pictures."""
    return [pixels[i : i + 1] for i in range(len(pixels))]


def numbers_of(given: list[Picture]) -> list[str]:
    """What the names of each image's files begin with, where there are several images."""
    return [f"{i}-" for i in range(len(given))] if len(given) > 1 else [""]


def _origins(given: list[Picture]) -> list[tuple[str, PngFacts]]:
    """The number of each image given, and what the files of its results say of it."""
    facts = [{"image sha256": picture.digest} for picture in given] or [{}]
    return [*zip(numbers_of(given), facts, strict=True)]


class Done(NamedTuple):
    """The files written, and what was measured."""

    files: list[Path]
    numbers: dict[str, Any]
    price: Price


def edit(
    task: str, plan_of: Callable[[EditRequest], EditPlan], pipeline: Pipeline, settings: SamplingSettings,
    found: Namespace, seeds: range, claimed: Claimed, film: Path | None,
) -> Done:  # fmt: skip
    """Generates what the task asks for, and writes its files.

    Args:
        claimed: names of results -> their files, once it is sure that they may be written.

    Raises:
        InputError: something asked for that does not fit the pipeline, or files of others that are there already.
        CannotWrite: one of them cannot be written.
    """
    with counting() as counted:
        paths = [Path(image) for image in found.images]
        asked = EditRequest(pipeline, settings, paths, seeds, None, found, counted, claimed)
        asked.refuse_more(len(seeds) * max(1, len(paths)))
        asked = replace(asked, labels=labels_for(pipeline, found.classes, len(seeds)))
        plan = plan_of(asked)
        names = [name for name, _ in plan.made] + [result.name for result in plan.results]
        files, most = asked.files_of(names), filmed(pipeline.spec.shape)
        price = asked.afford(len(plan.results), plan.count, plan.work, plan.size, plan.pull_backs, plan.whole)
        facts = {"task": task, **plan.options, **how_generated(pipeline, settings)}
        finished, places = Finished(asked.out, len(names)), iter(files[1:])

        def keep(pixels: UInt8[Tensor, "C H W"], own: PngFacts) -> None:
            finished.write(pixels, next(places), {**own, **facts})

        try:
            for _, made in plan.made:
                keep(made[0], {})
            images, frames = _generate(plan, pipeline.compute.chunk, most, counted, price, keep)
        except KeyboardInterrupt as stop:
            finished.tell_of(stop, found.json)
            raise
    numbers, pixels = plan.measure(images), to_pixels(images)
    _write_comparison(plan, pixels, files[0], {**_shared(plan), **facts})
    if film and plan.is_path:
        pictures.save_film(pictures.morph(pixels, [result.label for result in plan.results]), film)
    elif film:
        _write_film(frames, film)
        if most < len(plan.results):
            say(f"{film} shows the first {len(frames[0].x)} of {len(plan.results)} images")
    return Done([*files, *([film] if film else [])], numbers, price)


def walk(steps: Iterator[Step], count: int, what: str, counted: StageProgress) -> Images:
    """Where a chain of so many steps ends."""
    for number, step in enumerate(steps, 1):
        counted(what, number, count)
        end = step.x_s
    return end


def _generate(
    plan: EditPlan,
    chunk: int,
    most: int,
    counted: StageProgress,
    price: Price,
    keep: Callable[[UInt8[Tensor, "C H W"], PngFacts], None],
) -> Generated:
    """All results, (B, C, H, W) in [-1, 1], and frames of the first `most` of them, for a film.

    Args:
        price: said when the first step is done.
        keep: given each result, and what its file says of it alone, as soon as it is finished.
    """
    count = len(plan.results)

    def steps_of(part: slice) -> Iterator[Step]:
        steps = plan.steps(part)
        return steps if part.start else told_after_first(steps, price)

    def finished(part: slice, images: Tensor) -> None:
        for pixels, result in zip(to_pixels(images), plan.results[part], strict=True):
            keep(pixels, result.facts)

    parts = [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    frames = Keep(range(min(most, count)), KEPT, after=True)
    on_progress = partial(counted, "generating")
    return generate(steps_of, parts, plan.count, frames, Tensor.cpu, on_progress=on_progress, finished=finished)


def _shared(plan: EditPlan) -> PngFacts:
    """What the comparison says of its results: each fact of theirs, all its values."""
    every = {key: dict.fromkeys(result.facts[key] for result in plan.results) for key in plan.results[0].facts}
    return {key: ", ".join(values) for key, values in every.items()}


def _write_comparison(plan: EditPlan, pixels: Pixels, file: Path, facts: PngFacts) -> None:
    """The rows beneath one another; one row alone, where it is too long, in several lines."""
    each = len(plan.results) // len(plan.rows)
    shown = plan.show(pixels)
    line: list[NamedImage] = []
    for i, row in enumerate(plan.rows):
        mine = range(i * each, (i + 1) * each)
        line += [*row.before, *((plan.results[k].label, shown[k : k + 1]) for k in mine), *row.after]
    images = torch.cat(pictures.alike([picture for _, picture in line]))
    columns = len(line) // len(plan.rows)
    picture = pictures.grid(images, columns if columns <= WIDE else None, labels=[label for label, _ in line])
    pictures.save_png(picture, file, facts)


def _write_film(frames: list[Frame], file: Path) -> None:
    x_s, x0 = ([to_pixels(state) for state in states] for states in zip(*((f.x, f.x0) for f in frames), strict=True))
    film = pictures.film(x_s, x0, [frame.t for frame in frames], names=("x after the step", "estimate of x₀"))
    pictures.save_film(film, file)
