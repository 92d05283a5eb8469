"""Shards near at hand: a folder of bounded size that every process of this machine shares.

`<cache>/shards/<hash>/000012.bin` is a whole shard whose SHA-256 was checked as it arrived; it appears by one rename.
What arrives is a .part with all its bytes set aside, so the sum of the sizes is never more than the budget. To make
room the shards that were opened longest ago go first; a file that is gone can still be read by whoever has it open.

Locks keep two processes from fetching one shard at a time, and from setting aside the same room. They are the
system's (flock), so those of a killed process are free.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from ancestral.data.order import POOL
from ancestral.data.shard_index import Index, Shard
from ancestral.data.store import RemoteFolder
from ancestral.errors import CannotWrite, InputError
from ancestral.files import cache_folder, writing

BUDGET_VARIABLE = "ANCESTRAL_SHARD_CACHE_GIB"
BUDGET_GIB = 8.0
"""All shards of all packed sets on this machine, unless the variable says otherwise."""
PAUSES_SECONDS = (0.5, 2.0)
"""Between attempts to fetch a shard; one more attempt than pauses."""
STALE_SECONDS = 3600.0
"""Age at which what a killed process was receiving is taken away."""
LOCKS = 64


class Gone(Exception):
    """A shard that cannot be had; the reason, in words."""


class ShardCache:
    """The shards of one packed set, fetched when they are opened.

    Args:
        folder: where they are kept.
        budget: bytes that all folders beside `folder` may hold together.

    Raises:
        InputError: the budget does not hold the shards of two pools.
    """

    def __init__(self, remote: RemoteFolder, index: Index, folder: Path, budget: int) -> None:
        self.remote, self.shards, self.folder, self.budget = remote, index.shards, folder, budget
        self._room = folder.parent / ".lock-room"
        needed = min(2 * POOL, len(index.shards)) * max(shard.bytes for shard in index.shards)
        if budget < needed:
            raise InputError(
                f"expected {BUDGET_VARIABLE} of at least {needed / 2**30:.2g} for the shards of {remote.url}, "
                f"got {budget / 2**30:.2g}; set it higher, or pack with fewer --shard-images"
            )

    def opened(self, number: int) -> BinaryIO:
        """Shard `number`, to be read without a buffer; fetched if it is not there.

        Raises:
            Gone: it cannot be had.
            CannotWrite: the cache is full or cannot be written.
        """
        while True:
            self.fetch(number)
            with self._writing(), suppress(FileNotFoundError):  # another process may have made room with it meanwhile
                file = self._path(number).open("rb", buffering=0)
                os.utime(file.fileno())
                return file

    def fetch(self, number: int) -> None:
        """Puts a shard into the cache; waits where another process is doing so. Raises as `opened` does."""
        if self._is_there(number):
            return
        with self._writing(), _locked(self._lock(number)):
            if not self._is_there(number):
                self._receive(number, self.budget)

    def fetch_ahead(self, number: int) -> None:
        """The same, if nobody else is at it and half of the budget has room for all that is being received; one that is
        there already counts as opened, so that it stays."""
        if self._is_there(number):
            os.utime(self._path(number))
            return
        with self._writing(), _locked(self._lock(number), wait=False) as mine:
            if mine and not self._is_there(number):
                self._receive(number, self.budget // 2)

    def drop(self, number: int) -> None:
        """Takes away a shard that turned out damaged after it had arrived."""
        self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.bin"

    def _lock(self, number: int) -> Path:
        return self.folder / f".lock-{number % LOCKS}"

    def _is_there(self, number: int) -> bool:
        """Whole: a shard that was cut off in the cache is fetched anew."""
        try:
            return self._path(number).stat().st_size == self.shards[number].bytes
        except OSError:
            return False

    def _receive(self, number: int, room: int) -> None:
        """Fetches and checks a shard, again where it arrives damaged; `room`: bytes that may be arriving at once."""
        shard, part = self.shards[number], self._path(number).with_suffix(".part")
        self.drop(number)
        try:
            if not self._set_aside(part, shard.bytes, room):
                return
            reason = self._attempt(shard, part)
            for pause in PAUSES_SECONDS if reason else ():
                time.sleep(pause)
                self.remote.invalidate_listing()
                if not (reason := self._attempt(shard, part)):
                    break
            if reason:
                raise Gone(reason)
            with _locked(self._room):  # whoever counts would miss it, or find it twice
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
        """Makes room for a shard and takes it; whether there was any.

        Raises:
            CannotWrite: there is none, even with the whole budget.
        """
        with _locked(self._room):
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
    """The cache of a packed set on this machine.

    Raises:
        InputError: the budget is no number, or too small.
    """
    word = os.environ.get(BUDGET_VARIABLE, "")
    try:
        gib = float(word) if word else BUDGET_GIB
        budget = int(gib * 2**30)
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
            elif path.suffix == ".part" and time.time() - status.st_mtime > STALE_SECONDS:
                path.unlink()
            elif path.suffix == ".part":
                arriving[path] = status.st_size
    return {path: size for _, path, size in sorted(whole)}, arriving


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock `path`; whether it could be had, where it is not waited for."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        flock(handle, LOCK_EX if wait else LOCK_EX | LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        yield False
        return
    try:
        yield True
    finally:
        os.close(handle)
