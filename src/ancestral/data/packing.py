"""Images to shards, in a stream: one shard in memory at a time, the index last.

Until the index is there the place holds packing.json, which says what is being packed, and beside each shard what is
known of it: how far in the source it reaches, and what was left out on the way. The same command goes on from there.
What is known of images beside their pixels is written at the end, column by column.

Images are kept in grey until the first one in colour comes by. Then the shards that are there are written again, in
colour, under other names; of each the note that names it is changed last, so it may be stopped anywhere.

Of a folder only the names are held; its files are decoded as they are asked for. Their order is that of `arranged` over
all files. Those that turn out bad leave gaps, so where there are any the parts that are cut by fractions are a little
other than those of the folder loaded directly; they are as disjoint and as even. Parts of its own are the same.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ancestral.colors import COLOR_CHANNELS, COLOR_OF
from ancestral.data.cache import digest
from ancestral.data.datasets import BUILT_IN, collecting, find_folder
from ancestral.data.folder import captions_read_as, classes, fitter, is_grey, known, select, shown, size, too_few
from ancestral.data.images import BadImage, form, parse_color
from ancestral.data.imageset import Collection, KnownOfImages, arranged
from ancestral.data.listing import LeftOut, Listing, fingerprint, list_images
from ancestral.data.parallel import each
from ancestral.data.shard_index import ATTRIBUTES, CAPTIONS, IMAGES, LABELS, ColumnFile, Index, read_index
from ancestral.data.store import RemoteFolder, remote_folder
from ancestral.data.text_column import encoded
from ancestral.errors import InputError
from ancestral.files import INDEX, PACKED, is_url, json_object, parse_json
from ancestral.folders import PACKING as STATE
from ancestral.progress import ProgressEvent, StagedWork, finish
from ancestral.settings import DataSettings, PositiveInt, Settings, parse
from ancestral.text import printable

OURS = re.compile(
    r"\d{5,}-(grey|grey-alpha|rgb|rgba|\d+-channels)\.(bin|json)|\d{5,}-captions\.bin|(labels|attributes)\.bin"
    r"|(packing|index)\.json"
)

Bad = tuple[str, str]
"""A file that is left out: its name, fit for printing, and why."""


@dataclass(frozen=True)
class Source:
    """Images in a fixed order, that can be begun anywhere."""

    digest: str  # of what decides the images: the content, or names, sizes, times of change and settings
    size: tuple[int, int]  # (height, width)
    channels: int | None  # of every image; None: 1 until one is in colour, then 3
    count: int  # images, those that may turn out bad among them
    rows: Callable[[int], Iterator[np.ndarray | Bad]]  # (H, W, C) uint8 each, from a place of the order on
    described: Callable[[np.ndarray], KnownOfImages]  # what is known of the images at these places of the order
    bad: tuple[Bad, ...] = ()  # what is left out for its name or its place
    left_out: tuple[LeftOut, ...] = ()  # as in `Collection`
    notes: tuple[str, ...] = ()  # likewise


class Shard(ColumnFile):
    count: PositiveInt


class ShardRecord(Settings):
    """A shard that has been written while others have not."""

    shard: Shard
    taken: int
    """Images of the source up to its end."""
    bad: tuple[tuple[int, str, str], ...]
    """Place in the order of the source, name and reason of the files on the way that cannot be used."""


@dataclass(frozen=True)
class Packed:
    """A packed data set; `already`: it was there before. `left_out`, `notes`: of its source, as in `Collection`."""

    index: Index
    already: bool
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def bad(self) -> tuple[Bad, ...]:
        """The files that cannot be used."""
        return self.index.bad


def pack(settings: DataSettings, dest: str, shard_images: int | None = None) -> Packed:
    """The same as `packing`, once it is done."""
    return finish(packing(settings, dest, shard_images))


def packing(settings: DataSettings, dest: str, shard_images: int | None = None) -> StagedWork[Packed]:
    """Packs the images that the settings name into the place `dest`, a folder or a URL; goes on where it stopped.

    A shard has `shard_images`; None: 4096, or fewer where that would be more than 64 MiB.
    """
    remote, source = remote_folder(dest), (yield from source_of(settings))
    images = None if settings.source in BUILT_IN else find_folder(settings.source).resolve()
    if images is not None and remote.local is not None and remote.local.resolve().is_relative_to(images):
        raise InputError(f"expected a place outside {settings.source}, got {remote.url}; choose another")
    height, width = source.size
    shard_images = shard_images or max(1, min(4096, 2**26 // (3 * height * width)))
    packed_from = digest(source.digest, str(shard_images))
    with remote.claimed(lambda name: OURS.fullmatch(name) is not None):
        there = remote.names()
        already = INDEX in there
        if already:
            index = read_index(remote)
            if index.packed_from != packed_from:
                raise InputError(
                    f"expected an empty place to pack into, got a data set of other images or settings in "
                    f"{printable(remote.url)}; choose another, or remove it"
                )
        else:
            writer = Writer(remote, source, shard_images, _begun(remote, packed_from, there))
            for image in source.rows(writer.taken):
                writer.add(image)
                yield ProgressEvent("packing", writer.taken, source.count)
            writer.finish()
            index = _index(remote, source, settings, writer, packed_from)
            remote.write(INDEX, f"{index.model_dump_json()}\n".encode())
        needed = {INDEX, *(each.file for column in index.columns.values() for each in column.files)}
        for name in remote.names():
            if OURS.fullmatch(name) and name not in needed:
                remote.remove(name)
    return Packed(index, already, source.left_out, source.notes)


class Writer:
    """Shards of a source as they are written, after those of `records`, each of `shard_images` images."""

    def __init__(self, remote: RemoteFolder, source: Source, shard_images: int, records: list[ShardRecord]) -> None:
        self.remote, self.shard_images, self.records = remote, shard_images, records
        self.pixels_each = source.size[0] * source.size[1]
        self.may_widen = source.channels is None
        self.taken = records[-1].taken if records else 0
        self.bad: list[tuple[int, str, str]] = []
        self.buffer = bytearray()
        self.channels = source.channels or 1
        if any(record.shard.file.endswith("-rgb.bin") for record in records):
            self._to_rgb()  # which may have been stopped

    def add(self, image: np.ndarray | Bad) -> None:
        """The next image of the source, (H, W, C), or what is wrong with it."""
        self.taken += 1
        if isinstance(image, tuple):
            self.bad.append((self.taken - 1, *image))
            return
        if self.channels == 1 and self.may_widen and not is_grey(image):
            self._to_rgb()
        if self.channels == 1:
            image = image[..., :1]
        elif (self.channels, image.shape[2]) == (3, 1):
            image = image.repeat(3, axis=2)
        self.buffer += image.tobytes()
        if len(self.buffer) == self.shard_images * self.pixels_each * self.channels:
            self.finish()

    def finish(self) -> None:
        """Writes what there is of a shard."""
        if self.buffer:
            self.records.append(self._write(len(self.records), bytes(self.buffer), self.taken, tuple(self.bad)))
            self.buffer.clear()
            self.bad.clear()

    def _write(self, number: int, pixels: bytes, taken: int, bad: tuple[tuple[int, str, str], ...]) -> ShardRecord:
        stem = f"{number:05d}-{COLOR_OF.get(self.channels, f'{self.channels}-channels')}"
        num_images = len(pixels) // (self.pixels_each * self.channels)
        shard = Shard(file=f"{stem}.bin", count=num_images, bytes=len(pixels), sha256=sha256(pixels).hexdigest())
        record = ShardRecord(shard=shard, taken=taken, bad=bad)
        self.remote.write(shard.file, pixels)
        self.remote.write(f"{stem}.json", record.model_dump_json().encode())
        return record

    def _to_rgb(self) -> None:
        """From grey to colour, what is written included."""
        self.channels = 3
        self.buffer = bytearray(_in_colour(bytes(self.buffer)))
        for number, record in enumerate(self.records):
            if record.shard.bytes == record.shard.count * self.pixels_each:
                grey = self.remote.read(record.shard.file, record.shard.bytes)
                if sha256(grey).hexdigest() != record.shard.sha256:
                    where = f"{self.remote.url}/{record.shard.file}"
                    raise InputError(f"{where} has changed meanwhile; pack into another place")
                self.records[number] = self._write(number, _in_colour(grey), record.taken, record.bad)
                self.remote.remove(record.shard.file.replace(".bin", ".json"))
                self.remote.remove(record.shard.file)


def source_of(settings: DataSettings) -> StagedWork[Source]:
    """The images that the settings name, which must not be packed already."""
    parse_color(settings.background)
    if settings.source in BUILT_IN:
        return loaded_source((yield from collecting(settings)))
    if is_url(settings.source):
        raise InputError(f"expected a folder of images or a data set, got {settings.source}; copy them here first")
    return folder_source(list_images(find_folder(settings.source)), settings)


def folder_source(listing: Listing, settings: DataSettings) -> Source:
    """The files of a folder, decoded as they are asked for."""
    selection = select(listing, settings)
    files = selection.files
    order = arranged(classes(files, selection)[0], len(files), selection.numbers(files))

    def rows(start: int) -> Iterator[np.ndarray | Bad]:
        names = [files[i] for i in order[start:]]
        results = each(fitter(listing.root, settings), map(Path, names), listing.root)
        for name, result in zip(names, results, strict=True):
            yield (shown(name), result.reason) if isinstance(result, BadImage) else result[0]

    def described(kept: np.ndarray) -> KnownOfImages:
        its = known([files[i] for i in order[kept]], selection)  # of the classes those that good files have
        return its._replace(labels=None, class_names=()) if settings.labels == "none" else its

    root, read_as = str(listing.root.resolve()), (settings.labels, settings.splits)
    listed = fingerprint(listing, selection.read)
    known_as = *selection.attribute_names, *captions_read_as(settings), *(f"where {each}" for each in settings.where)
    state = digest("folder, version 2", root, listed, form(settings), *read_as, *known_as)
    beside = selection.bad, selection.left_out, selection.notes
    channels = None if settings.color in ("auto", "rgb") else COLOR_CHANNELS[settings.color]
    return Source(state, size(settings), channels, len(files), rows, described, *beside)


def loaded_source(whole: Collection) -> Source:
    """A data set that is loaded already, such as MNIST."""
    images = whole.images

    def rows(start: int) -> Iterator[np.ndarray | Bad]:
        return (images.pixels(slice(i, i + 1))[0] for i in range(start, len(images)))

    def described(kept: np.ndarray) -> KnownOfImages:
        assert len(kept) == len(images), "a data set that is loaded has no bad images"
        return whole.known

    told = [f"attribute {name}" for name in images.attribute_names]
    state = digest("loaded", images.hash, repr((whole.num_test, whole.num_validation)), *images.class_names, *told)
    channels, height, width = images.shape
    return Source(state, (height, width), None if channels in (1, 3) else channels, len(images), rows, described)


def _index(remote: RemoteFolder, source: Source, settings: DataSettings, writer: Writer, packed_from: str) -> Index:
    """The index of all that has been written; the labels are written too."""
    left_out = [*(dropped for record in writer.records for dropped in record.bad), *writer.bad]
    bad = (*source.bad, *((name, reason) for _, name, reason in left_out))
    kept = np.setdiff1d(np.arange(writer.taken), [at for at, _, _ in left_out])
    about, shards = source.described(kept), tuple(record.shard for record in writer.records)
    beside = (about.num_validation or 0) + (about.num_test or 0)
    if len(kept) - beside < 2:
        raise InputError(too_few(printable(settings.source), len(kept) - beside, bad, beside))
    shape = (*source.size, writer.channels)
    images = [each.model_dump(exclude={"count"}) for each in shards]
    columns = {IMAGES: {"dtype": "uint8", "shape": shape, "files": images}, **_columns(remote, about, shards)}
    there = [name for name in (LABELS, IMAGES, CAPTIONS, ATTRIBUTES) if name in columns]
    content = [file["sha256"] for name in there for file in columns[name]["files"]]
    few = len(kept) <= 100_000  # the index lists the names of no larger set
    tree = {
        "count": len(kept),
        "counts": [shard.count for shard in shards],
        "columns": columns,
        "fit": settings.fit,
        "background": settings.background,
        "class_names": about.class_names,
        "attribute_names": about.attribute_names,
        "num_test": about.num_test,
        "num_validation": about.num_validation,
        "hash": digest(PACKED, repr(shape), *about.class_names, "", *content, *about.attribute_names),
        "packed_from": packed_from,
        "bad": bad,
        "names": about.names if few else None,
    }
    return parse(Index, tree, "the index")


def _columns(remote: RemoteFolder, about: KnownOfImages, shards: Sequence[Shard]) -> dict[str, dict[str, Any]]:
    """Writes what is known beside the images; as the index describes it."""
    labels, columns = about.labels, dict[str, dict[str, Any]]()
    if labels is not None:
        labels = labels.astype(np.min_scalar_type(len(about.class_names) - 1))
    for name, rows in ((LABELS, labels), (ATTRIBUTES, about.attributes)):
        if rows is not None:
            files = [_written(remote, name, rows.astype(rows.dtype.newbyteorder("<")).tobytes())]
            columns[name] = {"dtype": rows.dtype.name, "shape": rows.shape[1:], "files": files}
    if about.captions is not None:
        files, stop = [], 0
        for number, shard in enumerate(shards):
            start, stop = stop, stop + shard.count
            files.append(_written(remote, f"{number:05d}-{CAPTIONS}", encoded(about.captions[start:stop])))
        columns[CAPTIONS] = {"dtype": "text", "shape": (), "files": files}
    return columns


def _written(remote: RemoteFolder, stem: str, content: bytes) -> dict[str, Any]:
    """A new file, as the index describes it."""
    remote.write(f"{stem}.bin", content)
    return {"file": f"{stem}.bin", "bytes": len(content), "sha256": sha256(content).hexdigest()}


def _begun(remote: RemoteFolder, packed_from: str, there: list[str]) -> list[ShardRecord]:
    """What an earlier start of the same packing has done, from the first shard on, in colour where it is there so too;
    that of another is taken away, other things are not."""
    others = [name for name in there if not OURS.fullmatch(name)]
    state: Any = None
    with suppress(InputError):
        state = parse_json(remote.read(STATE), STATE) if STATE in there else None
    is_ours = not others and isinstance(state, dict) and state.get("format") == PACKED
    if there and not is_ours:
        found, place = printable((others or there)[0]), printable(remote.url)
        raise InputError(f"expected an empty place to pack into, got {found} in {place}; choose another")
    if is_ours and state.get("packed_from") == packed_from:
        notes = {name.partition("-")[0]: name for name in there if name.endswith(".json")}  # rgb comes after grey
        records: list[ShardRecord] = []
        while name := notes.get(f"{len(records):05d}"):
            records.append(parse(ShardRecord, json_object(remote.read(name), name), name))
        return records
    for name in (name for name in there if name != STATE):
        remote.remove(name)
    remote.write(STATE, json.dumps({"format": PACKED, "packed_from": packed_from}).encode())
    return []


def _in_colour(grey: bytes) -> bytes:
    """Every byte three times: (..., 1) -> (..., 3)."""
    return np.frombuffer(grey, np.uint8).repeat(3).tobytes()
