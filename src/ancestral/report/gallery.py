"""The sections one looks at: samples, the film and strip of how they came about, the images they were learnt from."""

import torch

from ancestral.data.imageset import ImageSet
from ancestral.evaluation.evaluate import as_pixels
from ancestral.generate import Frame
from ancestral.report.draws import FILM_NUMBERS, MOST_CLASSES, Draws, film_columns
from ancestral.report.facts import Facts
from ancestral.report.html import Html, data_uri, element, picture, section, styled
from ancestral.report.tiles import captioned, is_large, plain_wall, shortened, tile, wall
from ancestral.tensors import Pixels
from ancestral.viz.boxes import Box
from ancestral.viz.pictures import film, film_bytes, pick, png_bytes

STRIP_STEPS = 12
CONTACTS = 32
"""Training images shown."""
FEWEST_FRAMES, MOST_FRAMES = 12, 36


def samples(facts: Facts, draws: Draws) -> Html:
    """Every sample, by class where there are classes."""
    images = [tile(draws.pixels[i : i + 1], _sample_alt(facts, draws, i)) for i in draws.seeds]
    if draws.labels is None:
        return section(
            "samples", "Samples", element("p", f"{len(images)} images, none chosen."), plain_wall(images, draws.pixels)
        )
    columns = "four" if is_large(draws.pixels) else "eight"
    cards = [
        styled("figure", "class", element("figcaption", shortened(name)), styled("div", columns, *images[start:stop]))
        for name, start, stop in _by_class(facts, draws)
    ]
    few = f" The first {len(cards)} of {facts.pipeline.num_classes} classes." if len(cards) == MOST_CLASSES else ""
    words = f"{len(images)} images by the class that was asked for, none chosen.{few}"
    return section("samples", "Samples", element("p", words), styled("div", "classes", *cards))


def becoming(facts: Facts, draws: Draws) -> Html:
    """Film of several samples and strip of one."""
    words = (
        "xₜ is all noise at the start and the sample at t = 0. The estimate of x₀ is the image that the network makes "
        "out in xₜ: first a blur, then ever sharper."
    )
    strip = element(
        "div", element("h3", "One of them, step by step: xₜ above, estimate of x₀ below"), _strip(facts, draws)
    )
    reel = element("div", element("h3", f"{len(draws.shown)} samples being drawn"), _film(facts, draws))
    return section("film", "How they are drawn", element("p", words), styled("div", "beside", reel, strip))


def data(facts: Facts) -> Html:
    """A contact sheet of training images, and how the images are divided."""
    train = facts.parts.train
    shown = train.stretch(0, CONTACTS)
    pixels = as_pixels(shown)
    figures = [captioned(_said(shown, i), tile(pixels[i : i + 1], f"training image {i}")) for i in range(len(shown))]
    classes = f" {len(train.class_names)} classes." if train.class_names else ""
    others = f"{len(facts.parts.validation):,} for validation, {len(facts.parts.test):,} for test"
    parts = f"{len(train):,} training images, {others}."
    unusable = f" {len(facts.parts.bad):,} files could not be used." if facts.parts.bad else ""
    words = f"{parts}{classes}{unusable} These are the first {len(shown)} training images, in shuffled order."
    return section("data", "Training images", element("p", words), plain_wall(figures, pixels))


def _by_class(facts: Facts, draws: Draws) -> list[tuple[str, int, int]]:
    assert draws.labels is not None
    counts = torch.bincount(draws.labels)
    ends = counts.cumsum(0).tolist()
    return list(zip(facts.pipeline.spec.class_names, [0, *ends], ends, strict=False))


def _sample_alt(facts: Facts, draws: Draws, i: int) -> str:
    return f"sample {i}{class_of(facts, draws, i)}, drawn by the network"


def class_of(facts: Facts, draws: Draws, i: int) -> str:
    """` of class <name>`, or nothing."""
    if draws.labels is None:
        return ""
    return f" of class {shortened(facts.pipeline.spec.class_names[int(draws.labels[i])])}"


def _said(images: ImageSet, i: int) -> str:
    """What the data says of an image: its class, its caption, or nothing."""
    if images.labels is not None:
        return images.class_names[int(images.labels[i])]
    return images.captions[i] if images.captions else ""


def _film(facts: Facts, draws: Draws) -> Html:
    """The GIF; where the reader wants no motion, its last frame."""
    frames = _frames(facts, draws)
    still = element(
        "source",
        attributes={
            "media": "(prefers-reduced-motion: reduce)",
            "srcset": data_uri(png_bytes(frames[-1]), "image/png"),
        },
    )
    alt = f"film of {len(draws.shown)} samples: noise turns into images while the estimates below sharpen"
    moving = picture(film_bytes(frames, seconds=5.0), alt, frames[0].size, "card", "image/gif")
    return element("picture", still, moving)


def _frames(facts: Facts, draws: Draws) -> list[Box]:
    columns = film_columns(facts.pipeline)
    one = _film_of(draws.frames[:1], columns)[0]
    numbers = one.width * one.height * facts.pipeline.spec.channels
    return _film_of(pick(draws.frames, max(FEWEST_FRAMES, min(MOST_FRAMES, FILM_NUMBERS // numbers))), columns)


def _film_of(frames: list[Frame], columns: int) -> list[Box]:
    return film([each.x for each in frames], [each.x0 for each in frames], [each.t for each in frames], columns)


def _strip(facts: Facts, draws: Draws) -> Html:
    steps = [
        captioned(f"t = {t}", _at(x_t, f"x at t = {t}"), _at(x0, f"estimate of the image at t = {t}"))
        for t, x_t, x0 in pick(draws.frames, STRIP_STEPS)
    ]
    return wall(steps, "step")


def _at(images: Pixels, alt: str) -> Html:
    return tile(images[:1], alt)
