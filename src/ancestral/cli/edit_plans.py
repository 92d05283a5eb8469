"""The tasks of `ancestral edit`: what each was asked in words -> its plan. The generating is in editing.py."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ancestral import edits
from ancestral.cli.edit_inputs import MOST_PIXELS, Picture, numbers, read_mask, real, size_of
from ancestral.cli.edit_restoring import colorize, deblur, enlarge
from ancestral.cli.editing import ComparisonRow, EditPlan, EditRequest, LargerPixels, One, PngFacts, one_by_one, walk
from ancestral.cli.options import whole
from ancestral.cli.pricing import told_after_first
from ancestral.config import MOST_SEED, MOST_TIMESTEPS
from ancestral.editing.canvas import num_starts
from ancestral.editing.inpaint import Mask, Rounds, extended, outside_box
from ancestral.editing.interpolate import path
from ancestral.editing.tile import seam
from ancestral.errors import InputError
from ancestral.sampling.loop import Step
from ancestral.tensors import Data, Images, Pixels, from_pixels, mean_over_image, to_pixels

MOST_POINTS, MOST_ROUNDS = 10_000, 10_000
TILINGS = 2
"""Of a texture, in each direction of the picture that shows its seams."""
SHOWN_NOISE = 3.0
"""Deviations of noise that its picture shows from black to white."""


def inpaint(asked: EditRequest) -> EditPlan:
    """`ancestral edit inpaint`."""
    given, (_, height, width) = asked.read(), asked.pipeline.spec.shape
    keep = _asked_keep(asked, given, height, width)
    rows = [ComparisonRow([("image", picture.pixels), ("mask", _pictured(keep))], []) for picture in given]
    return _filled(asked, given, _floats(asked, given), keep, rows, {"box": asked.found.box, "mask": asked.found.mask})


def outpaint(asked: EditRequest) -> EditPlan:
    """`ancestral edit outpaint`."""
    names = "TOP,RIGHT,BOTTOM,LEFT"
    margins, given = edits.Margins(*numbers(asked.found.margins, names, "--margins", MOST_PIXELS)), asked.read()
    if not any(margins):
        raise InputError("expected a margin of more than 0 pixels, got none; there is nothing to generate")
    _, height, width = asked.pipeline.spec.shape
    size = height + margins.top + margins.bottom, width + margins.left + margins.right
    asked.refuse_more(len(given) * len(asked.seeds), size)
    canvas, keep = extended(_floats(asked, given), margins.top, margins.bottom, margins.left, margins.right)
    each = len(asked.seeds)
    rows = [ComparisonRow([("image", to_pixels(canvas[i * each : i * each + 1]))], []) for i in range(len(given))]
    return _filled(asked, given, canvas, keep, rows, {"margins": asked.found.margins})


def vary(asked: EditRequest) -> EditPlan:
    """`ancestral edit vary`."""
    strength, given = real(asked.found.strength, "--strength"), asked.read()
    images = _floats(asked, given)

    def steps(part: slice) -> Iterator[Step]:
        seeds, labels = asked.all_seeds[part], asked.labels_of(part)
        return edits.vary(asked.pipeline, images[part], strength, seeds, labels, asked.settings)

    count = len(edits.grid_of_strength(asked.pipeline, strength, asked.settings)) - 1
    return EditPlan(_images(given), asked.of_seeds(given), steps, count, {"strength": str(strength)})


def invert(asked: EditRequest) -> EditPlan:
    """`ancestral edit invert`."""
    given = asked.read()
    results = asked.of_images(given, "again")
    asked.files_of([result.name for result in results])  # before the work that this plan begins with
    images = torch.cat([from_pixels(picture.pixels) for picture in given])
    x_T = _inverted(asked, images)
    noises = one_by_one(to_pixels(x_T / SHOWN_NOISE).cpu())
    rows = [
        ComparisonRow([("image", p.pixels), ("its noise", noise)], []) for p, noise in zip(given, noises, strict=True)
    ]

    def measure(again: Images) -> dict[str, Any]:
        return {"round_trip_error": mean_over_image((again - images) ** 2).sqrt().tolist()}

    options = {"corrections": asked.found.corrections}
    return EditPlan(rows, results, _from(asked, x_T), asked.settings.steps, options, measure=measure)


def interpolate(asked: EditRequest) -> EditPlan:
    """`ancestral edit interpolate`."""
    points = whole(asked.found.points, "--points", 2, MOST_POINTS)
    if (len(asked.paths), asked.found.seeds is None) not in ((2, True), (0, False)):
        raise InputError(
            f"expected two images, or --seeds A,B and none, got {len(asked.paths)}; name what to go between"
        )
    asked.refuse_more(points)
    given, results = asked.read(), asked.of_points(points)
    asked.files_of([result.name for result in results])
    if given:
        ends = _inverted(asked, torch.cat([from_pixels(picture.pixels) for picture in given]))
        options = {f"image {name} sha256": p.digest for name, p in zip("AB", given, strict=True)}
        options |= {"corrections": asked.found.corrections, "grain": asked.found.grain}
        row = ComparisonRow([("A", given[0].pixels)], [("B", given[1].pixels)])
    else:
        ends = edits.noise_of(asked.pipeline, numbers(asked.found.seeds, "A,B", "--seeds", MOST_SEED))
        options, row = {"seeds": asked.found.seeds}, ComparisonRow([], [])
    between = path(ends[:1], ends[1:], points).flatten(0, 1)
    return EditPlan([row], results, _from(asked, between), asked.settings.steps, options, is_path=True)


def canvas(asked: EditRequest) -> EditPlan:
    """`ancestral edit canvas`."""
    height, width = size_of(asked.found.size, "--size")
    stride = _stride(asked)

    def steps(part: slice) -> Iterator[Step]:
        seeds, labels = asked.all_seeds[part], asked.labels_of(part)
        return edits.canvas(asked.pipeline, height, width, seeds, labels, asked.settings, stride)

    options = {"size": f"{height}x{width}", "stride": asked.found.stride}
    size, work = (height, width), _windows(asked, height, width, stride, wraps=False)
    return EditPlan(
        [ComparisonRow([], [])], asked.of_seeds([]), steps, asked.settings.steps, _said(options), size=size, work=work
    )


def tile(asked: EditRequest) -> EditPlan:
    """`ancestral edit tile`."""
    _, *own = asked.pipeline.spec.shape
    height, width = own if asked.found.size is None else size_of(asked.found.size, "--size")

    def steps(part: slice) -> Iterator[Step]:
        seeds, labels = asked.all_seeds[part], asked.labels_of(part)
        return edits.tile(asked.pipeline, height, width, seeds, labels, asked.settings, asked.found.by)

    def tiled(pixels: Pixels) -> LargerPixels:
        return pixels.repeat(1, 1, TILINGS, TILINGS)

    def measure(images: Images) -> dict[str, Any]:
        return {"seam_ratio": float(seam(images.clamp(-1, 1)).ratio)}

    options = {"size": f"{height}x{width}", "by": asked.found.by}
    whole = asked.found.by != "windows"
    work = -(-height * width // math.prod(own)) if whole else _windows(asked, height, width, None, wraps=True)
    return EditPlan(
        [ComparisonRow([], [])],
        asked.of_seeds([]),
        steps,
        asked.settings.steps,
        options,
        tiled,
        measure,
        size=(height, width),
        work=work,
        whole=whole,
    )


def _filled(
    asked: EditRequest,
    given: list[Picture],
    images: Images,
    keep: Mask,
    rows: list[ComparisonRow],
    options: dict[str, str | None],
) -> EditPlan:
    """By RePaint, of whatever size."""
    rounds = Rounds(
        whole(asked.found.rounds, "--rounds", 1, MOST_ROUNDS), whole(asked.found.jump, "--jump", 1, MOST_TIMESTEPS)
    )
    stride = _stride(asked) if asked.found.task == "outpaint" else None

    def steps(part: slice) -> Iterator[Step]:
        seeds, labels = asked.all_seeds[part], asked.labels_of(part)
        return edits.inpaint(asked.pipeline, images[part], keep, seeds, labels, asked.settings, rounds, stride)

    said = _said({**options, "rounds": str(rounds.count), "jump": str(rounds.jump)})
    count = rounds.steps(asked.pipeline.timesteps(asked.settings))
    height, width = images.shape[-2:]
    work = _windows(asked, height, width, stride, wraps=False)
    return EditPlan(rows, asked.of_seeds(given), steps, count, said, size=(height, width), work=work)


def _asked_keep(asked: EditRequest, given: list[Picture], height: int, width: int) -> Mask:
    mask, box = asked.found.mask, asked.found.box
    if (mask is None) == (box is None):
        raise InputError(
            "expected --mask FILE or --box TOP,LEFT,BOTTOM,RIGHT, one of them; it says what to generate anew"
        )
    if mask is not None:
        return read_mask(Path(mask), height, width, [picture.size for picture in given])
    top, left, bottom, right = numbers(box, "TOP,LEFT,BOTTOM,RIGHT", "--box", MOST_PIXELS)
    keep = outside_box(height, width, top, left, bottom, right)
    if not bool(keep.any()):
        raise InputError(
            f"expected a box that keeps some of {height}x{width} pixels, got {box}; generate anew by `sample`"
        )
    return keep


def _floats(asked: EditRequest, given: list[Picture]) -> Images:
    """Every image given once for each seed, in [-1, 1]."""
    return torch.cat([from_pixels(picture.pixels) for picture in given]).repeat_interleave(len(asked.seeds), 0)


def _images(given: list[Picture]) -> list[ComparisonRow]:
    return [ComparisonRow([("image", picture.pixels)], []) for picture in given]


def _pictured(keep: Mask) -> One:
    """As in a mask's file: white is generated anew."""
    return (~keep)[None, None].to(torch.uint8) * 255


def _inverted(asked: EditRequest, images: Images) -> Data:
    labels = None if asked.labels is None else asked.labels[:1].expand(len(images))
    seeds = range(asked.seeds[0], asked.seeds[0] + len(images))
    corrections = whole(asked.found.corrections, "--corrections", 0, MOST_ROUNDS)
    grain = real(asked.found.grain, "--grain")
    price = asked.afford(len(images), asked.settings.steps, 1 + corrections)
    steps = edits.invert(asked.pipeline, images, labels, asked.settings, corrections, grain, seeds)
    return walk(told_after_first(steps, price), asked.settings.steps, "inverting", asked.counted)


def _from(asked: EditRequest, x_T: Data) -> Callable[[slice], Iterator[Step]]:
    def steps(part: slice) -> Iterator[Step]:
        labels = None if asked.labels is None else asked.labels[:1].expand(len(x_T[part]))
        return edits.from_noise(asked.pipeline, x_T[part], labels, asked.settings)

    return steps


def _windows(asked: EditRequest, height: int, width: int, stride: int | None, wraps: bool) -> int:
    """Calls that a step of a canvas of this size takes; 1 where the network sees it whole."""
    _, *own = asked.pipeline.spec.shape
    if [height, width] == own and not wraps:
        return 1
    between = max(1, min(own) // 2 if stride is None else stride)
    return math.prod(
        num_starts(length, window, between, wraps) for length, window in zip((height, width), own, strict=True)
    )


def _stride(asked: EditRequest) -> int | None:
    return None if asked.found.stride is None else whole(asked.found.stride, "--stride", 1, MOST_PIXELS)


def _said(options: dict[str, str | None]) -> PngFacts:
    """Those that were asked for."""
    return {name: value for name, value in options.items() if value is not None}


PLANS: dict[str, Callable[[EditRequest], EditPlan]] = {
    "inpaint": inpaint,
    "outpaint": outpaint,
    "vary": vary,
    "invert": invert,
    "interpolate": interpolate,
    "colorize": colorize,
    "enlarge": enlarge,
    "deblur": deblur,
    "canvas": canvas,
    "tile": tile,
}
