"""Images in memory, memory-mapped or fetched as they are asked for, with what is known of each, and their honest
division into three parts.

The order of a set is a seeded shuffle in which every stretch holds the classes in their proportions, so that parts are
slices: the division is stratified, deterministic and copies nothing.
"""

from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from mmap import mmap
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from ancestral.config import ImageSpec
from ancestral.data.order import Order, Shuffled
from ancestral.errors import InputError
from ancestral.rng import mix

SHUFFLE_SEED = 0
"""The division belongs to the data set, not to a run: runs with other seeds are compared on the same test part."""


class Missing(NamedTuple):
    """A file of images that went bad: its name, why, and how many of the images to train on it holds."""

    shard: str
    reason: str
    num_images: int


@runtime_checkable
class Fetched(Protocol):
    """Images that lie elsewhere, (N, H, W, C) uint8, as much of an array as is needed of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def order(self) -> Order:
        """The order in which few files are needed at a time."""
        ...

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What has gone bad and been replaced so far."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, where: slice | np.ndarray) -> np.ndarray:
        """The images there, in memory, or an InputError where one is not to be had."""
        ...

    def stretch(self, start: int, stop: int) -> "Fetched":
        """Images `start` to `stop`, not fetched yet."""
        ...

    def take(self, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images there, others in place of those that have gone bad, and where they are."""
        ...

    def read_ahead(self, seed: int, place: int) -> None:
        """Begins to fetch what follows `place` of the endless row of `order`; returns at once."""
        ...


@dataclass(frozen=True)
class ImageSet:
    """N images of one size.

    Args:
        images: (N, H, W, C) uint8, read-only, C = 1 or 3; memory-mapped where it comes from the cache, fetched where it
            lies in shards.
        labels: (N,) int64 indices into `class_names`, or None.
        class_names: empty exactly where `labels` is None.
        captions: N texts, or None.
        names: N file names fit for printing, or None.
        hash: SHA-256 of the content, in hexadecimal; the same images in the same order have the same one.
    """

    images: np.ndarray | Fetched
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    captions: tuple[str, ...] | None
    names: tuple[str, ...] | None
    hash: str

    def __post_init__(self) -> None:
        counted = [x for x in (self.labels, self.captions, self.names) if x is not None]
        assert not isinstance(self.images, np.ndarray) or self.images.dtype == np.uint8
        assert len(self.images.shape) == 4 and self.images.shape[-1] in (1, 3)
        assert all(len(x) == len(self) for x in counted), "one label, caption and name for each image"
        assert (self.labels is None) == (not self.class_names), "class names belong to labels"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W), as networks count."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    @property
    def spec(self) -> ImageSpec:
        """What a pipeline has to know of the images it is to draw."""
        channels, height, width = self.shape
        return ImageSpec(channels=channels, height=height, width=width, class_names=self.class_names)

    @property
    def order(self) -> Order:
        """The order in which the images are trained on."""
        return Shuffled(len(self)) if isinstance(self.images, np.ndarray) else self.images.order

    def pixels(self, where: slice | np.ndarray = slice(None)) -> np.ndarray:
        """The images at these positions, (n, H, W, C) uint8, read now if they were not.

        Raises:
            InputError: they are no longer to be had.
        """
        if isinstance(self.images, np.ndarray):
            check_mapping(self.images)
        return self.images[where]

    def stretch(self, start: int, stop: int) -> "ImageSet":
        """Images `start` to `stop`; the pixels are not copied."""
        images = self.images
        return replace(
            self,
            images=images[start:stop] if isinstance(images, np.ndarray) else images.stretch(start, stop),
            labels=None if self.labels is None else self.labels[start:stop],
            captions=self.captions and self.captions[start:stop],
            names=self.names and self.names[start:stop],
            hash=sha256(f"{self.hash} {start} {stop}".encode()).hexdigest(),
        )

    def ordered(self, order: np.ndarray) -> "ImageSet":
        """The same images in another order, copied."""
        return replace(
            self,
            images=frozen(self.pixels(order)),
            labels=None if self.labels is None else frozen(self.labels[order]),
            captions=self.captions and tuple(self.captions[i] for i in order),
            names=self.names and tuple(self.names[i] for i in order),
        )

    def in_memory(self) -> "ImageSet":
        """The same images, read now."""
        return replace(self, images=frozen(self.pixels()))

    def unlabelled(self) -> "ImageSet":
        """The same images with their classes forgotten."""
        return replace(self, labels=None, class_names=())


class Collection(NamedTuple):
    """A whole data set before its division: images in `shuffled` order, the official test part last.

    Args:
        num_test: size of the test part the data set comes with; None where it has none.
        num_validation: likewise.
        bad: (file name, reason) of every file that could not be used.
    """

    images: ImageSet
    num_test: int | None = None
    num_validation: int | None = None
    bad: tuple[tuple[str, str], ...] = ()


class Parts(NamedTuple):
    """What to train on, what to watch while training, and what to keep for evaluation; `bad` as in `Collection`."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    bad: tuple[tuple[str, str], ...] = ()


def frozen(array: np.ndarray) -> np.ndarray:
    """`array`, made read-only."""
    array.flags.writeable = False
    return array


def check_mapping(images: np.ndarray) -> None:
    """Whether the file that `images` is mapped from, if it is, still has all that was mapped.

    Reading pages that a file has lost kills the process (SIGBUS), so this comes before reading: it asks for the size of
    the open file, which takes a microsecond. A file that was removed or replaced lives on while it is mapped.

    Raises:
        InputError: the file has been cut off.
    """
    base, file = images, None
    while isinstance(base, np.ndarray):
        file = getattr(base, "filename", None) or file
        base = base.base  # type: ignore[assignment]  # of a mapped array, in the end, the mapping
    if isinstance(base, mmap) and base.size() < len(base):
        raise InputError(
            f"expected {len(base):,} bytes in {file}, got {base.size():,}: it was cut off while in use; give the "
            "same command again, which decodes the images anew"
        )


def shuffled(labels: np.ndarray | None, num_images: int) -> np.ndarray:
    """A seeded order (num_images,) in which every stretch holds the classes in their proportions.

    Image r of a shuffled class of n stands at (r + u) / n of the way through, with its own offset u in [0, 1): without
    it classes of one size would alternate in a fixed rhythm, and every tenth image would be a dress.
    """
    random = np.random.default_rng(mix(SHUFFLE_SEED, "shuffle"))
    shuffle = random.permutation(num_images)
    if labels is None:
        return shuffle
    place = np.empty(num_images)
    for label in np.unique(labels):
        members = shuffle[labels[shuffle] == label]
        place[members] = (np.arange(len(members)) + random.random(len(members))) / len(members)
    return np.argsort(place, kind="stable")


def divide(whole: Collection, validation: float, test: float) -> Parts:
    """Train, then validation, then test. The fractions count where the data set has no such part of its own.

    A part that is asked for holds at least one image where there are three to share; training always does.
    """
    total = len(whole.images)
    num_test = _share(total, total, test) if whole.num_test is None else whole.num_test
    rest = total - num_test
    of = total if whole.num_test is None else rest
    num_validation = _share(of, rest, validation) if whole.num_validation is None else whole.num_validation
    cuts = (0, rest - num_validation, rest, total)
    train, watched, kept = (whole.images.stretch(*ends) for ends in pairwise(cuts))
    return Parts(train, watched, kept, whole.bad)


def _share(of: int, available: int, fraction: float) -> int:
    """`fraction` of `of` images, rounded, at least one, and always leaving one of those `available`."""
    wanted = max(round(of * fraction), 1 if fraction > 0 and of >= 3 else 0)
    return min(wanted, available - 1)
