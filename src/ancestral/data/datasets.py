"""The data sets by name, and `load`: settings -> train, validation and test parts.

To add a data set, write one function from settings to a `Collection` and name it in `BUILT_IN`, and in
`DATA_SETS` of the settings, by which commands know it before any data is loaded.
"""

import difflib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ancestral.data.builtin import FASHION_MNIST, MNIST, digits, idx_dataset, photos
from ancestral.data.cifar import cifar10
from ancestral.data.download import data_root
from ancestral.data.folder import check_not_a_folder, image_folder
from ancestral.data.images import parse_color
from ancestral.data.imageset import Collection, Parts, divide
from ancestral.data.shapes import shapes
from ancestral.data.shards import held_out_in_memory, packed_set
from ancestral.errors import InputError
from ancestral.files import is_packed, is_url
from ancestral.progress import StagedWork, finish
from ancestral.settings import DataSettings
from ancestral.settings.data import NUM_THINGS
from ancestral.text import printable

BUILT_IN: dict[str, Callable[[DataSettings], StagedWork[Collection]]] = {
    "digits": digits,
    "photos": photos,
    "mnist": partial(idx_dataset, MNIST),
    "fashion-mnist": partial(idx_dataset, FASHION_MNIST),
    "cifar10": cifar10,
    **{kind: partial(shapes, kind) for kind in NUM_THINGS},
}
"""Those of `DATA_SETS`, each with what collects it."""


def load(settings: DataSettings) -> Parts:
    """The same as `loading`, once it is done."""
    return finish(loading(settings))


def loading(settings: DataSettings) -> StagedWork[Parts]:
    """The data set that the settings name, divided in three, always alike; warn of its files that cannot be used."""
    whole = yield from collecting(settings)
    parts = divide(whole, settings.validation, settings.test)
    return parts if isinstance(whole.images.images, np.ndarray) else held_out_in_memory(parts)


def collecting(settings: DataSettings) -> StagedWork[Collection]:
    """The whole data set that the settings name, before its division."""
    source = settings.source
    if source in BUILT_IN:
        check_not_a_folder(settings, source)
        parse_color(settings.background)
        whole = yield from BUILT_IN[source](settings)
    elif is_url(source):
        whole = packed_set(source, settings)
    elif is_packed(folder := find_folder(source)):
        whole = packed_set(str(folder), settings)
    else:
        whole = yield from image_folder(folder, settings)
    images = whole.images.with_attributes(settings.attributes)
    images = images.unlabelled() if settings.labels == "none" else images
    return whole._replace(images=replace(images, captions=None) if settings.captions == "none" else images)


def find_folder(source: str) -> Path:
    """The folder at `source`, or for a bare name the folder of that name in $ANCESTRAL_DATA."""
    path, root = Path(source).expanduser(), data_root()
    if path.exists():
        return path
    bare = path.name == source
    if bare and root is not None and (root / source).is_dir():
        return root / source
    if not bare:
        raise InputError(f"expected a folder of images, got none at {printable(source)}; check the path")
    here = [folder.name for folder in root.iterdir() if folder.is_dir()] if root is not None and root.is_dir() else []
    near = difflib.get_close_matches(source, [*BUILT_IN, *here], n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(BUILT_IN)}, or the path of a folder"
    raise InputError(f"expected a data set or a folder of images, got {printable(source)!r}; {remedy}")
