"""What a PNG file says of itself. Imports no torch."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from ancestral.errors import InputError
from ancestral.files import read_bytes

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_metadata(path: Path) -> dict[str, str]:
    """Keyword -> text of a whole PNG file of at most 64 MiB, whose picture is not decoded.

    `pictures.png_bytes` writes a text as it is, in a tEXt chunk, or in an iTXt chunk where Latin-1 has no such letter.
    Compressed texts are not read: what a few bytes unpack to may fill the memory.
    """
    texts: dict[str, str] = {}
    for kind, data in _chunks(read_bytes(path, most=2**26), path):
        word, _, rest = data.partition(b"\0")
        if kind == b"tEXt":
            text = rest.decode("latin-1")
        elif kind == b"iTXt" and rest[:1] == b"\0":
            text = rest[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
        else:
            continue
        if (keyword := word.decode("latin-1")) in texts:
            raise InputError(f"expected {path} to say one {keyword}, got two; name a picture that ancestral saved")
        texts[keyword] = text
    return texts


def _chunks(content: bytes, path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of every chunk up to the last, each checked."""
    if not content.startswith(PNG_SIGNATURE):
        raise InputError(f"expected a PNG file, got {path}; name a picture that ancestral saved")
    at, kind = len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        head = content[at : at + 8]
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (len(content), b"")
        data, check = content[at + 8 : at + 8 + length], content[at + 8 + length : at + 12 + length]
        if len(check) < 4 or zlib.crc32(data, zlib.crc32(kind)) != int.from_bytes(check, "big"):
            raise InputError(f"expected a whole PNG file, got {path}, which is cut off or damaged; copy it again")
        yield kind, data
        at += 12 + length
