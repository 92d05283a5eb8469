"""Writing files so that a reader, or the next start after a crash, finds the old content or the new, never a half;
and the folder of what can be made again."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from ancestral.errors import CannotWrite

INDEX = "index.json"
"""The file that makes a folder or a place of an object store a packed data set; it is written last."""
PACKED = "ancestral-shards"
"""What such a file says of itself in its first line."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes `content` to `path` by way of a temporary neighbour, flushed to disk and renamed over it.

    Raises:
        CannotWrite: disk full, folder missing or read-only; whatever stood at `path` is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        flush(path.parent)
    except OSError as fault:
        raise CannotWrite(f"cannot write {path}: {fault.strerror}; free space or choose another folder") from None


def cache_folder() -> Path:
    """$ANCESTRAL_CACHE, or ~/.cache/ancestral."""
    return Path(os.environ.get("ANCESTRAL_CACHE") or Path.home() / ".cache" / "ancestral").expanduser()


def is_url(source: str) -> bool:
    """Whether `source` names a place by a URL, and not a path or a data set."""
    return "://" in source


def is_packed(folder: Path) -> bool:
    """Whether a folder of this machine is a packed data set, by the beginning of its index."""
    with suppress(OSError), (folder / INDEX).open("rb") as file:
        return PACKED.encode() in file.read(64)
    return False


def flush(path: Path) -> None:
    """Forces a file's bytes, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
