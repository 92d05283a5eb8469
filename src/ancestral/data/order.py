"""In which order the images of a set are seen: a row for each epoch that is a function of (seed, epoch) alone.

Epochs follow one another in an endless row, of which a batch is a stretch; it may reach across epochs. There are two
orders. `Shuffled` permutes all images of an epoch at once. `PooledOrder` is for images that lie in shards of which few
can be at hand: with pi a permutation of the shards, drawn anew for each epoch, and P shards in a pool,

    row of an epoch = | pool 0, permuted | pool 1, permuted | ... |,    pool k = shards pi(k P) ... pi(k P + P - 1)

so a stretch of the row touches the shards of one pool or two, each shard is read once an epoch, and no more than the
images of a pool is ever permuted.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ancestral.rng import generator

POOL = 4
"""Shards that are mixed with one another: as many are read from at a time."""


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, num_images: int) -> Int64[Tensor, "N"]:
    """The order of an epoch; kept for the batches to come, not to be written to."""
    return torch.randperm(num_images, generator=generator(seed, "epoch", epoch))


class Shuffled:
    """All images of an epoch permuted at once; its length is their number."""

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images

    def __len__(self) -> int:
        return self.num_images

    def sliced(self, seed: int, epoch: int, start: int, stop: int) -> Int64[Tensor, "n"]:
        """Positions in the image set of places `start` to `stop` of an epoch's row, 0 <= start <= stop <= len."""
        return permutation(seed, epoch, self.num_images)[start:stop]


class PooledOrder:
    """Shards permuted, then the images of `pool` neighbouring shards together.

    Shard g holds the positions bounds[g] to bounds[g + 1]; `bounds` is (G + 1,) int64 and rises from 0.
    """

    def __init__(self, bounds: np.ndarray, pool: int = POOL) -> None:
        self.bounds, self.pool = bounds, pool
        self._epoch = lru_cache(maxsize=2)(self._new_epoch)
        self._pool = lru_cache(maxsize=2)(self._new_pool)

    def __len__(self) -> int:
        return int(self.bounds[-1])

    def sliced(self, seed: int, epoch: int, start: int, stop: int) -> Int64[Tensor, "n"]:
        _, ends = self._epoch(seed, epoch)
        first, last = self._pools_at(ends, start), self._pools_at(ends, stop - 1)
        pieces = [self._pool(seed, epoch, k) for k in range(first, last + 1)] if stop > start else []
        row = torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.int64)
        return row[start - int(ends[first]) :][: stop - start]

    def pools_from(self, seed: int, place: int) -> tuple[tuple[int, int], list[int]]:
        """Where `place` of the endless row lies, as (epoch, pool), and the shards of that pool and of the next."""
        epoch, within = divmod(place, len(self))
        _, ends = self._epoch(seed, epoch)
        here = self._pools_at(ends, within)
        after = (epoch, here + 1) if here + 2 < len(ends) else (epoch + 1, 0)
        return (epoch, here), [*self._shards(seed, epoch, here), *self._shards(seed, *after)]

    def _pools_at(self, ends: np.ndarray, place: int) -> int:
        return max(0, int(np.searchsorted(ends, place, side="right")) - 1)

    def _shards(self, seed: int, epoch: int, pool: int) -> list[int]:
        shards, _ = self._epoch(seed, epoch)
        return shards[pool * self.pool : (pool + 1) * self.pool].tolist()

    def _new_epoch(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The shards (G,) of an epoch as they follow one another, and where its pools begin and end in its row."""
        shards = torch.randperm(len(self.bounds) - 1, generator=generator(seed, "shards", epoch)).numpy()
        after = np.concatenate([[0], np.cumsum(np.diff(self.bounds)[shards])])
        return shards, np.concatenate([after[: -1 : self.pool], after[-1:]])

    def _new_pool(self, seed: int, epoch: int, pool: int) -> Int64[Tensor, "n"]:
        ends = [(int(self.bounds[g]), int(self.bounds[g + 1])) for g in self._shards(seed, epoch, pool)]
        together = torch.cat([torch.arange(*pair) for pair in ends])
        return together[torch.randperm(len(together), generator=generator(seed, "pool", epoch, pool))]


Order = Shuffled | PooledOrder


def batch_positions(order: Order, seed: int, step: int, batch_size: int) -> Int64[Tensor, "B"]:
    """Positions (B,) of the images of batch `step`, counted from 0; B may exceed the images of an epoch."""
    count, start, stop = len(order), step * batch_size, (step + 1) * batch_size
    assert count > 0, "an empty set has no batches"
    pieces = []
    for epoch in range(start // count, (stop - 1) // count + 1):
        first = epoch * count
        pieces.append(order.sliced(seed, epoch, max(start - first, 0), min(stop - first, count)))
    return torch.cat(pieces)
