"""Images in memory, memory-mapped or fetched as they are asked for, with what is known of each, and their honest
division into three parts.

The order of a set is a seeded shuffle in which every stretch holds the classes in their proportions, so that parts are
slices: the division is stratified, deterministic and copies nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from mmap import mmap
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch

from ancestral.condition import Condition
from ancestral.data.caption_tokens import CaptionTokens
from ancestral.data.listing import LeftOut
from ancestral.data.order import Order, Shuffled
from ancestral.errors import InputError
from ancestral.rng import mix
from ancestral.settings import AttributeSpec, ImageSpec
from ancestral.text_reader import TextReader

SHUFFLE_SEED = 0  # of the data set, not of a run: runs with other seeds are compared on the same test part


class Missing(NamedTuple):
    """A file of images that went bad: its name, why, and how many of the images to train on it holds."""

    shard: str
    reason: str
    num_images: int


@runtime_checkable
class Fetched(Protocol):
    """Images that lie elsewhere, (N, H, W, C) uint8, as much of an array as is needed, and what is beside them."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def order(self) -> Order: ...  # in which few files are needed at a time
    @property
    def missing(self) -> tuple[Missing, ...]: ...  # what has gone bad and been replaced so far
    def __len__(self) -> int: ...
    def __getitem__(self, where: slice | np.ndarray) -> np.ndarray: ...  # an InputError where one is not to be had
    def sliced(self, start: int, stop: int) -> "Fetched": ...  # not fetched yet
    def columns(self, where: np.ndarray, names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Columns such as images and captions of the images there, others in place of those of which one has gone bad,
        and where they are: no row has columns from different images."""

    def lose(self, where: np.ndarray, reason: str) -> None:
        """From now on others stand in for the images of the files that these are in."""

    def read_ahead(self, seed: int, place: int, names: tuple[str, ...] = ("images",)) -> None:
        """Begins to fetch columns of what follows `place` of the endless row of `order`; returns at once."""


@dataclass(frozen=True)
class ImageSet:
    """N images of one size."""

    images: np.ndarray | Fetched  # (N, H, W, C) uint8, read-only; mapped where cached
    labels: np.ndarray | None  # (N,) int64 indices into `class_names`, or None
    class_names: tuple[str, ...]  # empty exactly where `labels` is None
    captions: Sequence[str] | None  # N texts, read as they are asked for where the images are; or None
    names: tuple[str, ...] | None  # N file names fit for printing, or None
    hash: str  # SHA-256 of the content in this order, in hexadecimal
    attributes: np.ndarray | None = None  # (N, A) float32, not a number where nothing is told; or None
    attribute_names: tuple[str, ...] = ()  # A names, empty exactly where `attributes` is None

    def __post_init__(self) -> None:
        counted = [x for x in (self.labels, self.captions, self.names, self.attributes) if x is not None]
        assert not isinstance(self.images, np.ndarray) or self.images.dtype == np.uint8
        assert len(self.images.shape) == 4
        assert all(len(x) == len(self) for x in counted), "one label, caption and name for each image"
        assert (self.labels is None) == (not self.class_names), "class names belong to labels"
        width = 0 if self.attributes is None else self.attributes.shape[1]
        assert width == len(self.attribute_names), "a name for each attribute"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W), as networks count."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    @property
    def spec(self) -> ImageSpec:
        """What a pipeline has to know of the images it is to generate."""
        channels, height, width = self.shape
        columns = () if self.attributes is None else zip(self.attribute_names, self.attributes.T, strict=True)
        measured = tuple(measured_attribute(*column) for column in columns)
        return ImageSpec(
            channels=channels, height=height, width=width, class_names=self.class_names, attributes=measured
        )

    def has(self, names: tuple[str, ...]) -> bool:
        return {*names} <= {*self.attribute_names}

    @property
    def order(self) -> Order:
        """The order in which the images are trained on."""
        return Shuffled(len(self)) if isinstance(self.images, np.ndarray) else self.images.order

    def pixels(self, where: slice | np.ndarray = slice(None)) -> np.ndarray:
        """The images at these positions, (n, H, W, C) uint8, read now if they were not."""
        if isinstance(self.images, np.ndarray):
            check_mapping(self.images)
        return self.images[where]

    def stretch(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Images to train on, `start` to `stop`, (n, H, W, C), others in place of missing ones, and where they are."""
        where = np.arange(*slice(start, stop).indices(len(self)))
        if isinstance(self.images, np.ndarray):
            return self.pixels(slice(start, stop)), where
        columns, taken = self.images.columns(where, ("images",))
        return columns["images"], taken

    def condition(
        self, spec: ImageSpec, where: slice | np.ndarray = slice(None), tokenizer: TextReader | None = None
    ) -> Condition:
        """What is known of the images at these positions, as a network for images of `spec` is told it: attributes
        are standardised by its means and deviations. `tokenizer`: of captions; None: they are not told."""
        labels = None if self.labels is None or not spec.class_names else torch.tensor(self.labels[where])
        attributes = None
        if self.attributes is not None and spec.attributes:
            columns = (self.attributes[where, self.attribute_names.index(name)] for name in spec.attribute_names)
            pairs = zip(spec.attributes, columns, strict=True)
            told = [each.standardised(column.astype(float)) for each, column in pairs]
            attributes = torch.tensor(np.stack(told, axis=1), dtype=torch.float32)
        tokens = None if tokenizer is None else CaptionTokens(tokenizer)(self.captions_at(where))
        return Condition(labels, attributes, tokens)

    def captions_at(self, where: slice | np.ndarray = slice(None)) -> list[str]:
        """The captions of the images at these positions, "" where there is none."""
        if isinstance(where, slice):
            return [""] * len(range(*where.indices(len(self)))) if not self.captions else [*self.captions[where]]
        return [self.captions[i] if self.captions else "" for i in where.tolist()]

    def sliced(self, start: int, stop: int) -> "ImageSet":
        """Images `start` to `stop`; the pixels are not copied."""
        images = self.images
        return replace(
            self,
            images=images[start:stop] if isinstance(images, np.ndarray) else images.sliced(start, stop),
            labels=None if self.labels is None else self.labels[start:stop],
            captions=self.captions and self.captions[start:stop],
            names=self.names and self.names[start:stop],
            hash=sha256(f"{self.hash} {start} {stop}".encode()).hexdigest(),
            attributes=None if self.attributes is None else self.attributes[start:stop],
        )

    def ordered(self, order: np.ndarray) -> "ImageSet":
        """The same images in another order, copied."""
        return replace(
            self,
            images=frozen(self.pixels(order)),
            labels=None if self.labels is None else frozen(self.labels[order]),
            captions=self.captions and tuple(self.captions[i] for i in order),
            names=self.names and tuple(self.names[i] for i in order),
            attributes=None if self.attributes is None else frozen(self.attributes[order]),
        )

    def in_memory(self) -> "ImageSet":
        return replace(self, images=frozen(self.pixels()))

    def unlabelled(self) -> "ImageSet":
        return replace(self, labels=None, class_names=())

    def with_attributes(self, asked: tuple[str, ...]) -> "ImageSet":
        """The same images with the attributes that `DataSettings.attributes` asks for alone, which is other content."""
        names = chosen_attributes(self.attribute_names, asked)
        if self.attributes is None or names == self.attribute_names:
            return self
        columns = self.attributes[:, [self.attribute_names.index(name) for name in names]]
        other = sha256(f"{self.hash} {names}".encode()).hexdigest()
        return replace(self, attributes=frozen(columns) if names else None, attribute_names=names, hash=other)


class KnownOfImages(NamedTuple):
    """What is known of images beside their pixels, as in `ImageSet`, and of their parts, as in `Collection`."""

    labels: np.ndarray | None
    class_names: tuple[str, ...]
    captions: Sequence[str] | None
    names: tuple[str, ...] | None
    attributes: np.ndarray | None
    attribute_names: tuple[str, ...]
    num_validation: int | None
    num_test: int | None


class Collection(NamedTuple):
    """A whole data set before its division: images in `arranged` order, those of its own test part last, before them
    those of its own validation part."""

    images: ImageSet
    num_test: int | None = None  # size of the part the data set comes with; None where it has none
    num_validation: int | None = None  # likewise
    bad: tuple[tuple[str, str], ...] = ()  # (file name, reason) of every file that could not be used
    left_out: tuple[LeftOut, ...] = ()  # files that nobody would take for images of the set, counted
    notes: tuple[str, ...] = ()  # how a folder was read where it can be read otherwise, a sentence each

    @property
    def known(self) -> KnownOfImages:
        of = self.images
        columns = of.labels, of.class_names, of.captions, of.names, of.attributes, of.attribute_names
        return KnownOfImages(*columns, self.num_validation, self.num_test)


class Parts(NamedTuple):
    """What to train on, what to watch while training, and what to keep for evaluation; the rest as in `Collection`."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    bad: tuple[tuple[str, str], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def untrained(self) -> tuple[str, ...]:
        """The classes of which there is no image to train on."""
        return without_images(self.train.labels, self.train.class_names)


def measured_attribute(name: str, column: np.ndarray) -> AttributeSpec:
    """Mean and deviation of the numbers in (N,) that are told; a deviation of 1 where they are all alike."""
    told = column[~np.isnan(column)].astype(float)
    mean, std = (float(told.mean()), float(told.std())) if len(told) else (0.0, 0.0)
    return AttributeSpec(name=name, mean=mean, std=std if std > 1e-6 * abs(mean) else 1.0)


def chosen_attributes(there: tuple[str, ...], asked: tuple[str, ...]) -> tuple[str, ...]:
    """The attributes that `DataSettings.attributes` asks for, out of those that are there."""
    if asked in (("auto",), ("none",)):
        return there if asked == ("auto",) else ()
    if absent := [name for name in asked if name not in there]:
        known = ", ".join(there) or "none"
        raise InputError(f"expected data.attributes out of those that the images have ({known}), got {absent[0]!r}")
    return tuple(dict.fromkeys(asked))


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def check_mapping(images: np.ndarray) -> None:
    """Whether the file that `images` is mapped from, if it is, still has all that was mapped. Reading pages that a file
    has lost kills the process (SIGBUS), so this comes before reading: it asks for the size of the open file, which
    takes a microsecond. A file that was removed or replaced lives on while it is mapped."""
    base, file = images, None
    while isinstance(base, np.ndarray):
        file = getattr(base, "filename", None) or file
        base = base.base  # type: ignore[assignment]  # of a mapped array, in the end, the mapping
    if isinstance(base, mmap) and base.size() < len(base):
        raise InputError(
            f"expected {len(base):,} bytes in {file}, got {base.size():,}: it was cut off while in use; give the "
            "same command again, which decodes the images anew"
        )


def arranged(labels: np.ndarray | None, num_images: int, parts: np.ndarray | None = None) -> np.ndarray:
    """A seeded order (num_images,), of each part by itself and the parts by number, in which every stretch of a part
    holds the classes in their proportions.

    Image r of a shuffled class of n stands at (r + u) / n of the way through, with its own offset u in [0, 1): without
    it classes of one size would alternate in a fixed rhythm, and every tenth image would be a dress. `parts`:
    (num_images,) the number of the part that each belongs to; None where they are all of one.
    """
    if parts is not None:
        of_parts = [np.flatnonzero(parts == part) for part in np.unique(parts)]
        return np.concatenate(
            [each[arranged(None if labels is None else labels[each], len(each))] for each in of_parts]
        )
    random = np.random.default_rng(mix(SHUFFLE_SEED, "shuffle"))
    shuffle = random.permutation(num_images)
    if labels is None:
        return shuffle
    place = np.empty(num_images)
    for label in np.unique(labels):
        members = shuffle[labels[shuffle] == label]
        place[members] = (np.arange(len(members)) + random.random(len(members))) / len(members)
    return np.argsort(place, kind="stable")


def cuts(
    total: int, num_validation: int | None, num_test: int | None, validation: float, test: float
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Where training, validation and test part begin and end in images that are stored as in a `Collection`. The
    fractions are of the images to train on, and count where the data set has no such part of its own. A part that is
    asked for holds at least one image where there are three to share; training always does."""
    own = total - (num_validation or 0) - (num_test or 0)
    cut_test = _share(own, own, test) if num_test is None else 0
    cut_validation = _share(own, own - cut_test, validation) if num_validation is None else 0
    train, watched = own - cut_test - cut_validation, own - cut_test
    return (
        (0, train),
        (train, watched) if num_validation is None else (own, own + num_validation),
        (watched, own) if num_test is None else (total - num_test, total),
    )


def divide(whole: Collection, validation: float, test: float) -> Parts:
    ends = cuts(len(whole.images), whole.num_validation, whole.num_test, validation, test)
    train, watched, kept = (whole.images.sliced(*each) for each in ends)
    return Parts(train, watched, kept, whole.bad, whole.left_out, whole.notes)


def without_images(labels: np.ndarray | None, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """The classes that none of the labels names."""
    if labels is None:
        return ()
    counts = np.bincount(labels, minlength=len(class_names))
    return tuple(name for name, count in zip(class_names, counts, strict=True) if not count)


def _share(of: int, available: int, fraction: float) -> int:
    """`fraction` of `of` images, rounded, at least one, and always leaving one of those `available`."""
    wanted = max(round(of * fraction), 1 if fraction > 0 and of >= 3 else 0)
    return max(0, min(wanted, available - 1))
