"""A few images of a data set, decoded again once it is known which to look at; nothing is written to the cache."""

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from ancestral.data.datasets import BUILT_IN, collection, find_folder
from ancestral.data.folder import classes, decode_folder, select, shown
from ancestral.data.images import decode, picture_of
from ancestral.data.imageset import ImageSet, frozen
from ancestral.data.listing import list_images
from ancestral.progress import finish
from ancestral.settings import DataSettings


def seen(settings: DataSettings, bad: Container[str], count: int) -> ImageSet:
    """Up to `count` images as the network will see them: of all classes alike, in the order of the classes.

    Args:
        bad: names, fit for printing, of files to leave out.

    Raises:
        InputError: fewer than two images can be used.
    """
    if settings.source in BUILT_IN:
        whole = collection(settings).images
        return whole.ordered(spread(whole.labels, len(whole), count))
    selection = select(list_images(find_folder(settings.source)), settings)
    names = [name for name in selection.files if shown(name) not in bad]
    labels, _ = classes(names, selection)
    chosen = tuple(names[i] for i in spread(labels, len(names), count))
    with TemporaryDirectory() as scratch:
        decoding = decode_folder(replace(selection, files=chosen, parts={}), settings, Path(scratch) / "rows")
        part = finish(decoding)[0].images
        part = replace(part, images=frozen(np.array(part.images)))
    return part if settings.labels != "none" else part.unlabelled()


def pictures(settings: DataSettings) -> Callable[[str], Image.Image]:
    """A function from the name of an image, as reports print it, to the whole upright picture.

    The function raises BadImage where the file has changed since.
    """
    if settings.source in BUILT_IN:
        images = collection(DataSettings(source=settings.source)).images.pixels()
        return lambda name: picture_of(images[int(name.removeprefix("image "))])
    listing = list_images(find_folder(settings.source))
    place = {shown(name): listing.root / name for name in listing.files}
    return lambda name: decode(place[name], None, settings.background)


def spread(labels: np.ndarray | None, num_images: int, count: int) -> np.ndarray:
    """At most `count` indices, in the order of the classes: as many of each as there are, evenly spread over it."""
    labels = np.zeros(num_images, np.int64) if labels is None else labels
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    turns = sorted((turn, one) for one, images in enumerate(members) for turn in range(min(len(images), count)))
    shares = Counter(one for _, one in turns[:count])
    places = [np.linspace(0, len(images) - 1, shares[one]).round() for one, images in enumerate(members)]
    return np.concatenate([images[at.astype(np.int64)] for images, at in zip(members, places, strict=True)])
