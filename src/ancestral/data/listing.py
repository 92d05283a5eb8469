"""The image files under a folder: every level, in the same order everywhere, nothing followed twice or opened."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

from ancestral.data.images import SUFFIXES
from ancestral.errors import InputError
from ancestral.text import printable

METADATA = ("metadata.csv", "metadata.jsonl")


@dataclass(frozen=True)
class Listing:
    """What lies under `root`.

    Args:
        files: names of image files relative to `root`, with / between folders, sorted.
        metadata: metadata.csv or metadata.jsonl directly in `root`, or None.
        bad: (name, reason) of what could not be listed.
    """

    root: Path
    files: tuple[str, ...]
    metadata: Path | None
    bad: tuple[tuple[str, str], ...]


def list_images(root: Path) -> Listing:
    """Lists `root` by suffix, upper case or lower; hidden files and folders are left out, links are followed once.

    Raises:
        InputError: `root` is missing, no folder, or cannot be listed; it holds no images, or both kinds of metadata.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"expected a folder of images, got {_what_else(root)}")
    files: list[str] = []
    others: Counter[str] = Counter()
    bad: list[tuple[str, str]] = []

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == root:
            raise InputError(f"cannot list the folder {printable(root)}: {error.strerror}") from None
        bad.append((printable(os.path.relpath(error.filename, root)), f"cannot be listed: {error.strerror}"))

    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back, or a second link to the same folder
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES and not name.startswith("."):
                files.append((Path(here) / name).relative_to(root).as_posix())
            else:
                others[suffix or "no suffix"] += 1
    if not files:
        raise InputError(_nothing_found(root, bad, others))
    return Listing(root, tuple(sorted(files)), _metadata(root), tuple(bad))


def fingerprint(listing: Listing) -> str:
    """Names, sizes and times of change of everything that decides the content, as text."""
    names = [*listing.files, *([listing.metadata.name] if listing.metadata else [])]
    return "\n".join(f"{name!r} {_state(listing.root / name)}" for name in names) + f"\n{listing.bad}"


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return str(error.errno)
    return f"{status.st_size} {status.st_mtime_ns} {S_ISDIR(status.st_mode)}"


def _metadata(root: Path) -> Path | None:
    found = [root / name for name in METADATA if (root / name).is_file()]
    if len(found) > 1:
        raise InputError(f"expected metadata.csv or metadata.jsonl in {printable(root)}, got both; remove one")
    return found[0] if found else None


def _nothing_found(root: Path, bad: list[tuple[str, str]], others: Counter[str]) -> str:
    reasons = [f"{name} {reason}" for name, reason in bad[:1]]
    reasons += [f"{count} of {printable(suffix)}" for suffix, count in others.most_common(2)]
    found = ", ".join(reasons) or "an empty folder"
    return f"expected PNG, JPEG, WebP, BMP, GIF or TIFF images in {printable(root)}, got {found}"


def _what_else(root: Path) -> str:
    if root.exists():
        return f"a file: {printable(root)}; name the folder it lies in"
    return f"none at {printable(root)}; check the path"
