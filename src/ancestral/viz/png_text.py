"""The texts in a PNG file, read without decoding its picture.

`png_bytes` writes a text as it is, in a tEXt chunk, or in an iTXt chunk where Latin-1 has no such letter. Compressed
texts are not read: what a few bytes unpack to may fill the memory.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from ancestral.errors import InputError
from ancestral.files import read_bytes

MOST_BYTES = 2**26
"""Of a file, as of any image that is read."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_metadata(path: Path) -> dict[str, str]:
    """Keyword -> text of a whole PNG file of at most 64 MiB.

    Raises:
        InputError: unreadable, no PNG file, too large, cut off, changed, or with two texts of one keyword.
    """
    texts: dict[str, str] = {}
    for kind, data in _chunks(read_bytes(path, MOST_BYTES), path):
        if (found := _text(kind, data)) is not None:
            if found[0] in texts:
                raise InputError(f"expected {path} to say one {found[0]}, got two; name a picture that ancestral saved")
            texts[found[0]] = found[1]
    return texts


def _chunks(content: bytes, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of every chunk up to the last, each checked."""
    if not content.startswith(SIGNATURE):
        raise InputError(f"expected a PNG file, got {path}; name a picture that ancestral saved")
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        head = content[at : at + 8]
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (len(content), b"")
        data, check = content[at + 8 : at + 8 + length], content[at + 8 + length : at + 12 + length]
        if len(check) < 4 or zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(check, "big"):
            raise InputError(f"expected a whole PNG file, got {path}, which is cut off or damaged; copy it again")
        yield kind, data
        at += 12 + length


def _text(kind: bytes, data: bytes) -> tuple[str, str] | None:
    """Keyword and text of a chunk that holds some, uncompressed."""
    keyword, _, rest = data.partition(b"\0")
    if kind == b"tEXt":
        return keyword.decode("latin-1"), rest.decode("latin-1")
    if kind == b"iTXt" and rest[:1] == b"\0":
        return keyword.decode("latin-1"), rest[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
    return None
