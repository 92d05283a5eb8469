"""How fast this machine reads and writes: simple passes over working sets of several sizes, from cache and from memory.

Every byte that an operation reads or writes counts once; a cache line that is fetched only to be overwritten does not.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path
from statistics import median

import torch

from benchmarks.machine import device
from benchmarks.pairs import timed

WORKING_SETS = (2**20, 2**21, 2**22, 2**23, 2**25)
"""Bytes; the first four are those of activations. One of `FROM_MEMORY` times the last cache is added."""
FROM_MEMORY = 4.5
ASSUMED_CACHE = 2**26
"""Bytes, where the system does not say; a GPU has about as much."""
ROUNDS = 7


@dataclass(frozen=True)
class Bandwidth:
    """One pass over one working set; `kind` is read, copy or add."""

    kind: str
    working_set: int  # bytes
    gigabytes_per_second: float


def bandwidths(quick: bool) -> list[Bandwidth]:
    """Every pass over every working set, in float32."""
    sizes = (2**16,) if quick else (*WORKING_SETS, int(FROM_MEMORY * last_cache()))
    return [_rate(kind, size, action) for size in sizes for kind, action in _passes(size)]


def rate_at(found: Sequence[Bandwidth], size: float) -> float:
    """GB/s of the fastest pass over the working set nearest to `size` bytes."""
    nearest = min({each.working_set for each in found}, key=lambda each: abs(log(each) - log(max(size, 1))))
    return max(each.gigabytes_per_second for each in found if each.working_set == nearest)


def last_cache() -> int:
    """Bytes of the processor's last cache."""
    found = [
        int(file.read_text().strip().removesuffix("K")) * 1024
        for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
        if file.read_text().strip().endswith("K")
    ]
    return max(found, default=ASSUMED_CACHE) if device() == "cpu" else ASSUMED_CACHE


def _passes(size: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each over tensors of `size` bytes together."""
    whole = torch.ones(size // 4, device=device())
    (half, other), (a, b, c) = whole.chunk(2), whole[: size // 12 * 3].chunk(3)
    yield "read", partial(torch.sum, whole)
    yield "copy", partial(half.copy_, other)
    yield "add", partial(torch.add, a, b, out=c)


@torch.inference_mode()
def _rate(kind: str, size: int, action: Callable[[], object]) -> Bandwidth:
    measure = timed(action, shortest=0.02)
    measure()
    return Bandwidth(kind, size, size / median(measure() for _ in range(ROUNDS)) / 1e9)
