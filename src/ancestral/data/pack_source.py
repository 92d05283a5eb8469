"""What is packed: the images of a source one after another, in the order in which a loaded set would have them.

Of a folder only the names are held; its files are decoded as they are asked for. The order is that of `shuffled` over
all its files. Those that turn out bad leave gaps, so where there are any the parts are a little other than those of the
folder loaded directly; they are as disjoint and as even.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ancestral.config import DataSettings
from ancestral.data.cache import digest
from ancestral.data.datasets import BUILT_IN, collection, find_folder
from ancestral.data.fitting import Progress, form
from ancestral.data.folder import Selection, captions, classes, fitter, select, size
from ancestral.data.images import BadImage, each, parse_color
from ancestral.data.imageset import Collection, shuffled
from ancestral.data.listing import Listing, fingerprint, list_images
from ancestral.errors import InputError
from ancestral.files import is_packed, is_url
from ancestral.text import printable


class Bad(NamedTuple):
    """A file that is left out: its name, fit for printing, and why."""

    name: str
    reason: str


class Described(NamedTuple):
    """What is known of the images that were packed, in their order; None or () as in `ImageSet`."""

    labels: np.ndarray | None
    class_names: tuple[str, ...]
    names: tuple[str, ...] | None
    captions: tuple[str, ...] | None


@dataclass(frozen=True)
class FolderSource:
    """The files of a folder, decoded as they are asked for; its length counts those that may turn out bad.

    `official`: the sizes of the test and the validation part that it comes with, which are none.
    """

    listing: Listing
    settings: DataSettings

    official = (None, None)

    @cached_property
    def digest(self) -> str:
        """Of names, sizes and times of change, and of the settings of the pixels."""
        root = str(self.listing.root.resolve())
        return digest("folder", root, fingerprint(self.listing), form(self.settings), self.settings.labels)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return size(self.settings)

    @cached_property
    def selection(self) -> Selection:
        """The files to use, by name."""
        return select(self.listing)

    @property
    def bad(self) -> tuple[tuple[str, str], ...]:
        """What could not be listed, or is not in the metadata."""
        return self.selection.bad

    @cached_property
    def order(self) -> np.ndarray:
        """Places of the files in the listing."""
        labels, _ = classes([*self.selection.files], self.selection.annotations)
        return shuffled(labels, len(self))

    def __len__(self) -> int:
        return len(self.selection.files)

    def rows(self, start: int) -> Iterator[np.ndarray | Bad]:
        """From place `start` of the order on: (H, W, 1 or 3) uint8, or what is wrong with the file."""
        names = [self.selection.files[i] for i in self.order[start:]]
        results = each(fitter(self.listing.root, self.settings), map(Path, names))
        for name, result in zip(names, results, strict=True):
            yield Bad(printable(name), result.reason) if isinstance(result, BadImage) else result[0]

    def described(self, kept: np.ndarray) -> Described:
        """What is known of the images at these places of the order; the classes are those that good files have."""
        files, annotations = self.selection.files, self.selection.annotations
        places = self.order[kept]
        in_listing = np.sort(places)
        labels, class_names = classes([files[i] for i in in_listing], annotations)
        if self.settings.labels == "none":
            labels, class_names = None, ()
        names = [files[i] for i in places]
        return Described(
            None if labels is None else labels[np.searchsorted(in_listing, places)],
            class_names,
            tuple(map(printable, names)),
            captions(names, annotations),
        )


@dataclass(frozen=True)
class LoadedSource:
    """A data set that is loaded already, such as MNIST."""

    collection: Collection

    bad = ()

    @property
    def digest(self) -> str:
        """Of the content, and of whether it has classes."""
        images = self.collection.images
        return digest("loaded", images.hash, repr(self.official), *images.class_names)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.collection.images.shape[1:]

    @property
    def official(self) -> tuple[int | None, int | None]:
        """Sizes of its test and validation part."""
        return self.collection.num_test, self.collection.num_validation

    def __len__(self) -> int:
        return len(self.collection.images)

    def rows(self, start: int) -> Iterator[np.ndarray | Bad]:
        """From place `start` on, (H, W, C) uint8."""
        images = self.collection.images
        return (images.pixels(slice(i, i + 1))[0] for i in range(start, len(images)))

    def described(self, kept: np.ndarray) -> Described:
        """What is known of the images, which are all of them."""
        assert len(kept) == len(self), "a data set that is loaded has no bad images"
        images = self.collection.images
        return Described(images.labels, images.class_names, images.names, images.captions)


Source = FolderSource | LoadedSource
"""Images in a fixed order, that can be begun anywhere."""


def source_of(settings: DataSettings, on_progress: Progress | None = None) -> Source:
    """The images that the settings name.

    Raises:
        InputError: unknown name, no such folder, nothing in it, faulty metadata, or a set that is packed already.
    """
    parse_color(settings.background)
    if settings.source in BUILT_IN:
        whole = collection(settings, on_progress)
        images = whole.images.unlabelled() if settings.labels == "none" else whole.images
        return LoadedSource(whole._replace(images=images))
    if is_url(settings.source):
        raise InputError(
            f"expected a folder of images or a data set, got {settings.source}; copy the images here first"
        )
    folder = find_folder(settings.source)
    if is_packed(folder):
        raise InputError(f"expected images to pack, got {printable(folder)}, which is packed already; train on it")
    return FolderSource(list_images(folder), settings)
