"""TIFF and PNG files written by hand, tag by tag and chunk by chunk, in ways that no library writes."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def tiff(
    path: Path,
    samples: np.ndarray,
    bits: int,
    tags: Mapping[int, Sequence[int]] | None = None,
    order: str = "<",
    blocks: Sequence[bytes] | None = None,
) -> Path:
    """A TIFF of (H, W, bands) whole numbers in one strip, grey of the default tags.

    Args:
        tags: further tags, or others in their place; an empty value leaves the tag out.
        blocks: the strips or tiles, where they are not the plain samples; each has its offset.
    """
    height, width, bands = samples.shape
    if blocks is None:
        blocks = [b"".join(packed(row.ravel(), bits, order) for row in samples)]
    said: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [bits] * bands, 259: [1], 262: [1], 273: [0] * len(blocks), 277: [bands],
        278: [height], 279: [len(block) for block in blocks], **(tags or {}),
    }  # fmt: skip
    said = {tag: values for tag, values in sorted(said.items()) if len(values)}
    start = 8 + 2 + 12 * len(said) + 4
    entries, blobs = b"", b""
    room = sum(4 * len(values) for values in said.values() if len(values) > 1)
    places = [start + room + sum(map(len, blocks[:i])) for i in range(len(blocks))]
    for tag, values in said.items():
        values = places if tag in (273, 324) else values
        raw = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            raw, blobs = struct.pack(f"{order}I", start + len(blobs)), blobs + raw
        entries += struct.pack(f"{order}HHI", tag, 4, len(values)) + raw
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(said))
    path.write_bytes(head + entries + bytes(4) + blobs + b"".join(blocks))
    return path


def packed(numbers: np.ndarray, bits: int, order: str) -> bytes:
    """Numbers of so many bits, one after another from the highest bit on; whole bytes in the file's order."""
    if bits % 8 == 0:
        return numbers.astype(f"{order}u{bits // 8}").tobytes()
    text = "".join(f"{int(number):0{bits}b}" for number in numbers)
    text = text.ljust(-(-len(text) // 8) * 8, "0")
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(path: Path, samples: np.ndarray, depth: int, kind: int, *chunks: bytes) -> Path:
    """A PNG of (H, W, bands) whole numbers, with `chunks` before the pixels; `kind` is its colour type."""
    rows = b"".join(b"\0" + packed(row.ravel(), depth, ">") for row in samples)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, kind, 0, 0, 0)
    content = chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path
