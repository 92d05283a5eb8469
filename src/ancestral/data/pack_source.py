"""What is packed: the images of a source one after another, in the order in which a loaded set would have them.

Of a folder only the names are held; its files are decoded as they are asked for. The order is that of `arranged` over
all its files. Those that turn out bad leave gaps, so where there are any the parts that are cut by fractions are a
little other than those of the folder loaded directly; they are as disjoint and as even. Parts of its own are the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ancestral.data.cache import digest
from ancestral.data.datasets import BUILT_IN, collecting, find_folder
from ancestral.data.folder import captions, classes, fitter, select, shown, size
from ancestral.data.images import BadImage, form, parse_color
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
class Source:
    """Images in a fixed order, that can be begun anywhere; its length counts those that may turn out bad.

    Args:
        digest: of what decides the images: the content, or names, sizes, times of change and settings.
        size: (height, width).
        rows: from a place of the order on, (H, W, C) uint8 each, or what is wrong with the file.
        described: what is known of the images at these places of the order.
        bad: (name, reason) of what is left out for its name or its place.
        left_out, notes: as in `Collection`.
    """

    digest: str
    size: tuple[int, int]
    count: int
    rows: Callable[[int], Iterator[np.ndarray | Bad]]
    described: Callable[[np.ndarray], Described]
    bad: tuple[tuple[str, str], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.count


def folder_source(listing: Listing, settings: DataSettings) -> Source:
    """The files of a folder, decoded as they are asked for."""
    selection = select(listing, settings)
    files = selection.files
    order = arranged(classes(files, selection)[0], len(files), selection.numbers(files))

    def rows(start: int) -> Iterator[np.ndarray | Bad]:
        names = [files[i] for i in order[start:]]
        results = each(fitter(listing.root, settings), map(Path, names), listing.root)
        for name, result in zip(names, results, strict=True):
            yield Bad(shown(name), result.reason) if isinstance(result, BadImage) else result[0]

    def described(kept: np.ndarray) -> Described:
        places = order[kept]
        in_listing = np.sort(places)
        labels, class_names = classes([files[i] for i in in_listing], selection)  # those that good files have
        if settings.labels == "none":
            labels, class_names = None, ()
        names = [files[i] for i in places]
        return Described(
            None if labels is None else labels[np.searchsorted(in_listing, places)],
            class_names,
            tuple(map(shown, names)),
            captions(names, selection),
            *selection.own(names),
        )

    root, read_as = str(listing.root.resolve()), (settings.labels, settings.splits)
    state = digest("folder, version 2", root, fingerprint(listing), form(settings), *read_as)
    beside = selection.bad, listing.others, selection.notes
    return Source(state, size(settings), len(files), rows, described, *beside)


def loaded_source(whole: Collection) -> Source:
    """A data set that is loaded already, such as MNIST."""
    images, own = whole.images, (whole.num_validation, whole.num_test)

    def rows(start: int) -> Iterator[np.ndarray | Bad]:
        return (images.pixels(slice(i, i + 1))[0] for i in range(start, len(images)))

    def described(kept: np.ndarray) -> Described:
        assert len(kept) == len(images), "a data set that is loaded has no bad images"
        return Described(images.labels, images.class_names, images.names, images.captions, *own)

    state = digest("loaded", images.hash, repr(own[::-1]), *images.class_names)
    return Source(state, images.shape[1:], len(images), rows, described)


def source_of(settings: DataSettings) -> StagedWork[Source]:
    """The images that the settings name.

    Raises:
        InputError: unknown name, no such folder, nothing in it, faulty metadata, or a set that is packed already.
    """
    parse_color(settings.background)
    if settings.source in BUILT_IN:
        return loaded_source((yield from collecting(settings)))
    if is_url(settings.source):
        raise InputError(
            f"expected a folder of images or a data set, got {settings.source}; copy the images here first"
        )
    return folder_source(list_images(find_folder(settings.source)), settings)
