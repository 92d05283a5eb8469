"""A packed data set as images that are fetched: only the shards that are needed, a pool of them at a time.

While one pool is trained on, a thread fetches the next.

A shard that cannot be had, or not as its sha256 says, costs its images: position p of shard g, the o-th there, is
replaced by the (o mod n)-th of the n of the next shard that is good, g + 1, g + 2 ... in the order of the part. So what
is trained on depends on which shards are bad and on nothing else.
"""

from collections.abc import Iterator

import numpy as np

from ancestral.data.imageset import Collection, ImageSet, Missing, Parts
from ancestral.data.order import PooledOrder
from ancestral.data.parallel import ReadAhead
from ancestral.data.shard_cache import Gone, ShardCache, cache_for
from ancestral.data.shard_index import check_settings, read_index, read_labels
from ancestral.data.store import remote_folder
from ancestral.errors import InputError
from ancestral.settings import DataSettings

MOST_MISSING = 0.01
"""Share of the images to train on that others may stand in for."""


class ShardRows:
    """Images `start` to `stop` of a packed set; a `Fetched`."""

    def __init__(self, cache: ShardCache, start: int, stop: int) -> None:
        self.cache, self.start, self.stop = cache, start, max(start, stop)
        bounds = np.concatenate([[0], np.cumsum([shard.count for shard in cache.index.shards])])
        self.first = int(np.searchsorted(bounds, start, side="right")) - 1  # the shard in which the part begins
        self.bounds = bounds[self.first :][: int(np.searchsorted(bounds, self.stop, side="left")) - self.first + 1]
        self.order = PooledOrder((self.bounds - start).clip(0, len(self)))  # of the shards at its ends what is in it
        self._missing: dict[int, Missing] = {}
        self._pool: tuple[int, int, int] | None = None
        self.ahead = ReadAhead(cache.fetch_ahead)

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self), *self.cache.index.shape

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The shards whose images others stand in for, in the order in which that was found."""
        return tuple(self._missing.values())

    def sliced(self, start: int, stop: int) -> "ShardRows":
        """Images `start` to `stop` of these."""
        start, stop, _ = slice(start, stop).indices(len(self))
        return ShardRows(self.cache, self.start + start, self.start + stop)

    def __getitem__(self, where: slice | np.ndarray) -> np.ndarray:
        """The images there, (n, H, W, C); an InputError where one of them cannot be had."""
        places = np.arange(len(self))[where] if isinstance(where, slice) else np.asarray(where)
        out = np.empty((len(places), *self.shape[1:]), np.uint8)
        for shard, reason, _ in self._read(places, out, np.arange(len(places))):
            name = self._name(shard)
            raise InputError(f"cannot read the images of {name}: {reason}; restore it, or pack the images again")
        return out

    def take(self, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images there, others in place of those that cannot be had, and their positions."""
        out, taken = np.empty((len(where), *self.shape[1:]), np.uint8), where.copy()
        todo = np.arange(len(where))
        while len(todo):
            taken[todo] = self._substitutes(where[todo])
            failed = [*self._read(taken, out, todo)]
            for shard, reason, _ in failed:
                self._mark_missing(shard, reason)
            todo = np.concatenate([places for _, _, places in failed]) if failed else todo[:0]
        return out, taken

    def read_ahead(self, seed: int, place: int) -> None:
        """Fetches the shards of the pool that `place` of the endless row lies in, and of the next, in a thread."""
        (epoch, pool), shards = self.order.pools_from(seed, place)
        if self._pool != (seed, epoch, pool):
            self._pool = (seed, epoch, pool)
            self.ahead.ask(self.first + shard for shard in shards if shard not in self._missing)

    def _read(self, positions: np.ndarray, out: np.ndarray, todo: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
        """Reads positions[todo] into out[todo]; yields (shard of the part, reason, places) of what cannot be had."""
        shard_of = np.searchsorted(self.order.bounds, positions[todo], side="right") - 1
        for shard in np.unique(shard_of).tolist():
            places = todo[shard_of == shard]
            rows = positions[places] + self.start - self.bounds[shard]
            try:
                self.cache.read(self.first + shard, rows, out, places)
            except Gone as fault:
                yield shard, str(fault), places

    def _substitutes(self, positions: np.ndarray) -> np.ndarray:
        """The positions, but of images that are missing those of the ones in their place."""
        if not self._missing:
            return positions
        bounds, standing = self.order.bounds, positions.copy()
        count = len(bounds) - 1
        for bad in self._missing:
            other = next(g % count for g in range(bad + 1, bad + count) if g % count not in self._missing)
            there = (positions >= bounds[bad]) & (positions < bounds[bad + 1])
            offsets = (positions[there] - bounds[bad]) % (bounds[other + 1] - bounds[other])
            standing[there] = bounds[other] + offsets
        return standing

    def _mark_missing(self, shard: int, reason: str) -> None:
        """Counts a shard as missing."""
        num_images = int(np.diff(self.order.bounds[shard : shard + 2])[0])
        self._missing[shard] = Missing(self._name(shard), reason, num_images)
        lost = sum(missing.num_images for missing in self.missing)
        if lost > MOST_MISSING * len(self):
            first = self.missing[0]
            raise InputError(
                f"expected at most {MOST_MISSING:.0%} of the images to train on to be missing, got {lost:,} of "
                f"{len(self):,} in {len(self.missing)} files, such as {first.shard}: {first.reason}; restore them, or "
                "pack the images again"
            )

    def _name(self, shard: int) -> str:
        return f"{self.cache.remote.url.rstrip('/')}/{self.cache.index.shards[self.first + shard].file}"


def packed_set(source: str, settings: DataSettings) -> Collection:
    """The packed data set at a path or a URL."""
    place = remote_folder(source)
    index = read_index(place)
    check_settings(index, settings, source)
    images = ShardRows(cache_for(place, index), 0, index.count)
    labels = read_labels(place, index)
    whole = ImageSet(images, labels, index.class_names, index.captions, index.names, index.hash)
    return Collection(whole, index.num_test, index.num_validation, index.bad)


def held_out_in_memory(parts: Parts) -> Parts:
    """The parts of a packed set; validation and test are read now, unless one has more than 256 MiB."""

    def near(images: ImageSet) -> ImageSet:
        return images.in_memory() if images.images.nbytes <= 2**28 else images

    return parts._replace(validation=near(parts.validation), test=near(parts.test))
