"""Where results go, settled before any work is done for them.

What stands there already is replaced only where it is a result of the same kind, which every kind's mark tells, or
where the user says so by --overwrite. A measurement is replaced only by one of as many images or more. Nothing is
written into a pipeline, a checkpoint or a packed data set, over what the command reads, or through a link out of a run.
An output that may not or cannot be written is an InputError, a disk that is full or read-only a CannotWrite.
"""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ancestral.errors import InputError
from ancestral.files import REMEDIES, cannot_write, check_replaceable, is_packed, open_regular, scratch_folder

GENERATED = b"tEXtweights\0"  # in pictures of what a network generated: the name of a text that tells which network
FILM = b"ancestral film"
ARRAYS = b"x_0.npy"
CLASSIFIER = b'{"__metadata__":{"classifier":'
REPORT = b"Written by ancestral report."
DATA_PAGE = b"Written by ancestral data check."
SHOWN = b"ancestral show"
CHECKED = b"ancestral data check"
SWEPT = b"ancestral sweep"
AVERAGED = b"ancestral ema"
RATED = b"ancestral rate"
BOUND = b"ancestral evaluate"
TEXTS = b"ancestral evaluate --text"
EXPORTED = b"ancestral-onnx"
SHARED = b"Written by ancestral share."
ENDINGS = {
    *(".png", ".apng", ".gif", ".webp", ".mp4", ".jpg", ".jpeg", ".pdf"),
    *(".html", ".npz", ".json", ".safetensors", ".onnx", ".txt", ".csv", ".bin", ".pt", ".zip"),
}
"""Of files, which no folder of results should have."""
PNG = b"\x89PNG"
BEGINNINGS = {".png": PNG, ".apng": PNG, ".gif": b"GIF8", ".webp": b"RIFF", ".html": b"<!doctype html>", ".npz": b"PK"}
"""How every file of such a name begins."""
LEAST_ROOM = 2**16  # bytes that the disk has at least, for whatever is written


class Output(NamedTuple):
    """A file to be written, and the mark of what may stand there already."""

    path: Path
    mark: bytes


def claim(outputs: Sequence[Output], overwrite: bool, inputs: Collection[Path] = (), room: int = LEAST_ROOM) -> None:
    """That every output, of about `room` bytes together, may be written.

    `overwrite`: whether files of the user's may be replaced; `inputs`: what the command reads, which never is.
    """
    folders = {folder: folder.resolve() for folder in {output.path.parent for output in outputs}}
    for folder in folders:
        check_folder(folder, room)
    seen = {each.resolve() for each in inputs}
    for output in outputs:
        place = folders[output.path.parent] / output.path.name
        if place in seen:
            raise InputError(f"expected {output.path} for one result and no input; choose another name or folder")
        seen.add(place)
        if _is_there(output.path) and not overwrite and not _written_here(output):
            raise _theirs(output.path)


def place_for(file: Path, images: int, measured_in: Callable[[Path], int], overwrite: bool) -> Path:
    """Where a measurement of so many images goes: `file`, or beside it where that holds one of more images.

    `measured_in` tells how many images the measurement in a file is of; an InputError where it is none.
    """
    check_folder(file.parent)
    for place in (file, file.with_stem(f"{file.stem}-{images}")):
        if not _is_there(place) or overwrite:
            return place
        try:
            there = measured_in(place)
        except InputError as fault:
            said = f"expected {place} to be a measurement of this kind, got: {fault}; or --overwrite it"
            raise InputError(said) from None
        if images >= there:
            return place
    raise _theirs(place)


def check_folder(folder: Path, room: int = LEAST_ROOM) -> None:
    """That a folder can be made and written to, is one for results, and that its disk has `room` bytes."""
    folder = folder.absolute()
    _check_names(folder.parts, 255)
    for place in (folder, *folder.parents):
        if _holds(place.parent, "config.json", "lock") or _holds(place.parent, "codec.json", "lock"):
            check_part(place)
    for place in (real := folder.resolve(), *real.parents):
        if _holds(place, "model_index.json") or _holds(place, "manifest.json", "state.json") or is_packed(place):
            raise InputError(f"expected a folder outside {place}, which is no place for results, got {folder}")
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise InputError(f"cannot write to {folder}: {there} is no folder; choose another")
    check_writable(folder, there)
    if (free := shutil.disk_usage(there).free) < room:
        raise cannot_write(folder, OSError(errno.ENOSPC, f"its disk has {free:,} bytes left, and it takes {room:,}"))


def check_writable(folder: Path, there: Path | None = None) -> None:
    """Makes a folder in the one that is there (None: `folder`), and removes it again: what the system says counts."""
    there = there or folder
    try:
        scratch_folder(there).rmdir()
    except OSError as fault:
        if fault.errno in REMEDIES:
            raise cannot_write(folder, fault) from None
        raise InputError(f"cannot write to {folder}: {there}: {fault.strerror}; choose another") from None


def check_part(entry: Path) -> None:
    """That what belongs to a run lies in it: what is written there is not written where a link leads."""
    if entry.is_symlink():
        raise InputError(f"expected {entry} to be part of its run, got a link; remove it")


def file_named(word: str | None, option: str, suffixes: Iterable[str]) -> Path | None:
    """The file that was typed for an option, whose name has to end in one of `suffixes`; None where none was."""
    if word is None:
        return None
    if Path(word).suffix.lower() not in suffixes:
        raise InputError(f"expected {option} to end in {' or '.join(suffixes)}, got {word!r}")
    return Path(word)


def folder_named(word: str, option: str) -> Path:
    """The folder that was typed for an option, whose name must not be a file's."""
    folder = Path(word)
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"expected {option} to be a folder, got {word!r}, which is none; choose another")
    if folder.suffix.lower() in ENDINGS and not folder.is_dir():
        raise InputError(f"expected a folder for {option}, got {word!r}, the name of a file; leave {folder.suffix} out")
    return folder


def _is_there(path: Path) -> bool:
    """Whether there is a file, which is all that can be replaced."""
    _check_names([path.name], 240)  # its temporary neighbour has a few more
    check_replaceable(path)
    return os.path.lexists(path)


def _check_names(names: Iterable[str], most: int) -> None:
    """That no name has more than `most` bytes; file systems have 255."""
    if long := [name for name in names if len(os.fsencode(name)) > most]:
        raise InputError(f"expected names of at most {most} bytes, got {long[0][:20]}...; choose a shorter one")


def _written_here(output: Output) -> bool:
    """Whether the file that is there is a result of the same kind."""
    within = 2**20  # bytes of the beginning and of the end
    with open_regular(output.path) as file:
        first = file.read(within)
        file.seek(max(0, os.fstat(file.fileno()).st_size - within))
        last = file.read(within)
    begins = BEGINNINGS.get(output.path.suffix.lower(), b"")
    return first.startswith(begins) and (output.mark in first or output.mark in last)


def _theirs(path: Path) -> InputError:
    return InputError(f"expected {path} not to be there yet, got a file of another kind; choose another or --overwrite")


def _holds(folder: Path, *names: str) -> bool:
    return all((folder / name).exists() for name in names)
