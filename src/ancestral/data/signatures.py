"""What a file is by its first bytes: an image that is read, one of another kind, or none."""

import re
from pathlib import Path
from stat import S_ISREG

from ancestral.errors import InputError
from ancestral.files import open_regular

LENGTH = 32  # Bytes from the beginning of a file that tell its kind
RAW = frozenset({
    ".3fr", ".arw", ".cr2", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".nef", ".nrw", ".orf", ".pef",
    ".raw", ".rw2", ".sr2", ".srf", ".srw",
})  # fmt: skip
"""Suffixes of camera raw files, which begin like TIFF and hold a small preview that is not the picture."""
BEGINNINGS = {  # of images that are read
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # Sizes of the header that follows a bitmap's first 14 bytes
OTHERS = {  # of pictures that are not read
    "Photoshop": (b"8BPS",),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "OpenEXR": (b"v/1\x01",),
    "Radiance": (b"#?RADIANCE",),
    "DirectDraw": (b"DDS ",),
    "icon": (b"\0\0\x01\0", b"\0\0\x02\0\x01\0", b"icns"),
    "PDF": (b"%PDF-",),
    "EPS": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "PCX": (b"\x0a\x05\x01",),
    "QOI": (b"qoif",),
}
BRANDS = {b"ftypheic": "HEIC", b"ftypheix": "HEIC", b"ftypmif1": "HEIC", b"ftypavif": "AVIF"}  # from the fifth byte on
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
    return _beginning(first, BEGINNINGS)


def _beginning(first: bytes, beginnings: dict[str, tuple[bytes, ...]]) -> str | None:
    return next((name for name, marks in beginnings.items() if first.startswith(marks)), None)


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
    return BRANDS.get(first[4:12]) or _beginning(first, OTHERS)
