"""The data sets `shapes-one`, `shapes` and `shapes-three`: scenes with captions, each drawn from its place alone.

A fixed number of them is drawn once. An endless set is drawn as it is asked for, 2^24 scenes before one comes again.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ancestral.data.cache import digest
from ancestral.data.drawing import draw
from ancestral.data.imageset import Collection, ImageSet, Missing, frozen
from ancestral.data.order import PooledOrder
from ancestral.data.scenes import Scene, new_scene, randomness
from ancestral.data.wording import caption
from ancestral.errors import InputError
from ancestral.progress import ProgressEvent, StagedWork
from ancestral.settings import DataSettings

VERSION = "1"  # raise it when a scene, its caption or its pixels change
SIDE = 32  # pixels at least, below which shapes cannot be told apart
ENDLESS = 2**24
NUM_VALIDATION, NUM_TEST = 1024, 2048  # of an endless set
MOST_COMPARED = 20_000  # images of an endless set
TOGETHER = 256  # scenes drawn at a time
SHUFFLED = 4096  # neighbours that go together in the order of an endless set


def shapes(kind: str, settings: DataSettings) -> StagedWork[Collection]:
    """The scenes of the data set `kind`, RGB on white, with their captions; an InputError where they cannot be so."""
    height, width = settings.height_width or (SIDE, SIDE)
    if height != width or height < SIDE:
        raise InputError(f"expected a square data.size of at least {SIDE} for {kind}, got {height} x {width}")
    if settings.color not in ("auto", "rgb"):
        raise InputError(
            f"expected data.color rgb or auto for {kind}, whose captions name colours, got {settings.color}"
        )
    if settings.flip:
        raise InputError(f"expected no data.flip for {kind}: left would be right, against its captions")
    content = digest("shapes", VERSION, kind, str(height), str(settings.scenes))
    if settings.scenes == "endless":
        held_out = NUM_VALIDATION * (settings.validation > 0), NUM_TEST * (settings.test > 0)
        rows = SceneRows(kind, height, 0, ENDLESS + sum(held_out))
        return Collection(ImageSet(rows, None, (), SceneCaptions(rows), None, content), held_out[1], held_out[0])
    rows = SceneRows(kind, height, 0, settings.scenes)
    pixels = np.empty(rows.shape, np.uint8)
    for start in range(0, len(rows), TOGETHER):
        pixels[start : start + TOGETHER] = rows[start : start + TOGETHER]
        yield ProgressEvent("drawing", min(start + TOGETHER, len(rows)), len(rows))
    return Collection(ImageSet(frozen(pixels), None, (), SceneCaptions(rows), None, content))


def scene_at(kind: str, place: int) -> tuple[Scene, str]:
    """The scene of this place in the data set `kind`, and its caption."""
    random = randomness(kind, place)
    return (scene := new_scene(kind, random)), caption(scene, random)


def compared_with(images: ImageSet) -> ImageSet:
    """The images that others are compared with: all, or the first of an endless set."""
    return images.sliced(0, MOST_COMPARED) if is_endless(images) else images


def is_endless(images: ImageSet) -> bool:
    """Whether images are drawn as they are asked for, more than anyone could keep."""
    return isinstance(images.images, SceneRows)


class SceneRows:
    """The images `start` to `stop` of the data set `kind`, drawn as they are asked for: `Fetched`, from nowhere."""

    missing: tuple[Missing, ...] = ()

    def __init__(self, kind: str, side: int, start: int, stop: int) -> None:
        self.kind, self.side, self.start, self.stop = kind, side, start, stop
        self.order = PooledOrder(np.append(np.arange(0, len(self), SHUFFLED), len(self)))

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self), self.side, self.side, 3

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def sliced(self, start: int, stop: int) -> "SceneRows":
        start, stop, _ = slice(start, stop).indices(len(self))
        return SceneRows(self.kind, self.side, self.start + start, self.start + max(start, stop))

    def __getitem__(self, where: slice | np.ndarray) -> np.ndarray:
        places = np.arange(*where.indices(len(self))) if isinstance(where, slice) else np.asarray(where)
        return self.columns(places, ("images",))[0]["images"]

    def columns(self, where: np.ndarray, names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        scenes, texts = [], np.empty(len(where), object)
        for row, place in enumerate(where.tolist()):
            scene, texts[row] = scene_at(self.kind, self.start + range(len(self))[place])
            scenes.append(scene)
        columns = {"captions": texts}
        if "images" in names:
            columns["images"] = np.empty((len(scenes), *self.shape[1:]), np.uint8)
            for at in range(0, len(scenes), TOGETHER):
                columns["images"][at : at + TOGETHER] = draw(scenes[at : at + TOGETHER], self.side)
        return {name: columns[name] for name in names}, where

    def lose(self, where: np.ndarray, reason: str) -> None:
        """There are no files."""

    def read_ahead(self, seed: int, place: int, names: tuple[str, ...] = ("images",)) -> None:
        """There is nothing to wait for."""


class SceneCaptions(Sequence[str]):
    """What the images of these rows show, in words."""

    def __init__(self, rows: SceneRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        if not isinstance(at, slice):
            return scene_at(self.rows.kind, self.rows.start + range(len(self))[at])[1]
        start, stop, step = at.indices(len(self))
        return (
            SceneCaptions(self.rows.sliced(start, stop)) if step == 1 else [self[i] for i in range(start, stop, step)]
        )

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))
