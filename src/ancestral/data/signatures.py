"""What a file is by its first bytes: an image that is read, one of another kind, or none."""

import re
from pathlib import Path
from stat import S_ISREG

from ancestral.errors import InputError
from ancestral.files import open_regular

LENGTH = 32
"""Bytes from the beginning of a file that tell its kind."""
RAW = frozenset({
    ".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".nef", ".nrw", ".orf", ".pef",
    ".raw", ".rw2", ".sr2", ".srf", ".srw",
})  # fmt: skip
"""Suffixes of camera raw files, which begin like TIFF and hold a small preview that is not the picture."""
BEGINNINGS = {
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes of the header that follows a bitmap's first 14 bytes."""
OTHERS = (
    (0, b"8BPS", "Photoshop"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance"),
    (0, b"DDS ", "DirectDraw"),
    (0, b"\x00\x00\x01\x00", "icon"),
    (0, b"%PDF-", "PDF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (4, b"ftypavif", "AVIF"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"\x0a\x05\x01", "PCX"),
    (0, b"qoif", "QOI"),
    (0, b"icns", "icon"),
    (0, b"\x00\x00\x02\x00\x01\x00", "icon"),
)
"""(place, bytes, kind) of pictures that are not read."""
NETPBM = re.compile(rb"P[1-6]\s+[\d#]|P7\sWIDTH|P[Ff]\s+\d")
NETPBM_KINDS = dict(zip(b"1234567Ff", (*2 * ("PBM", "PGM", "PPM"), "PAM", "PFM", "PFM"), strict=True))
"""By the letter after the P."""
TGA = re.compile(rb".[\0\1][\1-\3\x09-\x0b]", re.DOTALL)
"""How a file begins that its suffix calls .tga: there is no mark."""


def first_bytes(path: Path) -> bytes | None:
    """The beginning of a regular file; None for anything else, which is not opened, and where it cannot be read."""
    try:
        if not S_ISREG(path.stat().st_mode):
            return None
        with open_regular(path) as file:
            return file.read(LENGTH)
    except (OSError, InputError):
        return None


def format_of(first: bytes) -> str | None:
    """The format of an image that begins so; None for none that is read."""
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return "WEBP"
    if first[:2] == b"BM" and int.from_bytes(first[14:18], "little") in BITMAP_HEADERS:
        return "BMP"
    return next((name for name, beginnings in BEGINNINGS.items() if first.startswith(beginnings)), None)


def other_kind(first: bytes, suffix: str) -> str | None:
    """The name of a kind of picture that is not read, or None where a file that begins so is no picture."""
    if suffix in RAW:
        return "camera raw"
    if suffix == ".svg":
        return "SVG"
    if NETPBM.match(first):
        return NETPBM_KINDS[first[1]]
    if suffix == ".tga" and TGA.match(first):
        return "TGA"
    return next((kind for at, mark, kind in OTHERS if first[at : at + len(mark)] == mark), None)
