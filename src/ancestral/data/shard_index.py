"""The index of a packed data set: what its columns and shards hold, and how to know that they arrived whole.

A packed set is a place with these files, none of them a pickle; what they hold is little-endian, in `arranged` order:

    00000-rgb.bin ...        the images of each shard, (count, H, W, C) uint8
    00000-captions.bin ...   the captions of each shard, as text_column.py has them
    labels.bin               the class of every image, 1, 2 or 4 bytes each
    attributes.bin           the attributes of every image, (N, A) float32
    index.json               this; written last, so a place without it is no data set

Other columns of any shape may lie beside the images, a file for each shard. Version 1 had images and labels alone, and
captions in the index. Whoever made the index is not trusted: names cannot lead elsewhere, and numbers have to add up.
"""

import math
from contextlib import suppress
from hashlib import sha256
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from ancestral.colors import COLOR_OF
from ancestral.data.folder import check_not_a_folder
from ancestral.data.imageset import frozen
from ancestral.data.store import RemoteFolder
from ancestral.data.text_column import ENDS
from ancestral.errors import InputError
from ancestral.files import INDEX, PACKED, parse_json
from ancestral.migrations import shards as migrated
from ancestral.settings import DataSettings, PositiveInt, Settings, Side, parse
from ancestral.text import printable

VERSION = 2
IMAGES, CAPTIONS, LABELS, ATTRIBUTES = "images", "captions", "labels", "attributes"
WHOLE = (LABELS, ATTRIBUTES)
"""Columns that lie in one file and are held in memory; of the others each shard has a file."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]*$")]
ColumnName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Count = Annotated[int, Field(ge=0)]


class ColumnFile(Settings):
    file: FileName
    bytes: PositiveInt
    sha256: Sha256


class Column(Settings):
    """What is known of every image, of one kind."""

    dtype: Literal["uint8", "uint16", "uint32", "float16", "float32", "text"]
    shape: tuple[Side, ...]
    """Of a row; () for a number or a text."""
    files: Annotated[tuple[ColumnFile, ...], Field(min_length=1)]
    """One for each shard, or one for all."""

    @property
    def stored(self) -> np.dtype[Any]:
        """The numbers in the files; of texts, of where they end."""
        return ENDS if self.dtype == "text" else np.dtype(self.dtype).newbyteorder("<")

    def holds(self, number: int, count: int) -> bool:
        """Whether a file can have that many rows by its size."""
        size = self.files[number].bytes
        if self.dtype == "text":
            return self.shape == () and size >= (count + 1) * ENDS.itemsize
        return size == count * self.stored.itemsize * math.prod(self.shape)


class Index(Settings):
    """A packed data set; what it is stands first in the file."""

    format: Literal["ancestral-shards"] = "ancestral-shards"
    version: Literal[2] = 2
    count: PositiveInt
    """Images."""
    counts: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Of each shard."""
    columns: dict[ColumnName, Column]
    """What there is of every image, the images among them."""
    fit: Literal["crop", "pad", "squash"]
    background: str
    """How images were fitted to their shape; as in `DataSettings`."""
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...] = ()
    num_test: Count | None
    num_validation: Count | None
    """As in `Collection`."""
    hash: Sha256
    """Of the content: shape, classes, and sha256 of all files; of a set without captions and attributes as before."""
    packed_from: Sha256
    """Of the source and the settings: the same command again finds its work done."""
    bad: tuple[tuple[str, str], ...]
    """(file name, reason) of what was left out."""
    names: tuple[str, ...] | None
    """Of every image; None where the source had none, or the set is too large to list them."""
    captions: tuple[str, ...] | None = None
    """Of every image, where no column has them: of a set that was packed in version 1."""

    @model_validator(mode="after")
    def _adds_up(self) -> "Index":
        images = self.columns.get(IMAGES)
        if images is None or images.dtype != "uint8" or len(images.shape) != 3:
            raise ValueError("expected images of a shape (H, W, C), uint8")
        for name, column in self.columns.items():
            counts = (self.count,) if name in WHOLE else self.counts
            if len(column.files) != len(counts):
                raise ValueError(f"expected {len(counts)} files of {name}, got {len(column.files)}")
            if not all(column.holds(number, count) for number, count in enumerate(counts)):
                raise ValueError(f"expected files of {name} of so many bytes for each image, got another number")
        if sum(self.counts) != self.count:
            raise ValueError(f"expected shards of {self.count} images together, got another number")
        if any(listed is not None and len(listed) != self.count for listed in (self.names, self.captions)):
            raise ValueError("expected a name and a caption for each image")
        kinds = {name: (column.dtype.rstrip("0123456789"), column.shape) for name, column in self.columns.items()}
        wanted = {
            LABELS: ("uint", ()) if self.class_names else None,
            ATTRIBUTES: ("float", (len(self.attribute_names),)) if self.attribute_names else None,
            CAPTIONS: ("text", ()) if CAPTIONS in kinds else None,
        }
        if any(kinds.get(name) != kind for name, kind in wanted.items()):
            raise ValueError(
                "expected labels with class names, attributes with a name each, and captions that are texts"
            )
        if (self.num_test or 0) + (self.num_validation or 0) >= self.count:
            raise ValueError("expected images to train on beside num_test and num_validation")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        height, width, channels = self.columns[IMAGES].shape
        return height, width, channels

    @property
    def shards(self) -> tuple[ColumnFile, ...]:
        """The files of images."""
        return self.columns[IMAGES].files

    @property
    def shard_bytes(self) -> list[int]:
        """Of each shard, all its columns together."""
        columns = [column.files for name, column in self.columns.items() if name not in WHOLE]
        return [sum(file.bytes for file in files) for files in zip(*columns, strict=True)]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the data that say the same as the index."""
        height, width, channels = self.shape
        size = height if height == width else (height, width)
        return {"size": size, "color": COLOR_OF.get(channels, "auto"), "fit": self.fit, "background": self.background}


def read_index(remote: RemoteFolder) -> Index:
    """The index of a packed set; an InputError where none can be read or it is of a newer format."""
    where = f"{printable(remote.url)}/{INDEX}"
    try:
        content = remote.read(INDEX, 2**28)  # it may name and describe a hundred thousand images
    except InputError as error:
        raise InputError(f"{error}; pack images into it with ancestral data pack") from None
    tree: Any = None
    with suppress(InputError):
        tree = parse_json(content, where)
    if not isinstance(tree, dict) or tree.get("format") != PACKED:
        raise InputError(f"expected the index of a packed data set, got a malformed or other {where}; pack it again")
    if tree.get("version") not in (1, VERSION):
        raise InputError(
            f"expected a packed data set of version {VERSION}, got {tree.get('version')} in {where}; update ancestral"
        )
    return parse(Index, migrated(tree), where)


def _column(remote: RemoteFolder, index: Index, name: str) -> np.ndarray | None:
    """All rows (N, ...) of a column out of `WHOLE`, or None where there is none such."""
    if (column := index.columns.get(name)) is None:
        return None
    (about,) = column.files
    content = remote.read(about.file, about.bytes)
    if len(content) != about.bytes or sha256(content).hexdigest() != about.sha256:
        raise InputError(f"expected the index's {name} in {remote.url}/{about.file}, got others; pack again")
    return np.frombuffer(content, column.stored).reshape(index.count, *column.shape)


def read_whole(remote: RemoteFolder, index: Index) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The labels (N,) int64 and the attributes (N, A) of a packed set, None where it has no such."""
    labels, attributes = (_column(remote, index, name) for name in WHOLE)
    if labels is not None and labels.max() >= len(index.class_names):
        raise InputError(f"expected labels of {len(index.class_names)} classes in {remote.url}, got others; pack again")
    return None if labels is None else frozen(labels.astype(np.int64)), attributes


def check_settings(index: Index, settings: DataSettings, url: str) -> None:
    """That the settings ask for the pixels that were packed; a setting at its default asks for nothing."""
    packed = index.settings
    asked = {
        "size": settings.height_width in (None, index.shape[:2]),
        "color": settings.color in ("auto", packed["color"]),
        "fit": settings.fit in (DataSettings().fit, index.fit),
        "background": settings.background in (DataSettings().background, index.background),
    }
    if settings.where:
        raise InputError(
            f"expected no data.where with {printable(url)}, which is packed, got {settings.where[0]}; pack the images "
            "again with --where"
        )
    check_not_a_folder(settings, printable(url))
    for name in (name for name, agrees in asked.items() if not agrees):
        raise InputError(
            f"expected data.{name} = {packed[name]}, as {printable(url)} was packed, got {getattr(settings, name)}; "
            f"leave it out, or pack the images again with --{name}"
        )
