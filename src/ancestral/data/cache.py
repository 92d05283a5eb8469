"""Decoded images, kept: an array that is memory-mapped to be read, beside a hash of what it came from.

An entry is a folder that appears by one rename, so a reader finds it whole or not at all, and of two processes that
decode the same thing at once one wins and the other uses its result. `<cache>/decoded/<place>/<fingerprint>/` holds
images.npy, labels.npy, attributes.npy and entry.json; `place` names the source and the settings, `fingerprint` the
source's state.

Nothing is written through a mapping: a disk that is full would kill the process and not tell it. What a killed process
leaves is taken away by the next one: who builds holds the lock of a scratch folder.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import sha256
from pathlib import Path

import numpy as np

from ancestral.data.imageset import Collection, ImageSet, frozen
from ancestral.files import cache_folder, check_regular, read_text, scratch_folder, writing
from ancestral.progress import StagedWork

VERSION = 2
LOCK = "lock"


def digest(*parts: str) -> str:
    """SHA-256 of a list of texts, in hexadecimal; surrogates of undecodable file names included."""
    return sha256(json.dumps(parts).encode()).hexdigest()


def cached(
    place: str, fingerprint: str, build: Callable[[Path], StagedWork[tuple[Collection, np.ndarray]]]
) -> StagedWork[Collection]:
    """The entry of `place` at `fingerprint`, stored if it is not there yet, in place of earlier states.

    `build` is given an empty scratch folder and makes a collection and the order (N,) to store it in.
    """
    home = cache_folder() / "decoded" / digest(place)[:32]
    entry = home / digest(fingerprint)[:32]
    if (found := read_entry(entry)) is not None:
        return found
    with writing(f"the cache {home}"):
        home.mkdir(parents=True, exist_ok=True)
        with _scratch(home) as scratch:
            collection, order = yield from build(scratch)
            _store(scratch / "entry", collection, order)
            if entry.exists() and read_entry(entry) is None:
                entry.rename(scratch / "damaged")
            try:
                (scratch / "entry").rename(entry)
            except OSError:  # another process has been faster
                if read_entry(entry) is None:
                    raise
    for other in home.iterdir():  # earlier states of the same source; mapped files live on while in use
        if other != entry and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
    stored = read_entry(entry)
    assert stored is not None, "an entry that was just written can be read"
    return stored


def read_entry(entry: Path) -> Collection | None:
    """The collection stored in a folder, its pixels memory-mapped; None where it is missing or damaged."""
    try:
        about = json.loads(read_text(entry / "entry.json", most=2**32))
        if about["version"] != VERSION:
            return None
        class_names, attribute_names = tuple(about["class_names"]), tuple(about.get("attribute_names", ()))
        check_regular(entry / "images.npy")
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = _column(entry / "labels.npy") if class_names else None
        attributes = _column(entry / "attributes.npy") if attribute_names else None
        names, captions = (None if about[key] is None else tuple(about[key]) for key in ("names", "captions"))
        known = labels, class_names, captions, names, about["hash"], attributes, attribute_names
        image_set = ImageSet(images, *known)
        return Collection(image_set, about["num_test"], about["num_validation"], tuple(map(tuple, about["bad"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError):
        return None


def _column(path: Path) -> np.ndarray:
    check_regular(path)
    return frozen(np.load(path, allow_pickle=False))


def _store(entry: Path, collection: Collection, order: np.ndarray) -> None:
    """Writes images.npy, labels.npy, attributes.npy and entry.json, the images in `order` and never all in memory."""
    entry.mkdir()
    whole = collection.images
    about_rows = {"descr": "|u1", "fortran_order": False, "shape": whole.images.shape}
    with (entry / "images.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, about_rows)
        for start in range(0, len(order), 1024):
            file.write(np.ascontiguousarray(whole.images[order[start : start + 1024]]).data)
    for name, column in (("labels.npy", whole.labels), ("attributes.npy", whole.attributes)):
        if column is not None:
            np.save(entry / name, column[order], allow_pickle=False)
    about = {
        "version": VERSION,
        "hash": whole.hash,
        "class_names": whole.class_names,
        "attribute_names": whole.attribute_names,
        "names": whole.names and [whole.names[i] for i in order],
        "captions": whole.captions and [whole.captions[i] for i in order],
        "num_test": collection.num_test,
        "num_validation": collection.num_validation,
        "bad": collection.bad,
    }
    (entry / "entry.json").write_text(json.dumps(about), encoding="utf-8")


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Holds the lock `path`, which is the system's (flock), so that of a killed process is free; whether it could be
    had, where it is not waited for."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    is_held = False
    try:
        with suppress(BlockingIOError):
            flock(handle, LOCK_EX if wait else LOCK_EX | LOCK_NB)
            is_held = True
        yield is_held
    finally:
        os.close(handle)


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """An empty folder in `home` whose lock is held, and which is gone afterwards; those of killed processes are too."""
    with ExitStack() as held:
        with locked(home.parent / ".lock"):  # between a folder and its lock it would look abandoned
            for other in home.parent.glob("*/.*"):
                if _is_abandoned(other):
                    shutil.rmtree(other, ignore_errors=True)
            scratch = scratch_folder(home)
            held.enter_context(locked(scratch / LOCK))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _is_abandoned(scratch: Path) -> bool:
    """Whether nobody holds its lock; of one without a lock, as older versions left them, its age tells."""
    with suppress(OSError):
        if not (scratch / LOCK).exists():
            return time.time() - scratch.stat().st_mtime > 24 * 3600
        with locked(scratch / LOCK, wait=False) as is_free:
            return is_free
    return False
