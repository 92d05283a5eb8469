"""What is packed: the images of a source one after another, in the order in which a loaded set would have them.

Of a folder only the names are held; its files are decoded as they are asked for. The order is that of `arranged` over
all its files. Those that turn out bad leave gaps, so where there are any the parts that are cut by fractions are a
little other than those of the folder loaded directly; they are as disjoint and as even. Parts of its own are the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ancestral.data.cache import digest
from ancestral.data.datasets import BUILT_IN, collecting, find_folder
from ancestral.data.fitting import form
from ancestral.data.folder import Selection, captions, classes, fitter, select, shown, size
from ancestral.data.images import BadImage, parse_color
from ancestral.data.imageset import Collection, arranged
from ancestral.data.listing import LeftOut, Listing, fingerprint, list_images
from ancestral.data.parallel import each
from ancestral.errors import InputError
from ancestral.files import is_url
from ancestral.progress import StagedWork
from ancestral.settings import DataSettings


class Bad(NamedTuple):
    """A file that is left out: its name, fit for printing, and why."""

    name: str
    reason: str


class Described(NamedTuple):
    """What is known of the images that were packed, in their order; None or () as in `ImageSet` and `Collection`."""

    labels: np.ndarray | None
    class_names: tuple[str, ...]
    names: tuple[str, ...] | None
    captions: tuple[str, ...] | None
    num_validation: int | None
    num_test: int | None


@dataclass(frozen=True)
class FolderSource:
    """The files of a folder, decoded as they are asked for; its length counts those that may turn out bad."""

    listing: Listing
    settings: DataSettings

    @cached_property
    def digest(self) -> str:
        """Of names, sizes and times of change, and of the settings of the pixels and of how folders are read."""
        root, read_as = str(self.listing.root.resolve()), (self.settings.labels, self.settings.splits)
        return digest("folder, version 2", root, fingerprint(self.listing), form(self.settings), *read_as)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return size(self.settings)

    @cached_property
    def selection(self) -> Selection:
        """The files to use, by name."""
        return select(self.listing, self.settings)

    @property
    def bad(self) -> tuple[tuple[str, str], ...]:
        """What is left out for its name or its place."""
        return self.selection.bad

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """As in `Collection`."""
        return self.listing.others

    @property
    def notes(self) -> tuple[str, ...]:
        """As in `Collection`."""
        return self.selection.notes

    @cached_property
    def order(self) -> np.ndarray:
        """Places of the files in the selection."""
        files = self.selection.files
        labels, _ = classes(files, self.selection)
        return arranged(labels, len(self), self.selection.numbers(files))

    def __len__(self) -> int:
        return len(self.selection.files)

    def rows(self, start: int) -> Iterator[np.ndarray | Bad]:
        """From place `start` of the order on: (H, W, C) uint8, or what is wrong with the file."""
        names = [self.selection.files[i] for i in self.order[start:]]
        results = each(fitter(self.listing.root, self.settings), map(Path, names), self.listing.root)
        for name, result in zip(names, results, strict=True):
            yield Bad(shown(name), result.reason) if isinstance(result, BadImage) else result[0]

    def described(self, kept: np.ndarray) -> Described:
        """What is known of the images at these places of the order; the classes are those that good files have."""
        files = self.selection.files
        places = self.order[kept]
        in_listing = np.sort(places)
        labels, class_names = classes([files[i] for i in in_listing], self.selection)
        if self.settings.labels == "none":
            labels, class_names = None, ()
        names = [files[i] for i in places]
        return Described(
            None if labels is None else labels[np.searchsorted(in_listing, places)],
            class_names,
            tuple(map(shown, names)),
            captions(names, self.selection),
            *self.selection.own(names),
        )


@dataclass(frozen=True)
class LoadedSource:
    """A data set that is loaded already, such as MNIST."""

    collection: Collection

    bad, left_out, notes = (), (), ()

    @property
    def digest(self) -> str:
        """Of the content, and of whether it has classes."""
        images, official = self.collection.images, (self.collection.num_test, self.collection.num_validation)
        return digest("loaded", images.hash, repr(official), *images.class_names)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.collection.images.shape[1:]

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
        own = self.collection.num_validation, self.collection.num_test
        return Described(images.labels, images.class_names, images.names, images.captions, *own)


Source = FolderSource | LoadedSource
"""Images in a fixed order, that can be begun anywhere."""


def source_of(settings: DataSettings) -> StagedWork[Source]:
    """The images that the settings name.

    Raises:
        InputError: unknown name, no such folder, nothing in it, faulty metadata, or a set that is packed already.
    """
    parse_color(settings.background)
    if settings.source in BUILT_IN:
        whole = yield from collecting(settings)
        images = whole.images.unlabelled() if settings.labels == "none" else whole.images
        return LoadedSource(whole._replace(images=images))
    if is_url(settings.source):
        raise InputError(
            f"expected a folder of images or a data set, got {settings.source}; copy the images here first"
        )
    return FolderSource(list_images(find_folder(settings.source)), settings)
