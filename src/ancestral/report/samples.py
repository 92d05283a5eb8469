"""The images generated for the page: all of them, how some of them came about, and the training images nearest to
them. Has the network learnt to generate, or learnt its images by heart?
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ancestral.condition import Condition
from ancestral.data.imageset import ImageSet
from ancestral.data.shapes import compared_with
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.metrics import nearest
from ancestral.pipeline import Pipeline
from ancestral.pipeline.generate import FinishedPart, Frame, Keep, collected
from ancestral.report.facts import RunFacts, number
from ancestral.report.html import Html, data_uri, element, picture, section, styled
from ancestral.report.pictures import captioned, size_of, tile, wall
from ancestral.tensors import Labels, Pixels
from ancestral.text import shortened
from ancestral.viz.boxes import Box
from ancestral.viz.pictures import film, film_bytes, pick, png_bytes

MOST_CLASSES = 20  # that are shown
PER_CLASS = 8  # samples of each class; of few classes, as many times more as make about 80 in all
SAMPLES = 80
UNCONDITIONAL = 40  # samples where there are no classes
PAGE_NUMBERS = 1_500_000
"""Pixels times channels of all samples together: large images are fewer, lest the page weigh too much."""
FILM_NUMBERS = 16_000_000  # the same of all frames of the film, as shown
FILM_WIDTH = 400  # of the film's grids, about, px
STRIP_STEPS = 12
FEWEST_FRAMES, MOST_FRAMES = 12, 36
CONTACTS = 32  # training images shown
SHOWN = 16  # samples that are shown beside the training image nearest to them
MOST_TRAIN_BYTES = 2**31  # of training images that samples are compared with
MOST_HELD_OUT = 512  # held-out images whose distances are measured for comparison


@dataclass(frozen=True)
class Samples:
    """Samples of seeds 0, 1, 2, ..., sorted by class, and the way that led to some of them."""

    pixels: Pixels
    labels: Labels | None
    shown: list[int]  # which of the samples the frames show
    frames: list[Frame]  # their states and estimates of x0 as pixels, at every timestep from T to 0
    prompts: list[str] | None = None  # the texts that were asked for; None: none were


def generate(pipeline: Pipeline, train: ImageSet) -> Samples:
    """Samples of every class (of at most 20), or plain ones, with the settings of the run; of attributes and texts,
    where the network knows some, those of training images, of the same class where there are classes.
    """
    per_class, count = sample_counts(pipeline)
    labels = torch.arange(count) // per_class if pipeline.num_classes else None
    # the film: two rows, of different classes as far as there are any
    columns = film_columns(pipeline)
    of_each_class = list(range(0, count, per_class)) if pipeline.num_classes else []
    every = of_each_class + [i for i in range(count) if i not in of_each_class]
    shown = every[: columns * (2 if columns > 2 else 1)]
    keep = Keep(shown, decode=pipeline.decode)
    places = _places(train, labels, count)
    told = pipeline.spec.attributes or pipeline.spec.text
    condition = pipeline.known_of(train, places)._replace(labels=labels) if told else Condition(labels)
    events = pipeline.generating(range(count), condition, None, keep)
    pixels, frames = collected([event for event in events if isinstance(event, FinishedPart)], keep)
    return Samples(pixels, labels, shown, frames, train.captions_at(places) if condition.tokens is not None else None)


def _places(train: ImageSet, labels: Labels | None, count: int) -> np.ndarray:
    """Of as many training images, of these classes where there are any."""
    places = np.arange(count) % len(train)
    if labels is not None and train.labels is not None:
        each, times = np.unique(labels.numpy(), return_counts=True)
        alike = [np.flatnonzero(train.labels == label) for label in each]  # empty: of a class without images the first
        places = np.concatenate([np.resize(some, n) for some, n in zip(alike, times, strict=True)])
    return places


def sample_counts(pipeline: Pipeline) -> tuple[int, int]:
    """(samples of a class, samples in all)."""
    affordable = max(8, PAGE_NUMBERS // math.prod(pipeline.spec.shape))
    if not pipeline.num_classes:
        return min(UNCONDITIONAL, affordable), min(UNCONDITIONAL, affordable)
    classes = min(pipeline.num_classes, MOST_CLASSES)
    wanted = PER_CLASS * max(1, min(4, SAMPLES // (PER_CLASS * classes)))
    per_class = max(1, min(wanted, affordable // classes))
    return per_class, per_class * classes


def film_columns(pipeline: Pipeline) -> int:
    return max(1, min(4, FILM_WIDTH // pipeline.spec.width))


def samples(facts: RunFacts, samples: Samples) -> Html:
    """Every sample, by class where there are classes."""
    pixels, labels, names = samples.pixels, samples.labels, facts.pipeline.spec.class_names
    of = [""] * len(pixels) if labels is None else [f" of class {shortened(names[label])}" for label in labels.tolist()]
    images = [tile(pixels[i : i + 1], f"sample {i}{kind}, generated by the network") for i, kind in enumerate(of)]
    if samples.prompts is not None:
        images = [captioned(text or "no text", image) for text, image in zip(samples.prompts, images, strict=True)]
    if labels is None:
        asked = "" if samples.prompts is None else " by the captions of training images"
        words = f"{len(images)} images{asked}, none chosen."
        return section("samples", "Samples", element("p", words), wall(images, size_of(pixels)))
    columns = "four" if size_of(pixels) == "large" else "eight"
    ends = torch.bincount(labels).cumsum(0).tolist()
    cards = [
        styled("figure", "class", element("figcaption", shortened(name)), styled("div", columns, *images[start:stop]))
        for name, start, stop in zip(names, [0, *ends], ends, strict=False)
    ]
    few = f" The first {len(cards)} of {facts.pipeline.num_classes} classes." if len(cards) == MOST_CLASSES else ""
    words = f"{len(images)} images by the class that was asked for, none chosen.{few}"
    return section("samples", "Samples", element("p", words), styled("div", "classes", *cards))


def becoming(facts: RunFacts, samples: Samples) -> Html:
    """Film of several samples and strip of one."""
    words = (
        "xₜ is all noise at the start and the sample at t = 0. The estimate of x₀ is the image that the network makes "
        "out in xₜ: first a blur, then ever sharper."
    )
    steps = [
        captioned(f"t = {t}", tile(x_t[:1], f"x at t = {t}"), tile(x0[:1], f"estimate of the image at t = {t}"))
        for t, x_t, x0 in pick(samples.frames, STRIP_STEPS)
    ]
    title = "One of them, step by step: xₜ above, estimate of x₀ below"
    strip = element("div", element("h3", title), wall(steps, "step"))
    reel = element("div", element("h3", f"{len(samples.shown)} samples being generated"), _film(facts, samples))
    return section("film", "How they are generated", element("p", words), styled("div", "beside", reel, strip))


def data(facts: RunFacts) -> Html:
    """A contact sheet of training images, and how the images are divided."""
    train = facts.parts.train
    shown = train.sliced(0, CONTACTS)
    pixels = as_pixels(shown)
    figures = [captioned(_said(shown, i), tile(pixels[i : i + 1], f"training image {i}")) for i in range(len(shown))]
    classes = f" {len(train.class_names)} classes." if train.class_names else ""
    others = f"{len(facts.parts.validation):,} for validation, {len(facts.parts.test):,} for test"
    unusable = f" {len(facts.parts.bad):,} files could not be used." if facts.parts.bad else ""
    words = (
        f"{len(train):,} training images, {others}.{classes}{unusable} These are the first {len(shown)} training "
        "images, in shuffled order."
    )
    return section("data", "Training images", element("p", words), wall(figures, size_of(pixels)))


def copies(facts: RunFacts, samples: Samples) -> Html:
    """The samples that lie nearest to a training image, each beside it: if there are copies, they are here."""
    every = facts.parts.train
    some = compared_with(every).sliced(0, max(1, MOST_TRAIN_BYTES // math.prod(every.shape)))
    train = as_pixels(some)
    found = nearest(samples.pixels, train)
    closest = found.distance.argsort()[:SHOWN].tolist()
    figures = []
    for i in closest:
        j, distance = int(found.indices[i]), float(found.distance[i])
        generated = tile(samples.pixels[i : i + 1], f"sample {i}")
        copied = tile(train[j : j + 1], f"training image {j}")
        figures.append(captioned(number(distance), styled("div", "row", generated, copied)))
    words = (
        f"The {len(closest)} of {len(samples.pixels)} samples that lie nearest to a training image, nearest first: "
        f"each sample left, the training image right. Distances are L2 over pixels of 0..255."
    )
    if len(some) < len(every):
        words += f" Of {len(every):,} training images the first {len(some):,} were looked at."
    compared = "; no image was held out to compare it with"
    if (held_out := facts.held_out()) is not None:  # what an image that nobody copied has
        part, images = held_out[0], held_out[1].sliced(0, MOST_HELD_OUT)
        distance = float(nearest(as_pixels(images), train).distance.median())
        compared = f"; of {len(images):,} {part} images, which nobody trained on, {number(distance)}"
    medians = f"Median distance of the samples {number(float(found.distance.median()))}{compared}."
    shown = element("p", words), element("p", medians), wall(figures, "pair")
    return section("copies", "Nearest training images", *shown)


def _said(images: ImageSet, i: int) -> str:
    """What the data says of an image: its class, its caption, or nothing."""
    if images.labels is not None:
        return images.class_names[int(images.labels[i])]
    return images.captions[i] if images.captions else ""


def _film(facts: RunFacts, samples: Samples) -> Html:
    """The GIF; where the reader wants no motion, its last frame."""

    def shown(frames: list[Frame]) -> list[Box]:
        states, estimates = [each.x for each in frames], [each.x0 for each in frames]
        return film(states, estimates, [each.t for each in frames], film_columns(facts.pipeline))

    one = shown(samples.frames[:1])[0]
    numbers = one.width * one.height * facts.pipeline.spec.channels
    frames = shown(pick(samples.frames, max(FEWEST_FRAMES, min(MOST_FRAMES, FILM_NUMBERS // numbers))))
    last = data_uri(png_bytes(frames[-1]), "image/png")
    still = element("source", attributes={"media": "(prefers-reduced-motion: reduce)", "srcset": last})
    alt = f"film of {len(samples.shown)} samples: noise turns into images while the estimates below sharpen"
    moving = picture(film_bytes(frames, seconds=5.0), alt, frames[0].size, "card", "image/gif")
    return element("picture", still, moving)
