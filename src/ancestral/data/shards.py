"""A packed data set as columns that are fetched: only the shards and columns that are needed, a pool at a time.

They lie in a folder of bounded size that every process of this machine shares. `<cache>/shards/<hash>/000012.bin` has
the images of a shard, `000012-captions-<sha256>.bin` its captions, whole, with a SHA-256 that was checked as they
arrived; it appears by one rename. What arrives is a .part with all its bytes set aside, so the sum of the sizes is
never more than the budget. To make room the files that were opened longest ago go first; one that is gone can still be
read by whoever has it open. Locks keep two processes from fetching one shard at a time, and from setting aside the same
room.

Rows are read one by one with pread, so that a file that is cut off is noticed and no page of it counts as memory of
this process. While one pool is trained on, a thread fetches the next.

A shard that cannot be had, or not as its sha256 says, costs its images: position p of shard g, the o-th there, is
replaced by the (o mod n)-th of the n of the next shard that is good, g + 1, g + 2 ... in the order of the part. So what
is trained on depends on which shards are bad and on nothing else.
"""

import os
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ancestral.data import shard_index
from ancestral.data.cache import locked
from ancestral.data.imageset import Collection, ImageSet, Missing, Parts
from ancestral.data.order import POOL, PooledOrder
from ancestral.data.parallel import ReadAhead
from ancestral.data.shard_index import CAPTIONS, IMAGES, WHOLE, ColumnFile, Index
from ancestral.data.store import RemoteFolder, remote_folder
from ancestral.data.text_column import ENDS, decoded
from ancestral.errors import CannotWrite, InputError
from ancestral.files import cache_folder, writing
from ancestral.settings import DataSettings

BUDGET_VARIABLE = "ANCESTRAL_SHARD_CACHE_GIB"
"""For all shards of all packed sets on this machine; 8 GiB unless it says otherwise."""


class Gone(Exception):
    """A shard that cannot be had; the reason, in words."""


class ShardCache:
    """A column of one packed set, its files fetched into `folder` and opened as they are needed; what cannot be had is
    `Gone`. `budget`: bytes that all folders beside `folder` may hold together."""

    def __init__(self, remote: RemoteFolder, index: Index, name: str, folder: Path, budget: int) -> None:
        self.remote, self.index, self.folder, self.budget = remote, index, folder, budget
        self.column, self.name = index.columns[name], name
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()
        weakref.finalize(self, _close, self._open)
        self._room = folder.parent / ".lock-room"

    def empty(self, count: int) -> np.ndarray:
        """Room for so many rows; texts are objects."""
        return np.empty((count, *self.column.shape), object if self.column.dtype == "text" else self.column.stored)

    def read(self, number: int, rows: np.ndarray, out: np.ndarray, where: np.ndarray) -> None:
        """Reads `rows` of shard `number` to the places `where` of `out`, which is like `empty`."""
        if self._read(number, rows, out, where):
            return
        self._open.pop(number).close()  # cut off after it had arrived: once more
        self._path(number).unlink(missing_ok=True)
        if not self._read(number, rows, out, where):
            raise Gone("is cut off in the cache")

    def _read(self, number: int, rows: np.ndarray, out: np.ndarray, where: np.ndarray) -> bool:
        """Whether all could be read; neighbours are read at once."""
        handle, ends = self._file(number).fileno(), runs(rows, where)
        firsts, places = rows[ends[:-1]].tolist(), where[ends[:-1]].tolist()
        stretches = zip(firsts, places, np.diff(ends).tolist(), strict=True)
        if self.column.dtype == "text":
            return all(self._read_texts(number, handle, first, out[at : at + n]) for first, at, n in stretches)
        each, flat = out[0].nbytes, out.reshape(-1).data.cast("B")
        return all(_read_into(handle, first * each, flat[at * each : (at + n) * each]) for first, at, n in stretches)

    def _read_texts(self, number: int, handle: int, first: int, out: np.ndarray) -> bool:
        """The same of neighbouring texts; the file is what the index says, which may be that it holds none."""
        begin, found = (self.index.counts[number] + 1) * ENDS.itemsize, np.empty(len(out) + 1, ENDS)
        if not _read_into(handle, first * ENDS.itemsize, found.data.cast("B")):
            return False
        ends: list[int] = found.tolist()
        if ends != sorted(ends) or begin + ends[-1] > self.column.files[number].bytes:
            raise Gone("holds texts that end where there are none")
        content = bytearray(ends[-1] - ends[0])
        if not _read_into(handle, begin + ends[0], memoryview(content)):
            return False
        try:
            out[:] = decoded(ends, content)
        except ValueError:
            raise Gone("holds texts that are not UTF-8") from None
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
        other = "" if self.name == IMAGES else f"-{self.name}-{self.column.files[number].sha256[:16]}"
        return self.folder / f"{number:06d}{other}.bin"

    def _lock(self, number: int) -> Path:
        return self.folder / f".lock-{number % 64}"

    def _is_there(self, number: int) -> bool:
        """Whole: a shard that was cut off in the cache is fetched anew."""
        try:
            return self._path(number).stat().st_size == self.column.files[number].bytes
        except OSError:
            return False

    def _receive(self, number: int, room: int) -> None:
        """Fetches and checks a shard that is not there; `room`: bytes that may be arriving at once."""
        if self._is_there(number):
            return
        shard, part = self.column.files[number], self._path(number).with_suffix(".part")
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
                self.remote.invalidate_listing()  # the driver may remember a wrong size
            with locked(self._room):  # whoever counts would miss it, or find it twice
                part.replace(self._path(number))
        finally:
            part.unlink(missing_ok=True)

    def _attempt(self, shard: ColumnFile, part: Path) -> str:
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


class ShardRows:
    """Rows `start` to `stop` of a packed set; a `Fetched`. `caches`: by column."""

    def __init__(self, caches: Mapping[str, ShardCache], start: int, stop: int) -> None:
        self.caches, self.cache, self.start, self.stop = caches, caches[IMAGES], start, max(start, stop)
        bounds = np.concatenate([[0], np.cumsum(self.cache.index.counts)])
        self.first = int(np.searchsorted(bounds, start, side="right")) - 1  # the shard in which the part begins
        self.bounds = bounds[self.first :][: int(np.searchsorted(bounds, self.stop, side="left")) - self.first + 1]
        self.order = PooledOrder((self.bounds - start).clip(0, len(self)))  # of the shards at its ends what is in it
        self._missing: dict[int, Missing] = {}
        self._pool: tuple[int, int, int, tuple[str, ...]] | None = None
        self.ahead = ReadAhead(lambda name, number: caches[name].fetch_ahead(number))

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        return len(self), *self.cache.index.shape

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The shards whose images others stand in for, in the order in which that was found."""
        return tuple(self._missing.values())

    def sliced(self, start: int, stop: int) -> "ShardRows":
        start, stop, _ = slice(start, stop).indices(len(self))
        return ShardRows(self.caches, self.start + start, self.start + stop)

    def __getitem__(self, where: slice | np.ndarray) -> np.ndarray:
        """The images there, (n, H, W, C); an InputError where one of them cannot be had."""
        return self.column(where, IMAGES)

    def column(self, where: slice | np.ndarray, name: str) -> np.ndarray:
        """Rows of a column, (n, ...); an InputError where one of them cannot be had."""
        places = np.arange(*where.indices(len(self))) if isinstance(where, slice) else np.asarray(where)
        out = self.caches[name].empty(len(places))
        for _, file, reason, _ in self._read(places, {name: out}, np.arange(len(places))):
            raise InputError(f"cannot read the {name} of {file}: {reason}; restore it, or pack the images again")
        return out

    def columns(self, where: np.ndarray, names: tuple[str, ...]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Rows of these columns alone, others in place of those of which one cannot be had, and their positions."""
        out, taken = {name: self.caches[name].empty(len(where)) for name in names}, where.copy()
        todo = np.arange(len(where))
        while len(todo):
            taken[todo] = self._substitutes(where[todo])
            failed = [*self._read(taken, out, todo)]
            for shard, file, reason, _ in failed:
                self._mark_missing(shard, file, reason)
            todo = np.concatenate([places for *_, places in failed]) if failed else todo[:0]
        return out, taken

    def lose(self, where: np.ndarray, reason: str) -> None:
        for shard in np.unique(self._shard_of(where)).tolist():
            self._mark_missing(shard, self._url(IMAGES, shard), reason)

    def read_ahead(self, seed: int, place: int, names: tuple[str, ...] = (IMAGES,)) -> None:
        """Fetches the shards of the pool that `place` of the endless row lies in, and of the next, in a thread."""
        (epoch, pool), shards = self.order.pools_from(seed, place)
        if self._pool != (seed, epoch, pool, names):
            self._pool = (seed, epoch, pool, names)
            there = [self.first + shard for shard in shards if shard not in self._missing]
            self.ahead.ask((name, number) for number in there for name in names)

    def _read(
        self, positions: np.ndarray, out: Mapping[str, np.ndarray], todo: np.ndarray
    ) -> Iterator[tuple[int, str, str, np.ndarray]]:
        """Reads positions[todo] into out[todo] of each column; yields (shard of the part, file, reason, places) of what
        cannot be had."""
        shard_of = self._shard_of(positions[todo])
        for shard in np.unique(shard_of).tolist():
            places = todo[shard_of == shard]
            rows = positions[places] + self.start - self.bounds[shard]
            for name, values in out.items():
                try:
                    self.caches[name].read(self.first + shard, rows, values, places)
                except Gone as fault:
                    yield shard, self._url(name, shard), str(fault), places
                    break

    def _shard_of(self, positions: np.ndarray) -> np.ndarray:
        """The shard of the part that each is in."""
        return np.searchsorted(self.order.bounds, positions, side="right") - 1

    def _url(self, name: str, shard: int) -> str:
        """Where the file of a column lies."""
        cache = self.caches[name]
        return cache.remote.url_of(cache.column.files[self.first + shard].file)

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

    def _mark_missing(self, shard: int, file: str, reason: str) -> None:
        num_images = int(np.diff(self.order.bounds[shard : shard + 2])[0])
        self._missing[shard] = Missing(file, reason, num_images)
        lost = sum(missing.num_images for missing in self.missing)
        if lost > 0.01 * len(self):
            first, got = self.missing[0], f"{lost:,} of {len(self):,} in {len(self.missing)} files"
            raise InputError(
                f"expected at most 1% of the images to train on to be missing, got {got}, such as {first.shard}: "
                f"{first.reason}; restore them, or pack the images again"
            )


class ShardTexts(Sequence[str]):
    """A column of texts of these rows, read as they are asked for; an InputError where one cannot be had."""

    def __init__(self, rows: ShardRows, name: str) -> None:
        self.rows, self.name = rows, name

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        if not isinstance(at, slice):
            return self.rows.column(np.array([range(len(self))[at]]), self.name)[0]
        start, stop, step = at.indices(len(self))
        return ShardTexts(self.rows.sliced(start, stop), self.name) if step == 1 else [*self][at]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 256):
            yield from self.rows.column(slice(start, start + 256), self.name)


def packed_set(source: str, settings: DataSettings) -> Collection:
    place = remote_folder(source)
    index = shard_index.read_index(place)
    shard_index.check_settings(index, settings, source)
    names, folder = index.columns.keys() - {*WHOLE}, cache_folder() / "shards" / index.hash[:32]
    budget = _budget(index, source)
    rows = ShardRows({name: ShardCache(place, index, name, folder, budget) for name in names}, 0, index.count)
    captions = ShardTexts(rows, CAPTIONS) if CAPTIONS in names else index.captions
    labels, attributes = shard_index.read_whole(place, index)
    known = labels, index.class_names, captions, index.names, index.hash, attributes, index.attribute_names
    whole = ImageSet(rows, *known)
    return Collection(whole, index.num_test, index.num_validation, index.bad)


def _budget(index: Index, url: str) -> int:
    """Bytes that the cache may hold, which must hold all columns of the shards of two pools."""
    word = os.environ.get(BUDGET_VARIABLE) or "8"
    try:
        budget = int(float(word) * 2**30)
    except (ValueError, OverflowError):
        raise InputError(f"expected a number of GiB in {BUDGET_VARIABLE}, got {word!r}") from None
    needed = min(2 * POOL, len(index.counts)) * max(index.shard_bytes)
    if budget < needed:
        raise InputError(
            f"expected {BUDGET_VARIABLE} of at least {needed / 2**30:.2g} for the shards of {url}, "
            f"got {budget / 2**30:.2g}; set it higher, or pack with fewer --shard-images"
        )
    return budget


def held_out_in_memory(parts: Parts) -> Parts:
    """The parts of a packed set; validation and test are read now, unless one has more than 256 MiB."""
    held_out = (parts.validation, parts.test)
    validation, test = (each.in_memory() if each.images.nbytes <= 2**28 else each for each in held_out)
    return parts._replace(validation=validation, test=test)


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


def _read_into(handle: int, start: int, out: memoryview) -> bool:
    """Fills `out` with what a file holds from `start` on; whether it holds as much."""
    done = 0
    while done < len(out):
        try:
            count = os.preadv(handle, [out[done:]], start + done)
        except OSError:
            return False
        if not count:
            return False
        done += count
    return True


def _close(files: OrderedDict[int, BinaryIO]) -> None:
    while files:
        files.popitem()[1].close()
