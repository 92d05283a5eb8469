"""Files: read with limits, whatever they are, and written so that a reader finds the old content or the new, also after
a crash; and the folder of what can be made again.

Everything read comes through `open_regular`, and JSON and TOML through `parse_json` and `read_toml`: a pipe, a device,
a file without end, nesting without end or a number that is none is an InputError of one line, never a hang or a full
memory. Nothing is written through a link, or in place of anything but a regular file. What the disk refuses to take is
a CannotWrite.
"""

import ctypes
import errno
import json
import math
import os
import re
import reprlib
import secrets
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, time
from hashlib import sha256
from importlib.util import find_spec
from io import BufferedReader
from pathlib import Path
from stat import S_ISLNK, S_ISREG
from typing import Any, BinaryIO

from ancestral.errors import CannotWrite, InputError

MOST_TEXT = 16 * 2**20  # bytes of a settings, index or state file, unless another limit is named
REMEDIES = {
    errno.ENOSPC: "free space or choose another folder",
    errno.EDQUOT: "free space or choose another folder",
    errno.EFBIG: "allow larger files (ulimit -f) or choose another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: "choose a folder on a disk that can be written to",
    errno.EIO: "the disk does not answer; choose another",
}
"""What helps against what the disk says; against anything else, a folder that may be written to."""
LEFT_BY_SYSTEM = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|\._.*|\.nfs.*")
"""Names of files that systems put into a folder by themselves."""
INDEX, PACKED = "index.json", "ancestral-shards"
"""The file that makes a folder or a place of an object store a packed data set, and what it says of itself first."""


def open_regular(path: Path) -> BufferedReader:
    """A regular file, open for reading; a pipe or a device is refused and never waited for."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except IsADirectoryError:
        raise InputError(f"expected {path} to be a regular file, got a folder") from None
    except (OSError, ValueError) as fault:
        raise InputError(f"cannot read {path}: {getattr(fault, 'strerror', None) or fault}") from None
    if S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise InputError(f"expected {path} to be a regular file, got a pipe or a device")


def check_regular(path: Path) -> None:
    """Before another library opens a file, which would wait for a pipe."""
    open_regular(path).close()


def open_to_append(path: Path) -> BinaryIO:
    """A regular file, open for writing at its end, made where it is missing; never one that a link leads to."""
    check_replaceable(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.fdopen(os.open(path, flags, 0o666), "ab")
    except OSError as fault:
        raise cannot_write(path, fault) from None


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """The content of a regular file of at most `most` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(min(size, most) + 2**16)  # files of the system, such as those in /proc, say 0
        except OSError as fault:
            raise InputError(f"cannot read {path}: {fault.strerror}") from None
    if max(size, len(content)) > most:
        raise InputError(f"expected {path} to have at most {most:,} bytes, got more")
    return content


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The same as text, which must be UTF-8."""
    content = read_bytes(path, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise InputError(f"expected {path} to be UTF-8 text, got another byte at {fault.start:,}") from None


def read_json(path: Path, infinite: bool = False) -> dict[str, Any]:
    """The JSON object in a file of at most `MOST_TEXT` bytes."""
    return json_object(read_bytes(path), str(path), infinite)


def json_object(text: bytes | str, where: str, infinite: bool = False) -> dict[str, Any]:
    """The same as `parse_json`, which must be an object."""
    value = parse_json(text, where, infinite)
    if not isinstance(value, dict):
        raise InputError(f"expected {where} to hold a JSON object, got {type(value).__name__}")
    return value


def parse_json(text: bytes | str, where: str, infinite: bool = False) -> Any:
    """The value that `text` says, where every reader of JSON agrees on it; `where` it stands is for the message.

    Refused are nesting deeper than 64 levels, a key twice in an object, NaN, a number beyond 64 bits, a null character,
    half of a surrogate pair, and infinity, which other projects write for "no limit", unless `infinite`.
    """
    return _parsed("JSON", where, lambda: json.loads(text, object_pairs_hook=_without_doubles), infinite)


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file of at most 1 MiB, since TOML is read slowly, of values as `parse_json` takes them."""
    text = read_text(path, 2**20)
    return _parsed("TOML", str(path), lambda: tomllib.loads(text))


def _parsed(language: str, where: str, load: Callable[[], Any], infinite: bool = False) -> Any:
    try:
        value = load()
        _check_values(value, infinite)
    except RecursionError:
        raise InputError(f"{where} is not valid {language}: it is nested deeper than 64 levels") from None
    except ValueError as fault:
        reason = str(fault).partition("; use sys.")[0]  # without Python's advice on how to read longer numbers
        raise InputError(f"{where} is not valid {language}: {reason[:100]}") from None
    return value


def _check_values(value: Any, infinite: bool = False, depth: int = 64, name: str = "it") -> None:
    """That every value within, at most `depth` levels deep, is one that all readers of JSON read alike: a ValueError
    says which is not, by its dotted keys, `name`."""
    fault = ""
    if isinstance(value, dict | list):
        if not depth:
            raise RecursionError
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            _check_values(key, infinite, depth, "a key")
            _check_values(part, infinite, depth - 1, f"{name}.{key}".removeprefix("it."))
    elif isinstance(value, date | time):
        fault = f"is a date or a time, {value}; put it in quotes if it is text"
    elif isinstance(value, float) and (math.isnan(value) or (math.isinf(value) and not infinite)):
        fault = f"is {value}"
    elif isinstance(value, int) and not -(2**64) < value < 2**64:
        fault = "is too large"
    elif isinstance(value, str) and (found := re.search("[\0\ud800-\udfff]", value)):  # as no file's name can hold
        fault = "holds a null character" if found[0] == "\0" else "holds half of a surrogate pair"
    if fault:
        raise ValueError(f"{name[:40]} {fault}")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes `content` to `path`, in a folder that is made if need be; what stood there is replaced or untouched.

    It is a temporary neighbour, flushed to disk, that is renamed. The file's mode is 0666 less the umask.
    """
    check_replaceable(path)
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:  # a signal may come as soon as the file is there
            handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        flush(path.parent)
    except OSError as fault:
        raise cannot_write(path, fault) from None


def half_of(name: str) -> str | None:
    """Of which file a name is what `write_whole` calls it until it is whole, as a kill leaves it; None: of none."""
    found = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}", name)
    return found and found[1]


def check_replaceable(path: Path) -> None:
    """Before a file is written: that what has its name, if anything, is a regular file and no link to one."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError):  # whoever opens it says what is wrong
        return
    if not S_ISREG(mode):
        kind = "a link" if S_ISLNK(mode) else "a folder" if path.is_dir() else "a pipe or a device"
        raise InputError(f"expected {path} to be a regular file or none yet, got {kind}; choose another, or remove it")


def cannot_write(path: Path, fault: OSError) -> CannotWrite:
    """The error that says what the disk said of `path`, and what helps."""
    remedy = REMEDIES.get(fault.errno or 0, "choose a folder that you may write to")
    return CannotWrite(f"cannot write {path}: {fault.strerror}; {remedy}")


@contextmanager
def writing(place: Path | str, remedy: str = "set ANCESTRAL_CACHE to a folder with room") -> Iterator[None]:
    """What the disk says of `place` meanwhile, as one line."""
    try:
        yield
    except OSError as fault:
        raise CannotWrite(f"cannot write {place}: {fault.strerror}; {remedy}") from None


def scratch_folder(within: Path) -> Path:
    """A new, empty, hidden folder of a name that nobody else has; its mode is what the umask leaves."""
    folder = within / f".{secrets.token_hex(8)}"
    folder.mkdir()
    return folder


def put_in_place(new: Path, folder: Path, is_part: Callable[[str], bool] = lambda name: True) -> None:
    """Gives `new` the name of `folder`, whose content, if it has any, is removed: a reader always finds one of them.

    Where the file system cannot exchange two names at once there is a moment without. What is no part of such a folder,
    as `is_part` tells by its name, is carried over.
    """
    if not folder.exists():
        new.rename(folder)
        return
    if not _exchanged(new, folder):
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        new.rename(folder)
        new = old
    carry_over(new, folder, is_part)
    if new.is_symlink():
        new.unlink()
    else:
        shutil.rmtree(new, ignore_errors=True)


def carry_over(old: Path, new: Path, is_part: Callable[[str], bool]) -> None:
    """Moves what is in `old` but none of its parts, into `new`, unless its name is taken there."""
    if old.is_dir() and not old.is_symlink():
        for each in [*old.iterdir()]:
            if not is_part(each.name) and not os.path.lexists(new / each.name):
                each.rename(new / each.name)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two names at one instant; whether that could be done."""
    libc, names = ctypes.CDLL(None), (os.fsencode(one), os.fsencode(other))
    here, exchange = -100, 2  # AT_FDCWD of Linux's fcntl.h; RENAME_EXCHANGE of its fs.h, which is Apple's RENAME_SWAP
    with suppress(AttributeError):  # of an older C library
        if sys.platform == "linux":
            return libc.renameat2(here, names[0], here, names[1], exchange) == 0
        if sys.platform == "darwin":
            return libc.renamex_np(*names, exchange) == 0
    return False


def as_path(given: object) -> Path:
    """A path as Python code gives it, text or `os.PathLike`; ~ is the home folder."""
    if not isinstance(given, str | os.PathLike) or not isinstance(text := os.fspath(given), str):
        raise InputError(f"expected a path, as text or pathlib.Path, got {reprlib.repr(given)}")
    if not text or "\0" in text or any(len(part.encode(errors="replace")) > 255 for part in Path(text).parts):
        raise InputError(f"expected a path, got {reprlib.repr(text)}")
    with suppress(RuntimeError):  # no home folder is known
        return Path(text).expanduser()
    return Path(text)


def packaged(package: str, name: str) -> Path:
    """A data file of an installed package, which is not imported for it. InputError where the package is missing."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"expected the package {package}, got none; pip install ancestral brings it")
    return Path(found.submodule_search_locations[0]) / name


def cache_folder() -> Path:
    """$ANCESTRAL_CACHE, or ~/.cache/ancestral."""
    return Path(os.environ.get("ANCESTRAL_CACHE") or Path.home() / ".cache" / "ancestral").expanduser()


def made_once(file: Path, make: Callable[[], bytes], most: int) -> bytes:
    """What `make` gives; from `file` in the cache where that is there and whole, behind a digest of itself. What lies
    in its folder and has not been used for longest goes where all of that takes more than `most` bytes."""
    with suppress(InputError, OSError):
        content = read_bytes(file, most)
        if sha256(content[32:]).digest() == content[:32]:
            os.utime(file)
            return content[32:]
    made = make()
    with suppress(InputError, CannotWrite, OSError):  # a cache that cannot be written to costs time alone
        write_whole(file, sha256(made).digest() + made)
        total = 0
        for each in sorted(file.parent.iterdir(), key=lambda each: each.stat().st_mtime, reverse=True):
            total += each.stat().st_size
            if total > most:
                each.unlink(missing_ok=True)
    return made


def is_url(source: str) -> bool:
    """Whether `source` names a place by a URL, and not a path or a data set."""
    return "://" in source


def is_packed(folder: Path) -> bool:
    """Whether a folder of this machine is a packed data set, by the beginning of its index."""
    with suppress(InputError, OSError), open_regular(folder / INDEX) as file:
        return PACKED.encode() in file.read(64)
    return False


def flush(path: Path) -> None:
    """Forces a file's bytes, or a folder's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
