"""The index of a packed data set: what its shards hold, and how to know that they arrived whole.

A packed set is a place with three kinds of files, none of them a pickle:

    00000-rgb.bin ...   shards: images as they follow one another in `arranged` order, (count, H, W, C) uint8
    labels.bin          the class of every image, in the same order: little-endian, 1, 2 or 4 bytes each
    index.json          this; written last, so a place without it is no data set

Whoever made the index is not trusted: names cannot lead elsewhere, and numbers have to add up.
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
from ancestral.errors import InputError
from ancestral.files import INDEX, PACKED, parse_json
from ancestral.settings import DataSettings, PositiveInt, Settings, Side, parse
from ancestral.text import printable

VERSION = 1
LABELS = "labels.bin"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]*$")]
Count = Annotated[int, Field(ge=0)]


class Shard(Settings):
    """One file of images."""

    file: FileName
    count: PositiveInt
    bytes: PositiveInt
    sha256: Sha256


class LabelFile(Settings):
    """The file of labels, so many bytes each."""

    file: FileName
    bytes_each: Literal[1, 2, 4]
    sha256: Sha256


class Index(Settings):
    """A packed data set; what it is stands first in the file."""

    format: Literal["ancestral-shards"] = "ancestral-shards"
    version: Literal[1] = 1
    count: PositiveInt
    """Images."""
    shape: tuple[Side, Side, Literal[1, 2, 3, 4]]
    """(H, W, C)."""
    fit: Literal["crop", "pad", "squash"]
    background: str
    """How images were fitted to that shape; as in `DataSettings`."""
    class_names: tuple[str, ...]
    labels: LabelFile | None
    num_test: Count | None
    num_validation: Count | None
    """As in `Collection`."""
    hash: Sha256
    """Of the content: shape, classes, sha256 of the labels, if any, and of the shards."""
    packed_from: Sha256
    """Of the source and the settings: the same command again finds its work done."""
    shards: Annotated[tuple[Shard, ...], Field(min_length=1)]
    bad: tuple[tuple[str, str], ...]
    """(file name, reason) of what was left out."""
    names: tuple[str, ...] | None
    captions: tuple[str, ...] | None
    """Of every image; None where the source had none, or names of a set too large to list them."""

    @model_validator(mode="after")
    def _adds_up(self) -> "Index":
        each = math.prod(self.shape)
        if any(shard.bytes != shard.count * each for shard in self.shards):
            raise ValueError(f"expected {each} bytes for each image of a shard, got another number")
        if sum(shard.count for shard in self.shards) != self.count:
            raise ValueError(f"expected shards of {self.count} images together, got another number")
        if any(listed is not None and len(listed) != self.count for listed in (self.names, self.captions)):
            raise ValueError("expected a name and a caption for each image")
        if (self.labels is None) != (not self.class_names):
            raise ValueError("expected class names with labels and none without")
        if (self.num_test or 0) + (self.num_validation or 0) >= self.count:
            raise ValueError("expected images to train on beside num_test and num_validation")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the data that say the same as the index."""
        height, width, channels = self.shape
        size = height if height == width else (height, width)
        return {"size": size, "color": COLOR_OF[channels], "fit": self.fit, "background": self.background}


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
    if tree.get("version") != VERSION:
        raise InputError(
            f"expected a packed data set of version {VERSION}, got {tree.get('version')} in {where}; update ancestral"
        )
    return parse(Index, tree, where)


def read_labels(remote: RemoteFolder, index: Index) -> np.ndarray | None:
    """The labels (N,) int64 of a packed set, or None where it has no classes."""
    if index.labels is None:
        return None
    each = index.labels.bytes_each
    content = remote.read(index.labels.file, each * index.count)
    found = np.frombuffer(content, f"<u{each}") if len(content) == each * index.count else None
    if found is None or sha256(content).hexdigest() != index.labels.sha256 or found.max() >= len(index.class_names):
        raise InputError(f"expected the index's labels in {remote.url}/{index.labels.file}, got others; pack again")
    return frozen(found.astype(np.int64))


def check_settings(index: Index, settings: DataSettings, url: str) -> None:
    """That the settings ask for the pixels that were packed; a setting at its default asks for nothing."""
    packed = index.settings
    asked = {
        "size": settings.height_width in (None, index.shape[:2]),
        "color": settings.color in ("auto", packed["color"]),
        "fit": settings.fit in (DataSettings().fit, index.fit),
        "background": settings.background in (DataSettings().background, index.background),
    }
    check_not_a_folder(settings, printable(url))
    for name in (name for name, agrees in asked.items() if not agrees):
        raise InputError(
            f"expected data.{name} = {packed[name]}, as {printable(url)} was packed, got {getattr(settings, name)}; "
            f"leave it out, or pack the images again with --{name}"
        )
