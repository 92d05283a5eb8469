"""Everything that is measured of a set of generated images, always beside the floors, as one JSON-able model.

A distance means little alone: it depends on the features and, the Fréchet distance above all, on the number of images.
So every comparison here is between n images on the left and m on the right, the same n and m throughout:

    generated against test          what counts: images nobody trained on
    generated against train         beside it; copying makes it lower than the floors' own gap explains
    train half against half         the floor: what two sets of one law score at these numbers
    train against test              the floor under `generated against test`
    gaussian features against test  a normal law fitted to the training features: what two moments alone can give
    gaussian images against test    a normal law fitted to the training pixels: the simplest model, to be beaten

The features are trained on training images that are not among those compared: of the ones they were trained on they
know too much, and real images of a small set look worse than generated ones beside them. At most half of the training
images are kept apart, and no more than are compared. Where too few are compared, nothing is said for or against them.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import InputError
from ancestral.evaluation import metrics
from ancestral.evaluation.features import Extractor, train_extractor
from ancestral.evaluation.inception import Inception
from ancestral.evaluation.metrics import Features, Nearest, few_images, memorisation, nearest
from ancestral.evaluation.settings import EvaluationSettings
from ancestral.files import read_json
from ancestral.migrations import evaluation as migrated
from ancestral.progress import StepwiseWork, finish
from ancestral.rng import generator
from ancestral.settings import Settings, parse
from ancestral.tensors import Labels, Pixels

Indices = Int64[Tensor, "_"]
FILE = "evaluation.json"  # where `ancestral evaluate RUN` leaves it in a run
PICTURE = "evaluation-nearest.png"  # and each of its pairs, a row: generated left, of training right
GAUSSIAN_IMAGES = 5000  # training images a Gaussian is fitted to, at most
PAIRS = 16  # generated images that are told with the training image nearest to them
MOST_BYTES = 2**32  # of packed images that are compared, which are all in memory then


class Number(Settings):
    """A measured number and its standard error, None where none is estimated."""

    name: Literal["frechet", "kernel", "precision", "recall", "density", "coverage", "agreement"]
    value: float
    standard_error: float | None


class Comparison(Settings):
    """Six numbers that compare two sets of images, of which the name says what is left and what is right."""

    name: str
    num_left: int
    num_right: int
    numbers: tuple[Number, ...]
    too_few: str = ""  # why nothing can be told by the numbers, so few images are compared; "" where it can

    def __getitem__(self, name: str) -> Number:
        """The number of this name."""
        return next(number for number in self.numbers if number.name == name)


class FeatureSpace(Settings):
    """What the features are, and how far to trust them. What is None is not known of Inception."""

    kind: Literal["labels", "transforms", "inception"]  # what the network was trained to tell
    width: int  # numbers to a feature vector
    num_classes: int | None  # that it tells apart
    accuracy: float | None  # share of the held-out images that it tells rightly
    num_held_out: int | None
    num_fitted: int | None = None  # it was trained on these, which are not compared; None also in older files: on all


class Nearness(Settings):
    """`metrics.Memorisation` by L2 distances over pixels of 0..255, or over features."""

    space: Literal["pixels", "features"]
    num_generated: int
    num_held_out: int
    num_training: int
    generated_median: float
    held_out_median: float
    too_few: str = ""  # why nothing can be told by it, so few images were there; "" where it can
    ratio: float | None
    near: float | None = None  # None in older files
    nearer: float


class NearestPair(Settings):
    """A generated image and the training image nearest to it: their places, and how far apart in L2 over 0..255."""

    generated: int
    training: int
    distance: float


class Evaluation(Settings):
    """Everything measured of a set of generated images."""

    num_generated: int  # images that were handed in; comparisons state how many of them they use
    features: FeatureSpace
    comparisons: tuple[Comparison, ...]  # generated images first, then the floors
    nearness: tuple[Nearness, ...]
    pairs: tuple[NearestPair, ...] = ()  # those that lie nearest to each other first; none in older files
    agreement: Number | None
    """Share of all generated images that the classifier sees as the class asked for; None where none was, or where it
    knows no labels."""

    def __getitem__(self, name: str) -> Comparison:
        """The comparison of this name."""
        return next(comparison for comparison in self.comparisons if comparison.name == name)


def read_evaluation(file: Path) -> Evaluation:
    """What `ancestral evaluate` wrote; an InputError where it cannot be read."""
    return parse(Evaluation, migrated(read_json(file)), str(file))


def evaluate(
    generated: Pixels,
    asked: Labels | None,
    parts: Parts,
    settings: EvaluationSettings = EvaluationSettings(),  # noqa: B008 (frozen)
    extractor: Extractor | Inception | None = None,
) -> Evaluation:
    """The end of `evaluating`."""
    return finish(evaluating(generated, asked, parts, settings, extractor))


def evaluating(
    generated: Pixels,
    asked: Labels | None,
    parts: Parts,
    settings: EvaluationSettings,
    extractor: Extractor | Inception | None = None,
) -> StepwiseWork[Evaluation]:
    """Measures `generated` against the test and training parts of its data set, beside the floors.

    The test part is held out: the classifier's accuracy, the primary comparison and the memorisation ratio stand on
    it. Nothing here touches the validation part.

    Args:
        asked: the class that each was asked to show, or None.
        extractor: None trains one on the training part, or takes it from the cache.
    """
    if tuple(generated.shape[1:]) != parts.train.shape:
        raise InputError(f"expected images of shape {parts.train.shape} (C, H, W), got {tuple(generated.shape[1:])}")
    num_left, num_right = check_counts(len(generated), parts, settings, extractor is None)
    train, test = as_pixels(parts.train), as_pixels(parts.test)
    order, num_fitted = _pick(len(train), settings), None
    if extractor is None:
        order, fitted = apart_of(parts, settings)
        extractor, num_fitted = (yield from extractor_of(parts, settings.seed, fitted)), len(fitted)
    picked = _pick(len(generated), settings)[:num_left]
    chosen = generated[picked]
    held_out = test[_pick(len(test), settings)][:num_right]
    left, right = order[:num_left], order[len(order) - num_right :]
    of_chosen, of_held_out, of_train = (extractor.features(pixels) for pixels in (chosen, held_out, train))
    some = order[:GAUSSIAN_IMAGES]
    normal_features = gaussian_like(of_train[some], num_left, settings.seed)
    normal_pixels = gaussian_like(train[some].flatten(1).double(), num_left, settings.seed).round().clamp(0, 255)
    normal_images = normal_pixels.to(torch.uint8).reshape(-1, *train.shape[1:])
    pairs = {
        "generated against test": (of_chosen, of_held_out),
        "generated against train": (of_chosen, of_train[right]),
        "train half against half": (of_train[left], of_train[right]),
        "train against test": (of_train[left], of_held_out),
        "gaussian features against test": (normal_features, of_held_out),
        "gaussian images against test": (extractor.features(normal_images), of_held_out),
    }
    in_pixels, in_features = nearest(chosen, train), nearest(of_chosen, of_train)
    known = {name: getattr(extractor, name) for name in ("kind", "num_classes", "accuracy", "num_held_out")}
    agreement = None
    if isinstance(extractor, Extractor) and (share := extractor.agreement(generated, asked)) is not None:
        error = math.sqrt(share * (1 - share) / len(generated))  # of a binomial share
        agreement = Number(name="agreement", value=share, standard_error=error)
    return Evaluation(
        num_generated=len(generated),
        features=FeatureSpace.model_validate({**known, "width": of_train.shape[1], "num_fitted": num_fitted}),
        comparisons=tuple(compare(name, *pair, settings.neighbours) for name, pair in pairs.items()),
        nearness=(
            nearness_of("pixels", in_pixels, nearest(held_out, train), len(train)),
            nearness_of("features", in_features, nearest(of_held_out, of_train), len(train)),
        ),
        pairs=tuple(nearest_pairs(picked, in_pixels)),
        agreement=agreement,
    )


def extractor_of(parts: Parts, seed: int, fitted: Indices | None = None) -> StepwiseWork[Extractor]:
    """The features of a classifier trained on the training images at the places `fitted`, or None: on all of them."""
    train, test = in_memory(parts.train), in_memory(parts.test)
    if fitted is not None:
        some = fitted.numpy()
        train = replace(train.ordered(some), hash=sha256(train.hash.encode() + some.tobytes()).hexdigest())
    return (yield from train_extractor(train, test, seed))


def apart_of(parts: Parts, settings: EvaluationSettings) -> tuple[Indices, Indices]:
    """(places of the training images that are compared, of those that the features look at)."""
    order = _pick(len(parts.train), settings)
    count = min(len(order) // 2, 2 * settings.max_images)
    return order[:count], order[count:]


def in_memory(images: ImageSet) -> ImageSet:
    """The same images, read now; of packed images 4 GiB at most."""
    if not isinstance(images.images, np.ndarray) and images.images.nbytes > MOST_BYTES:
        got = f"{images.images.nbytes / 2**30:.1f}; this is not measured for larger sets"
        raise InputError(f"expected at most {MOST_BYTES // 2**30} GiB of packed images to compare with, got {got}")
    return images.in_memory()


def as_pixels(images: ImageSet) -> Pixels:
    """(N, C, H, W) uint8, copied into memory from wherever the set lies, as `in_memory`."""
    return torch.from_numpy(np.array(np.moveaxis(in_memory(images).pixels(), -1, 1), order="C"))


def gaussian_like(rows: Float64[Tensor, "N D"], count: int, seed: int) -> Float64[Tensor, "M D"]:
    """`count` draws from the Gaussian fitted to `rows`: mean + zᵀ (rows - mean) / √(N - 1), z ~ N(0, I_N).

    Their covariance is that of the rows in the unbiased estimate, without ever forming the D x D matrix.
    """
    mean = rows.mean(dim=0)
    weights = torch.randn(count, len(rows), generator=generator(seed, "evaluation", "gaussian"), dtype=rows.dtype)
    return mean + weights @ (rows - mean) / math.sqrt(len(rows) - 1)


def check_counts(generated: int, parts: Parts, settings: EvaluationSettings, own: bool = True) -> tuple[int, int]:
    """(n, m): images on the left and on the right of every comparison, so that two halves of train suffice; `own`:
    whether some of the training images are kept for features of their own.
    """
    train = len(apart_of(parts, settings)[0] if own else parts.train)
    counts = min(generated, train // 2, settings.max_images), min(len(parts.test), train // 2, settings.max_images)
    least = max(settings.neighbours + 1, 3)
    if min(counts) < least:
        raise InputError(
            f"expected at least {least} generated images, {least} test images and {(4 if own else 2) * least} "
            f"training images to compare, got {generated}, {len(parts.test)} and {len(parts.train)} (max_images = "
            f"{settings.max_images}); generate more, add images, or set data.test higher"
        )
    return counts


def _pick(count: int, settings: EvaluationSettings) -> Shaped[Tensor, "N"]:
    """A seeded order, since sets may come sorted by class."""
    return torch.randperm(count, generator=generator(settings.seed, "evaluation", "pick", count))


def compare(name: str, left: Features, right: Float64[Tensor, "M D"], k: int) -> Comparison:
    """All six numbers; `right` is the real side of precision and its kin."""
    counts = metrics.neighbourhood(real=right, generated=left, k=k)
    distances = {"frechet": metrics.frechet_estimate(left, right), "kernel": metrics.kernel_distance(left, right)}
    numbers = {**distances, **counts._asdict()}
    rows = tuple(Number.model_validate({"name": n, **e._asdict()}) for n, e in numbers.items())
    few = few_images(len(left), len(right), width=left.shape[1])
    return Comparison(name=name, num_left=len(left), num_right=len(right), numbers=rows, too_few=few)


def nearest_pairs(places: Indices, found: Nearest) -> Iterator[NearestPair]:
    """The generated images that lie nearest to a training image, of those at these places."""
    for i in found.distance.argsort(stable=True)[:PAIRS].tolist():
        generated, training, distance = int(places[i]), int(found.indices[i]), float(found.distance[i])
        yield NearestPair(generated=generated, training=training, distance=distance)


def nearness_of(space: str, generated: Nearest, held_out: Nearest, num_training: int) -> Nearness:
    """How near generated images and held-out ones are to the nearest training image."""
    measured = memorisation(generated.distance, held_out.distance)
    counts = {"num_generated": len(generated.indices), "num_held_out": len(held_out.indices)}
    few = few_images(*counts.values())
    counts["num_training"] = num_training
    return Nearness.model_validate({"space": space, **counts, **measured._asdict(), "too_few": few})
