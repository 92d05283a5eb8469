"""A folder of anybody's images as a data set: labelled by sub-folders or metadata, decoded once, never written to.

The classes are the sub-folders of the deepest folder that holds every image, if each image lies in one of at least two:
`pets/cat/1.png, pets/dog/2.png` has the classes cat and dog.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ancestral.config import DataSettings
from ancestral.data.cache import cached, digest
from ancestral.data.fitting import Progress, form
from ancestral.data.images import BadImage, decode, each, fit, parse_color, read, to_array
from ancestral.data.imageset import Collection, ImageSet, frozen, shuffled
from ancestral.data.listing import Listing, fingerprint, list_images
from ancestral.data.metadata import Annotation, read_metadata
from ancestral.errors import InputError
from ancestral.text import printable

FOLDER_SIZE = 32


@dataclass(frozen=True)
class Selection:
    """The files of a folder that belong to the data set, and what is known of them.

    Args:
        files: names relative to the folder.
        annotations: of every file, where there is metadata; else None.
        bad: (name, reason) of what is left out.
    """

    files: tuple[str, ...]
    annotations: dict[str, Annotation] | None
    bad: tuple[tuple[str, str], ...]


def image_folder(root: Path, settings: DataSettings, on_progress: Progress | None = None) -> Collection:
    """Every image under `root`, from the cache unless the folder or the settings have changed.

    Raises:
        InputError: no such folder, fewer than two usable images in it, or faulty metadata.
    """
    parse_color(settings.background)
    listing = list_images(root)
    place = digest(os.fspath(root.resolve()), form(settings))

    def build(scratch: Path) -> tuple[Collection, np.ndarray]:
        collection = decode_folder(listing, settings, scratch / "rows", on_progress)
        return collection, shuffled(collection.images.labels, len(collection.images))

    return cached(place, fingerprint(listing), build)


def decode_folder(
    listing: Listing, settings: DataSettings, scratch: Path, on_progress: Progress | None = None
) -> Collection:
    """The images of a listing in its order, their pixels in a new file at `scratch` (mapped, not in memory).

    Raises:
        InputError: fewer than two of the files are usable images, or the metadata is faulty.
    """
    selection = select(listing)
    good, bad, content = [], list(selection.bad), sha256(form(settings).encode())
    grey = settings.color != "rgb"
    results = each(fitter(listing.root, settings), (Path(name) for name in selection.files))
    with scratch.open("wb") as rows:
        for count, (name, result) in enumerate(zip(selection.files, results, strict=True), 1):
            if isinstance(result, BadImage):
                bad.append((printable(name), result.reason))
            else:
                pixels, hashed = result
                grey = grey and is_grey(pixels)
                rows.write(pixels.tobytes())
                good.append(name)
                content.update(digest(name, hashed).encode())
            if on_progress:
                on_progress("decoding", count, len(selection.files))
    if len(good) < 2:
        raise InputError(too_few(printable(listing.root), len(good), bad))
    pixels = np.memmap(
        scratch, np.uint8, mode="r", shape=(len(good), *size(settings), 1 if settings.color == "grey" else 3)
    )
    labels, class_names = classes(good, selection.annotations)
    content.update(
        repr([selection.annotations[name] for name in good] if selection.annotations else class_names).encode()
    )
    whole = ImageSet(
        pixels[..., :1] if grey else pixels,
        labels,
        class_names,
        captions(good, selection.annotations),
        tuple(map(printable, good)),
        content.hexdigest(),
    )
    return Collection(whole, bad=tuple(bad))


def size(settings: DataSettings) -> tuple[int, int]:
    """(height, width) that the images of a folder are fitted to."""
    return settings.height_width or (FOLDER_SIZE, FOLDER_SIZE)


def is_grey(pixels: np.ndarray) -> bool:
    """Whether red, green and blue are equal everywhere in (H, W, C)."""
    return bool((pixels == pixels[..., :1]).all())


def select(listing: Listing) -> Selection:
    """The files to use: those the metadata names where there is metadata, else all.

    Raises:
        InputError: faulty metadata.
    """
    if listing.metadata is None:
        return Selection(listing.files, None, listing.bad)
    annotations = read_metadata(listing.metadata)
    there = set(listing.files)
    bad = [
        (printable(name), f"is in {listing.metadata.name} but not in the folder") for name in annotations.keys() - there
    ]
    bad += [(printable(name), f"is not in {listing.metadata.name}") for name in there - annotations.keys()]
    return Selection(tuple(f for f in listing.files if f in annotations), annotations, (*listing.bad, *sorted(bad)))


def classes(files: list[str], annotations: dict[str, Annotation] | None) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels (N,) int64 and class names, sorted, numbers by value; (None, ()) where the images have no classes."""
    found = folder_labels(files) if annotations is None else [annotations[name].label for name in files]
    named = [label for label in found if label is not None]
    if not named or len(set(named)) < 2:
        return None, ()
    class_names = sorted(set(named), key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))
    index = {name: i for i, name in enumerate(class_names)}
    return frozen(np.array([index[name] for name in named], np.int64)), tuple(map(printable, class_names))


def folder_labels(files: list[str]) -> list[str | None]:
    """The name of each file's first folder below the deepest folder that holds all files; None where one has none."""
    folders = [name.split("/")[:-1] for name in files]
    levels = [set(level) for level in zip(*folders, strict=False)]
    shared = next((i for i, level in enumerate(levels) if len(level) > 1), len(levels))
    if any(len(parts) == shared for parts in folders):
        return [None] * len(files)
    return [parts[shared] for parts in folders]


def captions(files: list[str], annotations: dict[str, Annotation] | None) -> tuple[str, ...] | None:
    """The text of each file, or None where the metadata has no texts."""
    texts = [annotations[name].text for name in files] if annotations else []
    return tuple(text for text in texts if text is not None) or None


def fitter(root: Path, settings: DataSettings) -> Callable[[Path], tuple[np.ndarray, str]]:
    """A function from a name under `root` to its pixels (H, W, C) and the SHA-256 of its bytes."""
    height, width = size(settings)

    def fitted(name: Path) -> tuple[np.ndarray, str]:
        data = read(root / name)
        image = decode(root / name, 1 if settings.color == "grey" else 3, settings.background, data)
        pixels = to_array(fit(image, height, width, settings.fit, settings.background))
        return pixels, sha256(data).hexdigest()

    return fitted


def too_few(source: str, count: int, bad: Sequence[tuple[str, str]]) -> str:
    """What is said of a source with `count` usable images; `bad`: (name, reason) of the others."""
    first = f"; {len(bad)} unusable, the first: {bad[0][0]} {bad[0][1]}" if bad else ""
    return f"expected at least two images in {source}, got {count or 'none'}{first}"
