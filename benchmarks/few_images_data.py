"""Squares cut from a folder of larger images: to train on in nested numbers, and held-out ones of other images.

Many images of a folder are nearly the same, or show the same thing elsewhere: a wall with its switch on and off. Such
images are a family, and what is held out is of families that nothing is trained on. Else a held-out image would have a
copy of itself among those that were trained on, and nothing could be said of copies.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.sparse.csgraph import connected_components

from ancestral.data.images import decode
from ancestral.data.listing import list_images
from ancestral.files import write_whole
from ancestral.rng import mix

SIDE = 64  # of a cut, px
STRIDES = (64, 32, 16)  # px between cuts: the next one, where they overlap, is for when there are no more of the last
ALIKE = 8.0  # of 255: root mean square between two cuts, halved in size, at which their images are of one family
HELD_OUT = {"test": 0.2, "validation": 0.15}  # of the families
LEAST_OF_A_CLASS = 5  # squares of a family, below which no features are learned from it

Sources = Mapping[str, np.ndarray]
"""(H, W, 3) uint8 by the name of the file."""


class Cut(NamedTuple):
    """Where a square was cut."""

    source: str
    top: int
    left: int

    def of(self, sources: Sources) -> np.ndarray:
        """(SIDE, SIDE, 3) uint8."""
        return sources[self.source][self.top : self.top + SIDE, self.left : self.left + SIDE]

    @property
    def overlaps(self) -> bool:
        """Whether there is another, at the first stride, that it shares pixels with."""
        return bool(self.top % STRIDES[0] or self.left % STRIDES[0])


class Cuts(NamedTuple):
    """Cuts of three kinds of families. The first few to train on are of as many families as they can be."""

    train: list[Cut]
    validation: list[Cut]  # these two do not overlap
    test: list[Cut]
    features: list[list[Cut]]  # by family, of those of `validation`, overlapping: what features are learned from
    real: list[Cut]  # some to train on that do not overlap, as many as `test`: how alike real ones are to these


def read_sources(root: Path) -> Sources:
    """Every image in a folder that a square can be cut from."""
    found = {name: np.asarray(decode(root / name, 3)) for name in list_images(root).files}
    return {name: pixels for name, pixels in found.items() if min(pixels.shape[:2]) >= SIDE}


def divided(sources: Sources, seed: int = 0) -> Cuts:
    """A function of images and seed."""
    groups = families(sources)
    random = np.random.default_rng(mix(seed, "few images", "families"))
    order = random.permutation(len(groups))
    ends = np.cumsum([round(share * len(groups)) for share in HELD_OUT.values()])
    test, watched, train = ([groups[i] for i in part] for part in np.split(order, ends))
    apart, tested = (shuffled(cuts(sources, part, STRIDES[:1], seed), random) for part in (train, test))
    of_families = (cuts(sources, [group], (*STRIDES, STRIDES[-1] // 2), seed) for group in watched)
    return Cuts(
        train=cuts(sources, train, STRIDES, seed),
        validation=cuts(sources, watched, STRIDES[:1], seed),
        test=tested,
        features=[each for each in of_families if len(each) >= LEAST_OF_A_CLASS],
        real=apart[: len(tested)],
    )


def families(sources: Sources) -> list[list[str]]:
    """Names of images, those together of which two cuts are alike, and those that are so by way of others."""
    grid = [cut for name in sources for cut in _places(sources, name, SIDE)]
    halved = [cut.of(sources).reshape(SIDE // 2, 2, SIDE // 2, 2, 3).sum(axis=(1, 3), dtype=float) for cut in grid]
    sums = np.stack(halved).reshape(len(grid), -1)  # whole numbers, as are the products: exact on every machine
    squares = (sums**2).sum(axis=1)
    apart = squares[:, None] + squares - 2 * sums @ sums.T
    owners = np.array([cut.source for cut in grid])
    together = (apart <= (4 * ALIKE) ** 2 * sums.shape[1]) | (owners[:, None] == owners)
    count, which = connected_components(together, directed=False)
    return [sorted({*owners[which == i].tolist()}) for i in range(count)]


def cuts(sources: Sources, groups: Sequence[Sequence[str]], strides: Sequence[int], seed: int) -> list[Cut]:
    """Cuts that differ, one of each family in turn, at the first stride as long as there are any."""
    random = np.random.default_rng(mix(seed, "few images", "cuts", len(groups)))
    taken: dict[bytes, Cut] = {}
    for stride in strides:
        every = [[cut for name in group for cut in _places(sources, name, stride)] for group in groups]
        for turn in zip_longest(*(shuffled(each, random) for each in every)):
            for cut in filter(None, turn):
                taken.setdefault(cut.of(sources).tobytes(), cut)
    return [*taken.values()]


def shuffled(some: Sequence[Cut], random: np.random.Generator) -> list[Cut]:
    """The same in an order drawn at random."""
    return [some[i] for i in random.permutation(len(some))]


def write_folder(folder: Path, sources: Sources, parts: Mapping[str, Sequence[Cut]]) -> Path:
    """The cuts as PNG files in sub-folders that say their part, as `ancestral train` reads them; where each was cut
    stands in a file beside the folder, by which one that is whole is known and left alone."""
    record, said = folder.with_name(f"{folder.name}.json"), json.dumps(parts) + "\n"
    if not (folder.is_dir() and record.is_file() and record.read_text(encoding="utf-8") == said):
        shutil.rmtree(folder, ignore_errors=True)
        for part, its in parts.items():
            (folder / part).mkdir(parents=True)
            for i, cut in enumerate(its):
                Image.fromarray(cut.of(sources)).save(folder / part / f"{i:04d}.png")
        write_whole(record, said)
    return folder


def _places(sources: Sources, name: str, stride: int) -> Iterator[Cut]:
    height, width = sources[name].shape[:2]
    for top in range(0, height - SIDE + 1, stride):
        for left in range(0, width - SIDE + 1, stride):
            yield Cut(name, top, left)
