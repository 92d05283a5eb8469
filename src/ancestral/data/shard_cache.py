"""Shards near at hand: a folder of bounded size that every process of this machine shares.

`<cache>/shards/<hash>/000012.bin` is a whole shard whose SHA-256 was checked as it arrived; it appears by one rename.
What arrives is a .part with all its bytes set aside, so the sum of the sizes is never more than the budget. To make
room the shards that were opened longest ago go first; a file that is gone can still be read by whoever has it open.

Locks keep two processes from fetching one shard at a time, and from setting aside the same room.

Images are read one by one with pread, so that a file that is cut off is noticed and no page of it counts as memory of
this process.
"""

import os
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ancestral.data.cache import locked
from ancestral.data.order import POOL
from ancestral.data.shard_index import Index, Shard
from ancestral.data.store import RemoteFolder
from ancestral.errors import CannotWrite, InputError
from ancestral.files import cache_folder, writing

BUDGET_VARIABLE = "ANCESTRAL_SHARD_CACHE_GIB"
"""For all shards of all packed sets on this machine; 8 GiB unless it says otherwise."""


class Gone(Exception):
    """A shard that cannot be had; the reason, in words."""


class ShardCache:
    """The shards of one packed set, fetched into `folder` and opened as they are needed; what cannot be had is `Gone`.

    `budget`: bytes that all folders beside `folder` may hold together, which must hold the shards of two pools.
    """

    def __init__(self, remote: RemoteFolder, index: Index, folder: Path, budget: int) -> None:
        self.remote, self.index, self.folder, self.budget = remote, index, folder, budget
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()
        weakref.finalize(self, _close, self._open)
        self._room = folder.parent / ".lock-room"
        needed = min(2 * POOL, len(index.shards)) * max(shard.bytes for shard in index.shards)
        if budget < needed:
            raise InputError(
                f"expected {BUDGET_VARIABLE} of at least {needed / 2**30:.2g} for the shards of {remote.url}, "
                f"got {budget / 2**30:.2g}; set it higher, or pack with fewer --shard-images"
            )

    def read(self, number: int, rows: np.ndarray, out: np.ndarray, where: np.ndarray) -> None:
        """Reads images `rows` of shard `number` to the places `where` of `out`, (n, H, W, C)."""
        if self._read(self._file(number), rows, out, where):
            return
        self._open.pop(number).close()  # cut off after it had arrived: once more
        self._path(number).unlink(missing_ok=True)
        if not self._read(self._file(number), rows, out, where):
            raise Gone("is cut off in the cache")

    def _read(self, file: BinaryIO, rows: np.ndarray, out: np.ndarray, where: np.ndarray) -> bool:
        """Whether all could be read; neighbours are read at once."""
        each, handle, flat = out[0].nbytes, file.fileno(), out.reshape(-1).data.cast("B")
        ends = runs(rows, where)
        firsts, places = rows[ends[:-1]].tolist(), where[ends[:-1]].tolist()
        for first, place, length in zip(firsts, places, np.diff(ends).tolist(), strict=True):
            view, done = flat[place * each : (place + length) * each], 0
            while done < len(view):
                try:
                    count = os.preadv(handle, [view[done:]], first * each + done)
                except OSError:
                    return False
                if not count:
                    return False
                done += count
        return True

    def _file(self, number: int) -> BinaryIO:
        """A shard, kept open and to be read without a buffer."""
        file = self._open.pop(number, None) or self._opened(number)
        self._open[number] = file
        if len(self._open) > 2 * POOL:  # a batch may reach from one pool into the next
            self._open.popitem(last=False)[1].close()
        return file

    def _opened(self, number: int) -> BinaryIO:
        while True:
            with self._writing(), suppress(FileNotFoundError):  # another process may have made room with it meanwhile
                if not self._is_there(number):
                    with locked(self._lock(number)):
                        self._receive(number, self.budget)
                file = self._path(number).open("rb", buffering=0)
                os.utime(file.fileno())
                return file

    def fetch_ahead(self, number: int) -> None:
        """Fetches a shard, if nobody else is at it and half of the budget has room for all that is being received; one
        that is there already counts as opened, so that it stays."""
        if self._is_there(number):
            os.utime(self._path(number))
            return
        with self._writing(), locked(self._lock(number), wait=False) as is_held:
            if is_held:
                self._receive(number, self.budget // 2)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.bin"

    def _lock(self, number: int) -> Path:
        return self.folder / f".lock-{number % 64}"

    def _is_there(self, number: int) -> bool:
        """Whole: a shard that was cut off in the cache is fetched anew."""
        try:
            return self._path(number).stat().st_size == self.index.shards[number].bytes
        except OSError:
            return False

    def _receive(self, number: int, room: int) -> None:
        """Fetches and checks a shard that is not there; `room`: bytes that may be arriving at once."""
        if self._is_there(number):
            return
        shard, part = self.index.shards[number], self._path(number).with_suffix(".part")
        self._path(number).unlink(missing_ok=True)
        try:
            if not self._set_aside(part, shard.bytes, room):
                return
            for pause in (0.5, 2.0, None):  # seconds between attempts
                if not (reason := self._attempt(shard, part)):
                    break
                if pause is None:
                    raise Gone(reason)
                time.sleep(pause)
                self.remote.files.invalidate_cache()  # the driver may remember a wrong size
            with locked(self._room):  # whoever counts would miss it, or find it twice
                part.replace(self._path(number))
        finally:
            part.unlink(missing_ok=True)

    def _attempt(self, shard: Shard, part: Path) -> str:
        """Receives a shard once; why it cannot be used, or ""."""
        content, count = sha256(), 0
        try:
            with part.open("r+b") as file:
                for chunk in self.remote.chunks(shard.file):
                    count += len(chunk)
                    if count > shard.bytes:
                        break
                    file.write(chunk)
                    content.update(chunk)
        except InputError as error:
            return str(error)
        if count != shard.bytes:
            return f"expected {shard.bytes:,} bytes, got {'more' if count > shard.bytes else f'{count:,}'}"
        return "" if content.hexdigest() == shard.sha256 else "wrong sha256"

    def _set_aside(self, part: Path, size: int, room: int) -> bool:
        """Makes room for a shard and takes it; whether there was any. There must be with the whole budget."""
        with locked(self._room):
            part.unlink(missing_ok=True)
            whole, arriving = _kept(self.folder.parent)
            if sum(arriving.values()) + size > room:
                if room < self.budget:
                    return False
                raise CannotWrite(
                    f"expected room for another shard in {self.folder.parent}, got other processes that fill "
                    f"{BUDGET_VARIABLE} = {self.budget / 2**30:.2g}; set it higher"
                )
            total = sum(whole.values()) + sum(arriving.values())
            for oldest in whole:
                if total + size <= self.budget:
                    break
                oldest.unlink(missing_ok=True)
                total -= whole[oldest]
            with part.open("wb") as file:
                file.truncate(size)
        return True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with writing(f"the cache {self.folder}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            yield


def cache_for(remote: RemoteFolder, index: Index) -> ShardCache:
    """The cache of a packed set on this machine."""
    word = os.environ.get(BUDGET_VARIABLE, "")
    try:
        budget = int(float(word or 8) * 2**30)
    except (ValueError, OverflowError):
        raise InputError(f"expected a number of GiB in {BUDGET_VARIABLE}, got {word!r}") from None
    return ShardCache(remote, index, cache_folder() / "shards" / index.hash[:32], budget)


def _kept(root: Path) -> tuple[dict[Path, int], dict[Path, int]]:
    """Bytes of the whole shards under `root`, oldest first, and of those that arrive; what is stale is taken away."""
    whole: list[tuple[float, Path, int]] = []
    arriving: dict[Path, int] = {}
    for path in root.glob("*/*.*"):
        with suppress(FileNotFoundError):
            status = path.stat()
            if path.suffix == ".bin":
                whole.append((status.st_mtime, path, status.st_size))
            elif path.suffix == ".part" and time.time() - status.st_mtime > 3600:  # of a process that was killed
                path.unlink()
            elif path.suffix == ".part":
                arriving[path] = status.st_size
    return {path: size for _, path, size in sorted(whole)}, arriving


def runs(*columns: np.ndarray) -> np.ndarray:
    """The ends 0 ... n of the stretches over which every column rises by one from each number to the next."""
    broken = np.zeros(len(columns[0]) - 1, bool)
    for column in columns:
        broken |= np.diff(column) != 1
    return np.concatenate([[0], np.flatnonzero(broken) + 1, [len(columns[0])]])


def _close(files: OrderedDict[int, BinaryIO]) -> None:
    while files:
        files.popitem()[1].close()
