"""A folder of anybody's images as a data set: read as layout.py and metadata.py say, decoded once, never written to."""

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ancestral.colors import COLOR_CHANNELS
from ancestral.data.cache import cached, digest
from ancestral.data.captions import captioned
from ancestral.data.images import BadImage, decode, fit, form, parse_color, read, to_array
from ancestral.data.imageset import Collection, ImageSet, KnownOfImages, arranged, chosen_attributes, frozen
from ancestral.data.layout import PARTS, Division, Part, class_folders, divided, few, folders_of
from ancestral.data.listing import LABELS, LeftOut, Listing, counted, fingerprint, list_images
from ancestral.data.metadata import NOTHING_SAID, Annotation, finder, read_metadata
from ancestral.data.parallel import each
from ancestral.data.row_filter import filtered
from ancestral.errors import InputError
from ancestral.files import writing
from ancestral.progress import ProgressEvent, StagedWork
from ancestral.settings import DataSettings
from ancestral.text import as_utf8, normal_form, printable

FOLDER_SIZE = 32  # height and width that the images of a folder are fitted to unless told otherwise
NAMED = 3  # folders that a note names

ClassOfFile = dict[str, str | None]


@dataclass(frozen=True)
class Selection:
    """The files of a folder that belong to the data set, and what is known of them."""

    root: Path
    files: tuple[str, ...]  # names relative to `root`, sorted
    annotations: dict[str, Annotation]  # class, text and attributes of every file
    attribute_names: tuple[str, ...]  # of those that are used
    parts: dict[str, Part]  # of every file; empty where the folder does not say
    described: bool  # whether metadata or a caption says something of them
    read: tuple[str, ...]  # the files beside metadata that decide what is used and its captions
    bad: tuple[tuple[str, str], ...]  # (name, reason) of what is left out
    left_out: tuple[LeftOut, ...]  # what is left out beside, counted
    notes: tuple[str, ...]  # what can be read otherwise, a sentence each

    def numbers(self, files: Sequence[str]) -> np.ndarray | None:
        """The part of each of these files by its place in `PARTS`; None where the folder does not say."""
        return np.array([PARTS.index(self.parts[name]) for name in files], np.int64) if self.parts else None


def image_folder(root: Path, settings: DataSettings) -> StagedWork[Collection]:
    """Every image under `root`, from the cache unless the folder or the settings have changed."""
    parse_color(settings.background)
    listing = list_images(root)
    selection = select(listing, settings)
    read_as = (settings.labels, settings.splits) if (settings.labels, settings.splits) != ("auto", "auto") else ()
    place = digest(
        os.fspath(root.resolve()),
        form(settings),
        *read_as,
        *(f"attribute {name}" for name in selection.attribute_names),
        *captions_read_as(settings),
        *(f"where {each}" for each in settings.where),
    )

    def build(scratch: Path) -> StagedWork[tuple[Collection, np.ndarray]]:
        return decode_folder(selection, settings, scratch / "rows")

    whole = yield from cached(place, fingerprint(listing, selection.read), build)
    return whole._replace(left_out=selection.left_out, notes=selection.notes)


def captions_read_as(settings: DataSettings) -> tuple[str, ...]:
    """What says that captions are other than those of the files that were read."""
    return (f"captions {settings.captions}",) if settings.captions in ("none", "names", "txt") else ()


def check_not_a_folder(settings: DataSettings, source: str) -> None:
    """That nothing is said of how sub-folders are read, where there are none."""
    for name, value in (("labels", settings.labels), ("splits", settings.splits)):
        if value == "folders" or (name == "splits" and value != "auto"):
            raise InputError(f"expected data.{name} auto with {source}, which has no sub-folders, got {value}")
    if settings.captions in ("txt", "names"):
        raise InputError(
            f"expected data.captions auto or none with {source}, which has no files, got {settings.captions}"
        )
    if settings.where:
        raise InputError(
            f"expected no data.where with {source}, which has no columns, got {settings.where[0]}; leave it out"
        )


def decode_folder(
    selection: Selection, settings: DataSettings, scratch: Path
) -> StagedWork[tuple[Collection, np.ndarray]]:
    """The images of a selection in its order, their pixels in a new file at `scratch` (mapped, not in memory); and the
    order (N,) to store them in."""
    good, bad, content = [], list(selection.bad), sha256(form(settings).encode())
    grey = settings.color == "auto"
    results = each(fitter(selection.root, settings), map(Path, selection.files), selection.root)
    with writing(scratch.parent, "free space there"), scratch.open("wb") as rows:
        for count, (name, result) in enumerate(zip(selection.files, results, strict=True), 1):
            if isinstance(result, BadImage):
                bad.append((shown(name), result.reason))
            else:
                pixels, hashed = result
                grey = grey and is_grey(pixels)
                rows.write(pixels.tobytes())
                good.append(name)
                content.update(digest(as_utf8(name), hashed).encode())
            yield ProgressEvent("decoding", count, len(selection.files))
    its = known(good, selection)
    num_train = len(good) - (its.num_validation or 0) - (its.num_test or 0)
    if num_train < 2:
        raise InputError(too_few(printable(selection.root), num_train, bad, beside=len(good) - num_train))
    shape = len(good), *size(settings), COLOR_CHANNELS.get(settings.color, 3)
    pixels = np.memmap(scratch, np.uint8, mode="r", shape=shape)
    said = (selection.annotations[name] for name in good)
    described = f"[{', '.join(f'Annotation(label={each.label!r}, text={each.text!r})' for each in said)}]"
    content.update((described if selection.described else repr(its.class_names)).encode())
    content.update(repr([selection.parts[name] for name in good]).encode() if selection.parts else b"")
    if its.attributes is not None:
        content.update(repr(its.attribute_names).encode() + its.attributes.tobytes())
    whole = ImageSet(pixels[..., :1] if grey else pixels, *its[:4], content.hexdigest(), *its[4:6])
    order = arranged(its.labels, len(good), selection.numbers(good))
    return Collection(whole, its.num_test, its.num_validation, tuple(bad)), order


def size(settings: DataSettings) -> tuple[int, int]:
    """(height, width) that the images of a folder are fitted to."""
    return settings.height_width or (FOLDER_SIZE, FOLDER_SIZE)


def is_grey(pixels: np.ndarray) -> bool:
    """Whether red, green and blue are equal everywhere in (H, W, C)."""
    return bool((pixels == pixels[..., :1]).all())


def shown(name: str) -> str:
    """A file's name, fit for printing, the same under every locale."""
    return printable(as_utf8(name))


def select(listing: Listing, settings: DataSettings) -> Selection:
    """The files to use: those that metadata names where there is some, in the parts and classes that folders say."""
    annotations, bad, notes = _annotated(listing)
    everything, annotations = annotations, filtered(listing, annotations, settings.where)
    files = [name for name in listing.files if name in annotations]
    division = divided(folders_of(files), settings.splits)
    parts = division.parts
    if parts and "train" not in parts.values():
        raise InputError(
            f"expected images to train on in {printable(listing.root)}, got those of {' and '.join({*parts.values()})} "
            "alone; name that folder itself, or set --data.splits none"
        )
    described = any(annotation != NOTHING_SAID for annotation in annotations.values())
    labels, doubts = _labels(division, annotations if described else {}, settings)
    labels, without, more = _with_classes(labels, parts, settings)
    used = tuple(name for name in files if name in labels)
    texts, read, on_captions = captioned(listing, annotations, settings.captions)
    attribute_names = tuple({column: 0 for name in used for column in annotations[name].attributes})
    left_out = [(shown(name), reason) for name, reason in (*division.left_out, *without)]
    others = ((name, "by data.where") for name in everything if name not in annotations)
    return Selection(
        listing.root,
        used,
        {name: annotations[name]._replace(label=labels[name], text=texts[name]) for name in used},
        chosen_attributes(attribute_names, settings.attributes),
        {name: parts[name] for name in used} if parts else {},
        described or any(texts[name] is not None for name in used),
        (*read, *(listing.tables if settings.where else ())),
        (*listing.bad, *bad, *left_out),
        counted(others, listing.others),
        (*_products(listing), *notes, *division.notes, *doubts, *more, *on_captions),
    )


def _labels(
    division: Division, annotations: dict[str, Annotation], settings: DataSettings
) -> tuple[ClassOfFile, tuple[str, ...]]:
    """The class of each file, by metadata where there is some and by folders else, and notes on what is in doubt."""
    by_folder, doubts = class_folders(division.paths, settings.labels == "folders")
    if settings.labels == "none":
        doubts = ()
    if not annotations or settings.labels == "folders":
        return by_folder, doubts
    labels = {name: annotations[name].label for name in by_folder}
    if any(labels.values()) or not any(by_folder.values()):
        return labels, ()
    return labels, ("the metadata has no labels, so folders are no classes; --data.labels folders makes them classes",)


def _annotated(listing: Listing) -> tuple[dict[str, Annotation], list[tuple[str, str]], tuple[str, ...]]:
    """What the nearest metadata above each file says of it, (name, reason) of what goes wrong, and notes. Files under
    no metadata have an empty annotation; those that are not named by the metadata above them have none."""
    found = dict.fromkeys(listing.files, NOTHING_SAID)
    absent: list[tuple[str, str]] = []
    unnamed: dict[str, str] = {}
    notes: list[str] = []
    find = finder(listing.files)
    for source in listing.metadata:  # the outermost first
        prefix = source.removesuffix(source.rpartition("/")[2])
        try:
            rows, on_columns = read_metadata(listing.root / source)
        except InputError as fault:
            if not source.endswith(LABELS):
                raise
            notes.append(f"{shown(source)} is not read: {fault}")
            continue
        notes += on_columns
        named = {name: find(prefix + name) for name in rows}
        if source.endswith(LABELS) and not any(named.values()):
            notes.append(f"{shown(source)} numbers no image here and is not read")
            continue
        meant = Counter(file for file in named.values() if file is not None)
        if twice := [file for file, count in meant.items() if count > 1]:
            raise InputError(
                f"expected each file_name once in {shown(source)}, got {shown(twice[0])!r} in two spellings"
            )
        unnamed |= {name: source for name in _below(listing.files, prefix) if found[name] == NOTHING_SAID}
        found |= {file: rows[name] for name, file in named.items() if file is not None}
        unnamed = {name: its for name, its in unnamed.items() if found[name] == NOTHING_SAID}
        missing = [name for name, file in named.items() if file is None]
        absent += [(shown(prefix + name), f"is in {shown(source)} but not in the folder") for name in missing]
    absent += [(shown(name), f"is not in {shown(source)}") for name, source in unnamed.items()]
    return {name: each for name, each in found.items() if name not in unnamed}, sorted(absent), tuple(notes)


def _below(files: Sequence[str], prefix: str) -> Sequence[str]:
    """Those of the sorted names that begin so."""
    start = bisect_left(files, prefix)
    return files[start : bisect_left(files, True, start, key=lambda name: not name.startswith(prefix))]


def _with_classes(
    labels: ClassOfFile, parts: dict[str, Part], settings: DataSettings
) -> tuple[ClassOfFile, list[tuple[str, str]], tuple[str, ...]]:
    """The labels of the files to use, all of which have a class or none; (name, reason) of the others; and notes."""
    without = [name for name, label in labels.items() if label is None]
    names = {normal_form(label) for label in labels.values() if label is not None}
    if settings.labels == "folders" and len(names) < 2:
        raise InputError(f"expected two class folders or more with data.labels folders, got {len(names)}; leave it out")
    if settings.labels == "none" or not without or len(names) < 2:
        return labels, [], ()
    train = [label for name, label in labels.items() if parts.get(name, "train") == "train"]
    count = f"{len(without):,} of {len(labels):,} images"
    if settings.labels == "auto" and not few(train.count(None), len(train)):
        note = f"no class for {count}, so no classes are used; --data.labels folders takes those in class folders alone"
        return dict.fromkeys(labels), [], (note,)
    first = shown(without[0])
    note = f"left out for want of a class: {count}, such as {first}; --data.labels none uses all, without classes"
    kept: ClassOfFile = {name: label for name, label in labels.items() if label is not None}
    return kept, [(name, "has no class") for name in without], (note,)


def _products(listing: Listing) -> tuple[str, ...]:
    """A note on the folders among the images that ancestral wrote."""
    named = [f"the {kind} {shown(name)}" for name, kind in listing.products[:NAMED]]
    more = f" and {len(listing.products) - NAMED:,} more" if len(listing.products) > NAMED else ""
    return (f"pictures in {', '.join(named)}{more} are not used",) if named else ()


def known(files: Sequence[str], selection: Selection) -> KnownOfImages:
    """What is known of these files: a text of all where one has any, attributes as float32."""
    said, names = [selection.annotations[name] for name in files], selection.attribute_names
    texts = None if all(each.text is None for each in said) else tuple(each.text or "" for each in said)
    told = np.array([[each.attributes.get(name, np.nan) for name in names] for each in said], np.float32)
    counts = Counter(selection.parts[name] for name in files) if selection.parts else Counter[Part]()
    parts = counts["validation"] or None, counts["test"] or None
    known_as = *classes(files, selection), texts, tuple(map(shown, files))
    return KnownOfImages(*known_as, frozen(told) if names else None, names, *parts)


def classes(files: Sequence[str], selection: Selection) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels (N,) int64 and class names, sorted, numbers by value; (None, ()) where the images have no classes. Names
    that differ in their form of Unicode alone are of one class."""
    found = [selection.annotations[name].label for name in files]
    named = [label for label in found if label is not None]
    ordered = sorted({*named}, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))
    shown = {normal_form(name): name for name in reversed(ordered)}
    if len(shown) < 2 or len(named) < len(found):
        return None, ()
    class_names = [name for name in ordered if shown[normal_form(name)] == name]
    index = {normal_form(name): i for i, name in enumerate(class_names)}
    return frozen(np.array([index[normal_form(name)] for name in named], np.int64)), tuple(map(printable, class_names))


def fitter(root: Path, settings: DataSettings) -> Callable[[Path], tuple[np.ndarray, str]]:
    """A function from a name under `root` to its pixels (H, W, C) and the SHA-256 of its bytes."""
    height, width = size(settings)
    channels = COLOR_CHANNELS.get(settings.color, 3)  # 3 until all are seen to be grey

    def fitted(name: Path) -> tuple[np.ndarray, str]:
        data = read(root / name)
        image = decode(root / name, channels, settings.background, data)
        return to_array(fit(image, height, width, settings.fit, settings.background)), sha256(data).hexdigest()

    return fitted


def too_few(source: str, count: int, bad: Sequence[tuple[str, str]], beside: int = 0) -> str:
    """What is said of a source with `count` usable images to train on, and others beside; `bad`: (name, reason)."""
    first = f"; {len(bad)} unusable, the first: {bad[0][0]} {bad[0][1]}" if bad else ""
    parts = f" to train on, beside the {beside:,} of its other parts," if beside else ""
    return f"expected at least two images{parts} in {source}, got {count or 'none'}{first}"
