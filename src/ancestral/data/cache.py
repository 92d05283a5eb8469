"""Decoded images, kept: an array that is memory-mapped, beside a hash of what it came from.

An entry is a folder that appears by one rename, so a reader finds it whole or not at all, and of two processes that
decode the same thing at once one wins and the other uses its result. `<cache>/decoded/<place>/<fingerprint>/` holds
images.npy, labels.npy and entry.json; `place` names the source and the settings, `fingerprint` the source's state.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from ancestral.data.imageset import Collection, ImageSet, frozen
from ancestral.errors import CannotWrite
from ancestral.files import cache_folder

VERSION = 1
STALE_SECONDS = 24 * 3600.0
"""Age at which the temporary folder of a killed process is taken away."""
CHUNK = 1024


def digest(*parts: str) -> str:
    """SHA-256 of a list of texts, in hexadecimal; surrogates of undecodable file names included."""
    return sha256(json.dumps(parts).encode()).hexdigest()


def cached(place: str, fingerprint: str, build: Callable[[Path], tuple[Collection, np.ndarray]]) -> Collection:
    """The entry of `place` at `fingerprint`, built and stored where it is not there yet; older states are dropped.

    Args:
        build: given an empty scratch folder, returns a collection and the order (N,) to store it in.

    Raises:
        CannotWrite: the cache folder is full or cannot be written.
    """
    home = cache_folder() / "decoded" / digest(place)[:32]
    entry = home / digest(fingerprint)[:32]
    if (found := read_entry(entry)) is not None:
        return found
    try:
        home.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".", dir=home))
    except OSError as error:
        raise _cannot_write(home, error) from None
    try:
        collection, order = build(scratch)
        _store(scratch / "entry", collection, order)
        _publish(scratch / "entry", entry)
    except OSError as error:
        raise _cannot_write(home, error) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _drop_others(home, entry)
    stored = read_entry(entry)
    assert stored is not None, "an entry that was just written can be read"
    return stored


def read_entry(entry: Path) -> Collection | None:
    """The collection stored in a folder, its pixels memory-mapped; None where it is missing or damaged."""
    try:
        about = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        if about["version"] != VERSION:
            return None
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = frozen(np.load(entry / "labels.npy", allow_pickle=False)) if about["class_names"] else None
    except (OSError, ValueError, KeyError, EOFError):
        return None
    names, captions = (None if about[key] is None else tuple(about[key]) for key in ("names", "captions"))
    image_set = ImageSet(images, labels, tuple(about["class_names"]), captions, names, about["hash"])
    return Collection(image_set, about["num_test"], about["num_validation"], tuple(map(tuple, about["bad"])))


def _store(entry: Path, collection: Collection, order: np.ndarray) -> None:
    """Writes images.npy, labels.npy and entry.json, the images in `order` and never all in memory."""
    entry.mkdir()
    whole = collection.images
    rows = np.lib.format.open_memmap(entry / "images.npy", mode="w+", dtype=np.uint8, shape=whole.images.shape)
    for start in range(0, len(order), CHUNK):
        rows[start : start + CHUNK] = whole.images[order[start : start + CHUNK]]
    rows.flush()
    if whole.labels is not None:
        np.save(entry / "labels.npy", whole.labels[order], allow_pickle=False)
    about = {
        "version": VERSION,
        "hash": whole.hash,
        "class_names": whole.class_names,
        "names": whole.names and [whole.names[i] for i in order],
        "captions": whole.captions and [whole.captions[i] for i in order],
        "num_test": collection.num_test,
        "num_validation": collection.num_validation,
        "bad": collection.bad,
    }
    (entry / "entry.json").write_text(json.dumps(about), encoding="utf-8")


def _publish(written: Path, entry: Path) -> None:
    """Renames a written folder to its place, unless another process has been faster; a damaged one is replaced."""
    if entry.exists() and read_entry(entry) is None:
        entry.rename(written.with_name("damaged"))
    try:
        written.rename(entry)
    except OSError:
        if read_entry(entry) is None:
            raise


def _drop_others(home: Path, entry: Path) -> None:
    """Removes earlier states of the same source, and what killed processes left; mapped files live on while in use."""
    for other in home.iterdir():
        with suppress(OSError):
            abandoned = not other.name.startswith(".") or time.time() - other.stat().st_mtime > STALE_SECONDS
            if other != entry and abandoned:
                shutil.rmtree(other, ignore_errors=True)


def _cannot_write(home: Path, error: OSError) -> CannotWrite:
    return CannotWrite(f"cannot write the cache {home}: {error.strerror}; set ANCESTRAL_CACHE to a folder with room")
