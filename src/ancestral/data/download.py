"""The files of a data set by its name: in $ANCESTRAL_DATA/<name>, in $ANCESTRAL_DATA itself, or from the network.

A download is resumed where it broke off, never longer than known, and used only if its SHA-256 is right.
"""

import hashlib
import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from ancestral.errors import InputError
from ancestral.files import cache_folder, open_regular, writing
from ancestral.progress import ProgressEvent, StagedWork

ATTEMPTS = 3  # breaks in a row without a byte received before a mirror is given up


class RemoteFile(NamedTuple):
    """A file with a known content: its `name`, `size` in bytes and `sha256`, and the mirrors that have it."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...]


def data_root() -> Path | None:
    """$ANCESTRAL_DATA, or None where it is not set."""
    root = os.environ.get("ANCESTRAL_DATA")
    return Path(root).expanduser() if root else None


def data_folders(name: str) -> list[Path]:
    """Folders in which the files of the data set `name` may lie, the likeliest first.

    The root itself counts only if it is not another data set's own folder: MNIST and Fashion-MNIST share file names.
    """
    root = data_root()
    if root is None:
        return []
    return [root / name] if root.name in {"mnist", "fashion-mnist", "cifar10"} - {name} else [root / name, root]


def locate(file: RemoteFile, name: str) -> StagedWork[Path]:
    """`file` of the data set `name` on this machine, downloaded if need be, its sha256 checked."""
    here = [folder / file.name for folder in data_folders(name) if (folder / file.name).is_file()]
    downloads = cache_folder() / "downloads" / name
    place = f"{downloads}, or into a folder {name} of the folder that ANCESTRAL_DATA names"
    path = here[0] if here else (yield from download(file, downloads, place))
    if (actual := sha256_of(path)) != file.sha256:
        raise InputError(f"expected {path} with sha256 {file.sha256}, got {actual}; fetch the file again")
    return path


def download(file: RemoteFile, folder: Path, place: str) -> StagedWork[Path]:
    """`file` in `folder`, fetched if need be; `place`: where a user could put it by hand, for the message."""
    target = folder / file.name
    faults: list[str] = []
    with writing(target):
        folder.mkdir(parents=True, exist_ok=True)
        for url in () if target.is_file() else file.urls:
            if (fault := (yield from _fetch(url, file, target))) is None:
                break
            faults.append(fault)
    if not target.is_file():
        raise InputError(f"cannot download {file.name} ({'; '.join(faults)}); put the file into {place}")
    return target


def _fetch(url: str, file: RemoteFile, target: Path) -> StagedWork[str | None]:
    """Fetches from one mirror; the fault in words if that did not succeed."""
    part = target.with_name(f"{file.name}.part")
    part.touch()
    breaks, fault = 0, ""
    while part.stat().st_size < file.size and breaks < ATTEMPTS:
        before = part.stat().st_size
        fault = yield from _receive(url, file, part)
        breaks = 0 if part.stat().st_size > before else breaks + 1
        if breaks:
            time.sleep(0.1 * 2**breaks)
    if part.stat().st_size < file.size:
        return f"{url}: {fault}"
    if (actual := sha256_of(part)) != file.sha256:
        part.unlink()
        return f"{url}: expected sha256 {file.sha256}, got {actual}"
    part.replace(target)
    return None


def _receive(url: str, file: RemoteFile, part: Path) -> StagedWork[str]:
    """Appends to `part` what one connection gives, up to the file's size; why it ended early, in words."""
    start = part.stat().st_size
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-", "User-Agent": "ancestral"})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except (OSError, HTTPException) as error:
        return str(getattr(error, "reason", error))
    with response, part.open("r+b") as output:
        start = start if response.status == 206 else 0  # a server without ranges begins again
        output.truncate(start)
        output.seek(start)
        while output.tell() < file.size:
            try:
                chunk = response.read1(min(2**18, file.size - output.tell()))
            except (OSError, HTTPException) as error:
                return str(error)
            if not chunk:
                return f"the connection ended after {output.tell()} of {file.size} bytes"
            output.write(chunk)
            yield ProgressEvent(f"downloading {file.name}", output.tell(), file.size)
    return ""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
