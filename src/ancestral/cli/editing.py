"""The work that all tasks of `ancestral edit` share: drawing what a plan says, and the files of it."""

from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from ancestral.cli.drawing import FILMED, KEPT, bare, how_drawn, labels_for, numbered
from ancestral.cli.edit_inputs import Picture, read_picture
from ancestral.cli.output import counting
from ancestral.config import SamplingSettings
from ancestral.data.fitting import Progress
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.sampling.loop import Step
from ancestral.tensors import Images, Labels, Pixels, to_pixels
from ancestral.viz import pictures

WIDE = 13
"""Pictures beside each other in a comparison of one image, at most."""
Facts = dict[str, str]
One = UInt8[Tensor, "1 C H W"]
Larger = UInt8[Tensor, "B C h w"]
Shown = tuple[str, One]
"""A name, such as stands beneath a picture of the comparison, and the picture, (1, C, H, W)."""


class Result(NamedTuple):
    """One image to be drawn: the end of its file's name, what stands beneath it, and what its file says of it."""

    name: str
    label: str
    facts: Facts


class Row(NamedTuple):
    """What the comparison shows before and after the results of one image."""

    before: list[Shown]
    after: list[Shown]


def unchanged(pixels: Pixels) -> Larger:
    """The results as the comparison shows them, unless it shows something else."""
    return pixels


def nothing(images: Images) -> dict[str, Any]:
    """No numbers."""
    return {}


@dataclass(frozen=True)
class Plan:
    """A task with everything that it was asked.

    Attributes:
        rows: one for each image given; one where there are none.
        results: those of the first row, then those of the second, ...
        steps: draws some of the results.
        count: steps of a chain.
        options: what its files say of the task.
        show: the results -> what the comparison shows of them.
        measure: the results -> numbers about them, by name.
        made: pictures that were made on the way, with the ends of their files' names.
    """

    rows: list[Row]
    results: list[Result]
    steps: Callable[[slice], Iterator[Step]]
    count: int
    options: Facts
    show: Callable[[Pixels], Larger] = unchanged
    measure: Callable[[Images], dict[str, Any]] = nothing
    made: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What every task is asked. Every image given has `seeds` results, and each seed's class in `labels`."""

    pipeline: Pipeline
    settings: SamplingSettings
    paths: list[Path]
    seeds: range
    labels: Labels | None
    found: Namespace
    counted: Progress

    def read(self, channels: int | None = None, height: int | None = None, width: int | None = None) -> list[Picture]:
        """The images given, in the pipeline's shape or this one."""
        own = self.pipeline.spec.shape
        shape = channels or own[0], height or own[1], width or own[2]
        return [read_picture(path, *shape) for path in self.paths]

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
        return "none" if self.labels is None else self.pipeline.class_names[int(self.labels[i])]


def one_by_one(pixels: Pixels) -> list[One]:
    """A batch as pictures."""
    return [pixels[i : i + 1] for i in range(len(pixels))]


def numbers_of(given: list[Picture]) -> list[str]:
    """What the names of each image's files begin with, where there are several images."""
    return [f"{i}-" for i in range(len(given))] if len(given) > 1 else [""]


def _origins(given: list[Picture]) -> list[tuple[str, Facts]]:
    """The number of each image given, and what the files of its results say of it."""
    facts = [{"image sha256": picture.digest} for picture in given] or [{}]
    return [*zip(numbers_of(given), facts, strict=True)]


class Done(NamedTuple):
    """The files written, and what was measured."""

    files: list[Path]
    numbers: dict[str, Any]


def edit(
    task: str, plan_of: Callable[[Asked], Plan], pipeline: Pipeline, settings: SamplingSettings, found: Namespace,
    seeds: range, out: Path, film: Path | None,
) -> Done:  # fmt: skip
    """Draws what the task asks for, and writes its files.

    Raises:
        InputError: something asked for that does not fit the pipeline, or files that are there already.
        CannotWrite: one of them cannot be written.
    """
    with counting() as counted:
        paths = [Path(image) for image in found.images]
        asked = Asked(pipeline, settings, paths, seeds, labels_for(pipeline, found.classes, len(seeds)), found, counted)
        plan = plan_of(asked)
        names = [name for name, _ in plan.made] + [result.name for result in plan.results]
        files = [out / f"{task}.png", *(out / f"{task}-{name}.png" for name in names)]
        _refuse_to_overwrite([*files, *([film] if film else [])], found.overwrite)
        images, frames = _draw(plan, pipeline.compute.chunk, counted)
    facts = {"task": task, **plan.options, **how_drawn(pipeline, settings)}
    pixels = to_pixels(images)
    numbers = plan.measure(images)
    _write_comparison(plan, pixels, files[0], {**_shared(plan), **facts})
    bares = [
        *((made[0], {}) for _, made in plan.made),
        *zip(pixels, (each.facts for each in plan.results), strict=True),
    ]
    for (image, own), file in zip(bares, files[1:], strict=True):
        pictures.save_png(bare(image), file, {**own, **facts})
    if film:
        _write_film(frames, film)
        files.append(film)
    return Done(files, numbers)


def walk(steps: Iterator[Step], count: int, what: str, counted: Progress) -> Images:
    """Where a chain of so many steps ends."""
    for number, step in enumerate(steps, 1):
        counted(what, number, count)
        end = step.x
    return end


def _draw(plan: Plan, chunk: int, counted: Progress) -> tuple[Images, list[Step]]:
    """All results on the CPU, and the steps of the first of them that a film shows."""
    kept = {*pictures.pick(range(plan.count), KEPT)}
    starts, ends, frames = range(0, len(plan.results), chunk), [], []
    for number, start in enumerate(starts):
        steps = plan.steps(slice(start, start + chunk))
        for i, step in enumerate(numbered(steps, number * plan.count, len(starts) * plan.count, counted)):
            if start == 0 and i in kept:
                frames.append(step._replace(x=step.x[:FILMED].cpu(), x0=step.x0[:FILMED].cpu()))
        ends.append(step.x.cpu())
    return torch.cat(ends), frames


def _refuse_to_overwrite(files: list[Path], overwrite: bool) -> None:
    there = [file for file in files if file.exists()]
    if there and not overwrite:
        raise InputError(
            f"expected {there[0]} not to be there yet; choose another folder with --out, or --overwrite it"
        )


def _shared(plan: Plan) -> Facts:
    """What the comparison says of its results: each fact of theirs, all its values."""
    every = {key: dict.fromkeys(result.facts[key] for result in plan.results) for key in plan.results[0].facts}
    return {key: ", ".join(values) for key, values in every.items()}


def _write_comparison(plan: Plan, pixels: Pixels, file: Path, facts: Facts) -> None:
    """The rows beneath one another; one row alone, where it is too long, in several lines."""
    each = len(plan.results) // len(plan.rows)
    shown = plan.show(pixels)
    line: list[Shown] = []
    for i, row in enumerate(plan.rows):
        mine = range(i * each, (i + 1) * each)
        line += [*row.before, *((plan.results[k].label, shown[k : k + 1]) for k in mine), *row.after]
    channels = max(picture.shape[1] for _, picture in line)
    images = torch.cat([picture.expand(-1, channels, -1, -1) for _, picture in line])
    columns = len(line) // len(plan.rows)
    picture = pictures.grid(images, columns if columns <= WIDE else None, labels=[label for label, _ in line])
    pictures.save_png(picture, file, facts)


def _write_film(frames: list[Step], file: Path) -> None:
    x_s, x0 = ([to_pixels(state) for state in states] for states in zip(*((f.x, f.x0) for f in frames), strict=True))
    film = pictures.film(x_s, x0, [frame.s for frame in frames], names=("x after the step", "estimate of x₀"))
    pictures.save_film(film, file)
