"""Files: read with limits, whatever they are; written so that a reader, or the next start after a crash, finds the old
content or the new, never a half; and the folder of what can be made again.

Everything read comes through `read_bytes`, and everything that is JSON through `parse_json`: a pipe, a device, a file
without end, nesting without end or a number that is none is one line with the remedy, never a hang or a full memory.
"""

import json
import math
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, NoReturn

from ancestral.errors import CannotWrite, InputError

MOST_TEXT = 16 * 2**20
"""Bytes of a settings, index or state file, unless another limit is named."""
MOST_DEPTH = 64
"""Levels to which JSON may be nested."""
MOST_NUMBER = 2**64
"""Beyond which no whole number is meant."""
INDEX = "index.json"
"""The file that makes a folder or a place of an object store a packed data set; it is written last."""
PACKED = "ancestral-shards"
"""What such a file says of itself in its first line."""


def open_regular(path: Path) -> BinaryIO:
    """A regular file, open for reading; a pipe or a device is refused and never waited for.

    Raises:
        InputError: missing, unreadable, or no regular file.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except IsADirectoryError:
        raise InputError(f"expected {path} to be a regular file, got a folder") from None
    except (OSError, ValueError) as fault:
        raise InputError(f"cannot read {path}: {_reason(fault)}") from None
    if S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise InputError(f"expected {path} to be a regular file, got a pipe or a device")


def read_bytes(path: Path, most: int = MOST_TEXT) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        InputError: missing, unreadable, no regular file, or larger.
    """
    with open_regular(path) as file:
        try:
            content = file.read(most + 1)
        except OSError as fault:
            raise InputError(f"cannot read {path}: {fault.strerror}") from None
    if len(content) > most:
        raise InputError(f"expected {path} to have at most {most:,} bytes, got more")
    return content


def read_text(path: Path, most: int = MOST_TEXT) -> str:
    """The same as text.

    Raises:
        InputError: also where it is not UTF-8.
    """
    content = read_bytes(path, most)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise InputError(f"expected {path} to be UTF-8 text, got another byte at {fault.start:,}") from None


def read_json(path: Path, most: int = MOST_TEXT) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: missing, unreadable, no regular file, too large, or what `parse_json` refuses.
    """
    return json_object(read_bytes(path, most), str(path))


def json_object(text: bytes | str, where: str) -> dict[str, Any]:
    """The same as `parse_json`, which must be an object.

    Raises:
        InputError: also for any other value.
    """
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise InputError(f"expected {where} to hold a JSON object, got {type(value).__name__}")
    return value


def parse_json(text: bytes | str, where: str) -> Any:
    """The value that `text` says, where every reader of JSON agrees on it; `where` it stands is for the message.

    Raises:
        InputError: not JSON or not UTF-8, nested deeper than 64 levels, a key twice in an object, NaN, infinity or a
            number beyond 64 bits, half of a surrogate pair.
    """
    try:
        if _depth(text) > MOST_DEPTH:
            raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
        value = json.loads(
            text,
            object_pairs_hook=_without_doubles,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_in_range,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(f"{where} is not valid JSON: it holds half of a surrogate pair") from None
    except (ValueError, RecursionError) as fault:
        raise InputError(f"{where} is not valid JSON: {fault}") from None
    return value


def _depth(text: bytes | str) -> int:
    """How deep brackets stand in one another, outside strings."""
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    depth = deepest = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*+"|[\[{]+|[\]}]+', plain, re.DOTALL):
        run = found[0]
        depth += len(run) if run[0] in "[{" else -len(run) if run[0] in "]}" else 0
        deepest = max(deepest, depth)
    return deepest


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the value {name}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _in_range(text: str) -> int:
    value = int(text) if len(text) < 25 else MOST_NUMBER
    if not -MOST_NUMBER < value < MOST_NUMBER:
        raise ValueError(f"the number {text[:20]}... is too large")
    return value


def _reason(fault: OSError | ValueError) -> str:
    return (fault.strerror if isinstance(fault, OSError) else None) or str(fault)


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes `content` to `path` by way of a temporary neighbour, flushed to disk and renamed over it.

    The file's mode is 0666 less the umask, as a shell's `>` would give it.

    Raises:
        CannotWrite: disk full, folder missing or read-only; whatever stood at `path` is untouched.
    """
    data = content.encode() if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        try:
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
