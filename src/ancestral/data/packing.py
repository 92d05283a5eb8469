"""Images to shards, in a stream: one shard in memory at a time, the index last.

Until the index is there the place holds packing.json, which says what is being packed, and beside each shard what is
known of it: how far in the source it reaches, and what was left out on the way. The same command goes on from there.

Images are kept in grey until the first one in colour comes by. Then the shards that are there are written again, in
colour, under other names; of each the note that names it is changed last, so it may be stopped anywhere.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from typing import Any

import numpy as np

from ancestral.colors import COLOR_CHANNELS, COLOR_OF
from ancestral.data.cache import digest
from ancestral.data.datasets import BUILT_IN, find_folder
from ancestral.data.folder import is_grey, too_few
from ancestral.data.listing import LeftOut
from ancestral.data.pack_source import Bad, Source, source_of
from ancestral.data.shard_index import LABELS, Index, LabelFile, Shard, as_json, content_hash, label_bytes, read_index
from ancestral.data.store import RemoteFolder, remote_folder
from ancestral.errors import InputError
from ancestral.files import INDEX, PACKED, json_object, parse_json
from ancestral.folders import PACKING as STATE
from ancestral.progress import ProgressEvent, StagedWork, finish
from ancestral.settings import DataSettings, Settings, parse
from ancestral.text import printable

SHARD_IMAGES = 4096
SHARD_BYTES = 2**26
"""A shard has `SHARD_IMAGES` images, or as many as fit into this, unless it is asked for another number."""
MOST_NAMED = 100_000
"""Images whose names and captions the index lists; those of larger sets are left out."""
KINDS = ("rgb", "grey", "grey-alpha", "rgba")
"""Of shards, by their names; where there are two of a number, the first counts."""
OURS = re.compile(r"\d{5,}-(grey|grey-alpha|rgb|rgba)\.(bin|json)|labels\.bin|packing\.json|index\.json")

Dropped = tuple[int, str, str]
"""The place in the order of the source, the name and the reason of a file that cannot be used."""


class ShardRecord(Settings):
    """A shard that has been written while others have not: `taken` counts the images of the source up to its end."""

    shard: Shard
    taken: int
    bad: tuple[Dropped, ...]


@dataclass(frozen=True)
class Packed:
    """A packed data set.

    Args:
        already: whether it was there, the same, before.
        left_out, notes: of what it was packed from, as in `Collection`.
    """

    index: Index
    already: bool
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]

    @property
    def bad(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of the files that cannot be used."""
        return self.index.bad


def pack(settings: DataSettings, dest: str, shard_images: int | None = None) -> Packed:
    """The same as `packing`, once it is done."""
    return finish(packing(settings, dest, shard_images))


def packing(settings: DataSettings, dest: str, shard_images: int | None = None) -> StagedWork[Packed]:
    """Packs the images that the settings name into the place `dest`, a folder or a URL; goes on where it stopped.

    Args:
        shard_images: images a shard; None: 4096, or fewer where that would be more than 64 MiB.

    Raises:
        InputError: no images, or a place that holds other things.
        CannotWrite: the place is full, read-only or out of reach.
    """
    remote, source = remote_folder(dest), (yield from source_of(settings))
    _check_outside(remote, settings)
    with remote.claimed(lambda name: OURS.fullmatch(name) is not None):
        return (yield from _packed(remote, source, settings, shard_images))


def _packed(
    remote: RemoteFolder, source: Source, settings: DataSettings, shard_images: int | None
) -> StagedWork[Packed]:
    """The same, where nobody else packs."""
    height, width = source.size
    each = shard_images or max(1, min(SHARD_IMAGES, SHARD_BYTES // (3 * height * width)))
    packed_from = digest(source.digest, str(each))
    there = remote.names()
    if INDEX in there:
        index = _the_same(remote, packed_from)
        _tidy(remote, index, there)
        return Packed(index, True, source.left_out, source.notes)
    records = _begun(remote, packed_from, there)
    writer = Writer(remote, source.size, each, settings.color, records)
    for image in source.rows(writer.taken):
        writer.add(image)
        yield ProgressEvent("packing", writer.taken, len(source))
    writer.finish()
    index = _index(remote, source, settings, writer, packed_from)
    remote.write(INDEX, as_json(index))
    _tidy(remote, index, remote.names())
    return Packed(index, False, source.left_out, source.notes)


class Writer:
    """Shards as they are written.

    Args:
        each: images of a shard.
        color: as in the settings of the data; auto and rgb: grey until an image is not.
        notes: of the shards that are there already.
    """

    def __init__(
        self, remote: RemoteFolder, size: tuple[int, int], each: int, color: str, records: list[ShardRecord]
    ) -> None:
        self.remote, self.size, self.each, self.records = remote, size, each, records
        self.may_widen = color in ("auto", "rgb")
        self.taken = records[-1].taken if records else 0
        self.bad: list[Dropped] = []
        self.buffer = bytearray()
        self.channels = 1 if self.may_widen else COLOR_CHANNELS[color]
        if any(record.shard.file.endswith("-rgb.bin") for record in records):
            self._to_rgb()  # which may have been stopped

    def add(self, image: np.ndarray | Bad) -> None:
        """The next image of the source, (H, W, C), or what is wrong with it."""
        self.taken += 1
        if isinstance(image, Bad):
            self.bad.append((self.taken - 1, image.name, image.reason))
            return
        if self.channels == 1 and self.may_widen and not is_grey(image):
            self._to_rgb()
        self.buffer += self._pixels(image).tobytes()
        if len(self.buffer) == self.each * self._image_bytes(self.channels):
            self.finish()

    def finish(self) -> None:
        """Writes what there is of a shard."""
        if self.buffer:
            self.records.append(self._write(len(self.records), bytes(self.buffer), self.taken, tuple(self.bad)))
            self.buffer.clear()
            self.bad.clear()

    def _pixels(self, image: np.ndarray) -> np.ndarray:
        if self.channels == 1:
            return image[..., :1]
        return image.repeat(3, axis=2) if (self.channels, image.shape[2]) == (3, 1) else image

    def _image_bytes(self, channels: int) -> int:
        return self.size[0] * self.size[1] * channels

    def _write(self, number: int, pixels: bytes, taken: int, bad: tuple[Dropped, ...]) -> ShardRecord:
        stem = f"{number:05d}-{COLOR_OF[self.channels]}"
        shard = Shard(
            file=f"{stem}.bin",
            count=len(pixels) // self._image_bytes(self.channels),
            bytes=len(pixels),
            sha256=sha256(pixels).hexdigest(),
        )
        record = ShardRecord(shard=shard, taken=taken, bad=bad)
        self.remote.write(shard.file, pixels)
        self.remote.write(f"{stem}.json", record.model_dump_json().encode())
        return record

    def _to_rgb(self) -> None:
        """From grey to colour, what is written included."""
        self.channels = 3
        self.buffer = bytearray(_in_colour(bytes(self.buffer)))
        for number, record in enumerate(self.records):
            if record.shard.bytes == record.shard.count * self._image_bytes(1):
                grey = self.remote.read(record.shard.file, record.shard.bytes)
                if sha256(grey).hexdigest() != record.shard.sha256:
                    raise InputError(
                        f"{self.remote.url}/{record.shard.file} has changed meanwhile; pack into another place"
                    )
                self.records[number] = self._write(number, _in_colour(grey), record.taken, record.bad)
                self.remote.remove(record.shard.file.replace(".bin", ".json"))
                self.remote.remove(record.shard.file)


def _index(remote: RemoteFolder, source: Source, settings: DataSettings, writer: Writer, packed_from: str) -> Index:
    """The index of all that has been written; the labels are written too."""
    left_out = [*(each for record in writer.records for each in record.bad), *writer.bad]
    bad = (*source.bad, *((name, reason) for _, name, reason in left_out))
    kept = np.setdiff1d(np.arange(writer.taken), [at for at, _, _ in left_out])
    about, shards = source.described(kept), tuple(record.shard for record in writer.records)
    beside = (about.num_validation or 0) + (about.num_test or 0)
    if len(kept) - beside < 2:
        raise InputError(too_few(printable(settings.source), len(kept) - beside, bad, beside))
    labels = None if about.labels is None else _write_labels(remote, about.labels, len(about.class_names))
    shape = (*source.size, writer.channels)
    files = [*([labels.sha256] if labels else []), *(shard.sha256 for shard in shards)]
    few = len(kept) <= MOST_NAMED
    tree = {
        "count": len(kept),
        "shape": shape,
        "fit": settings.fit,
        "background": settings.background,
        "class_names": about.class_names,
        "labels": labels,
        "num_test": about.num_test,
        "num_validation": about.num_validation,
        "hash": content_hash(shape, about.class_names, files),
        "packed_from": packed_from,
        "shards": shards,
        "bad": bad,
        "names": about.names if few else None,
        "captions": about.captions if few else None,
    }
    return parse(Index, tree, "the index")


def _write_labels(remote: RemoteFolder, labels: np.ndarray, num_classes: int) -> LabelFile:
    content, bytes_each = label_bytes(labels, num_classes)
    remote.write(LABELS, content)
    return LabelFile(file=LABELS, bytes_each=bytes_each, sha256=sha256(content).hexdigest())


def _begun(remote: RemoteFolder, packed_from: str, there: list[str]) -> list[ShardRecord]:
    """What an earlier start of the same packing has done; that of another is taken away.

    Raises:
        InputError: the place holds other things.
    """
    others = [name for name in there if not OURS.fullmatch(name)]
    state = None if others or not there else _state(remote, there)
    if there and state is None:
        held = f"{len(there)} other" if len(there) > 1 else "another"
        raise InputError(
            f"expected an empty place to pack into, got {held} in {printable(remote.url)}, such as "
            f"{printable((others or there)[0])}; choose another"
        )
    if state == packed_from:
        return [*_records(remote, there)]
    for name in (name for name in there if name != STATE):
        remote.remove(name)
    remote.write(STATE, json.dumps({"format": PACKED, "packed_from": packed_from}).encode())
    return []


def _state(remote: RemoteFolder, there: list[str]) -> str | None:
    """What is being packed into the place, as a digest; None where nothing is."""
    try:
        found: Any = parse_json(remote.read(STATE), STATE) if STATE in there else None
    except InputError:
        return None
    return str(found.get("packed_from")) if isinstance(found, dict) and found.get("format") == PACKED else None


def _records(remote: RemoteFolder, there: list[str]) -> Iterator[ShardRecord]:
    """Of the shards from the first on, as far as there are any."""
    for number in count():
        names = [name for kind in KINDS if (name := f"{number:05d}-{kind}.json") in there]
        if not names:
            return
        yield parse(ShardRecord, json_object(remote.read(names[0]), names[0]), names[0])


def _the_same(remote: RemoteFolder, packed_from: str) -> Index:
    """The index that is there.

    Raises:
        InputError: it is that of other images or settings.
    """
    index = read_index(remote)
    if index.packed_from != packed_from:
        raise InputError(
            f"expected an empty place to pack into, got a data set of other images or settings in "
            f"{printable(remote.url)}; choose another, or remove it"
        )
    return index


def _tidy(remote: RemoteFolder, index: Index, there: list[str]) -> None:
    """Removes what was needed while packing only."""
    needed = {INDEX, LABELS if index.labels else "", *(shard.file for shard in index.shards)}
    for name in there:
        if OURS.fullmatch(name) and name not in needed:
            remote.remove(name)


def _check_outside(remote: RemoteFolder, settings: DataSettings) -> None:
    """Nothing is written among the images of a user."""
    if remote.local is None or settings.source in BUILT_IN:
        return
    if remote.local.resolve().is_relative_to(find_folder(settings.source).resolve()):
        raise InputError(f"expected a place outside {settings.source}, got {remote.url}; choose another")


def _in_colour(grey: bytes) -> bytes:
    """Every byte three times: (..., 1) -> (..., 3)."""
    return np.frombuffer(grey, np.uint8).repeat(3).tobytes()
