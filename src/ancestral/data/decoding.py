"""What Pillow leaves to be done around its decoders: silence, colour profiles (ICC), JPEGs that would take too long,
and what it loses of a PNG: the low bytes of 16-bit colours, and a transparent colour in the file's depth.

That colour (tRNS) names one level of grey or one red, green and blue, of which the low bits count where the depth is
under 16 (PNG, third edition, 11.3.1.1). 16 bits are read as their high and their low bytes.
"""

import ctypes
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import lru_cache
from threading import Lock

import numpy as np
from PIL import Image, ImageCms, _imaging
from PIL.PngImagePlugin import PngImageFile

from ancestral.text import printable

# Functions of libtiff that take who is told, by default stderr, and give who was told before.
TIFF_HANDLERS = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")
SAME = 2  # levels of 0..255 by which a profile may change a colour and be called sRGB
MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # of a JPEG; no stuffed byte and no restart
START_OF_SCAN, END = 0xDA, 0xD9
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # frames whose codes may take less than a bit
ALONE = {0x01, 0xD8, END}  # markers that no length follows
BLOCK = 64  # pixels of a block, whose mean is a code of its own
MAX_SCANS = 100  # the usual progressive ones have ten
MAX_WORK = 1_024_000_000  # pixels times scans: a few seconds
STRETCH = 2**18  # numbers that are converted at once: a large image is never held as wider numbers
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types of PNG
PNG_MODES = {GREY: "L", RGB: "RGB", GREY_ALPHA: "LA", RGBA: "RGBA"}


class Silence:
    """A context in which Pillow and the TIFF library beneath it say nothing: a file is used, or its own reason is
    counted. For any number of threads at once: the filters of warnings belong to the whole process."""

    def __init__(self) -> None:
        self._lock, self._inside, self._undo = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._undo.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                for name in TIFF_HANDLERS:
                    self._undo.callback(_set_handler, name, _set_handler(name, None))
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo.close()


def _set_handler(name: str, handler: int | None) -> int | None:
    """Calls one of `TIFF_HANDLERS` with the address of who is to be told; nothing where it cannot be reached."""
    with suppress(AttributeError, OSError):
        function = getattr(ctypes.CDLL(_imaging.__file__), name)
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
        before: int | None = function(handler)
        return before
    return None


silence = Silence()


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """An "L", "LA", "RGB", "RGBA" or "CMYK" image in the colours of sRGB, and its profile's name if it was another."""
    if not profile:
        return image, ""
    opaque = image.mode.removesuffix("A")
    name, transform = _read_profile(profile, opaque)
    if transform is None:
        return image, name
    converted = _transformed(image if image.mode == opaque else image.convert(opaque), transform)
    shown = converted.convert("L") if opaque == "L" else converted
    if image.mode != opaque:
        shown.putalpha(image.getchannel("A"))
    return shown, name


@lru_cache(maxsize=32)
def _read_profile(profile: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """A profile's name where it is not sRGB's, else ""; and how to convert, None where nothing changes."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        name = printable(ImageCms.getProfileDescription(source).strip()) or "without a name"
    except (ImageCms.PyCMSError, OSError, ValueError):
        return "one that cannot be read, ignored", None
    return ("", None) if mode != "CMYK" and _changes_nothing(transform, mode) else (name, transform)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether every grey, or a cube of colours, stays as it is, within `SAME`: the profile says sRGB."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    probe = Image.fromarray(np.arange(256, dtype=np.uint8)[None] if mode == "L" else cube)
    images = probe, _transformed(probe, transform)
    before, after = (np.asarray(image.convert("RGB")).astype(int) for image in images)
    return bool(abs(before - after).max() <= SAME)


def _transformed(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None, "not asked to convert in place"
    return converted


def scans(data: bytes) -> int:
    """How many scans a JPEG has, up to the end of its first image."""
    return sum(marker == START_OF_SCAN for marker in markers(data))


def is_progressive(data: bytes) -> bool:
    """Whether a JPEG is decoded in several scans, and so held as coefficients."""
    return any(marker in PROGRESSIVE for marker in markers(data))


def refusal_of_jpeg(data: bytes, pixels: int) -> str | None:
    """What of a JPEG of so many pixels speaks against decoding it, in words; None where nothing does. A progressive one
    may run over all its pixels as often as it likes. A Huffman code has a bit or more, and there is one for each block
    at least: what is missing would be decoded as grey, in silence."""
    if (count := scans(data)) > min(MAX_SCANS, MAX_WORK // pixels):
        return f" in {count:,} scans, more than the {MAX_SCANS} or {MAX_WORK:,} pixels allowed"
    if len(data) < pixels // BLOCK // 8 and not any(marker in ARITHMETIC for marker in markers(data)):
        return f", which {len(data):,} bytes cannot hold: it is cut off, or its header wrong"
    return None


def markers(data: bytes) -> Iterator[int]:
    """The markers of a JPEG's first image; what lies in their segments, a thumbnail for one, is not looked at."""
    at = 0
    while (found := MARKER.search(data, at)) is not None and found[1][0] != END:
        yield found[1][0]
        at = found.end()
        if found[1][0] not in ALONE:
            at += int.from_bytes(data[at : at + 2], "big")


def by_rows(convert: Callable[[np.ndarray], np.ndarray], values: np.ndarray, weight: int = 1) -> np.ndarray:
    """`convert` of all rows, a stretch at a time; `weight`: how many numbers it makes on the way of each."""
    count = max(1, STRETCH // max(1, weight * values[:1].size))
    return np.concatenate([convert(values[start : start + count]) for start in range(0, len(values), count)])


def eight_bits(values: np.ndarray, white: int, inverted: bool = False) -> np.ndarray:
    """round(255 v / white) as uint8; what is above `white` is white. `inverted`: 0 is white."""
    if white == 255:
        return 255 - values if inverted else values

    def scaled(some: np.ndarray) -> np.ndarray:
        levels = ((np.minimum(some, white).astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)
        return 255 - levels if inverted else levels

    return by_rows(scaled, values)


def decode_png(image: PngImageFile, data: bytes) -> Image.Image:
    """The opened `image`, decoded to 8 bits; a transparent colour becomes alpha or Pillow's "transparency"."""
    depth, kind = data[24], data[25]
    if depth == 16 and kind in PNG_MODES:
        return _shown_of_16_bits(image, data, kind)
    if kind == PALETTE and image.palette is None:
        raise ValueError("it has no palette")
    image.load()
    key = image.info.get("transparency")
    if key is not None and kind == GREY:
        most = 2**depth - 1
        image.info["transparency"] = (int(key) & most) * 255 // most
        return image.convert("RGBA").convert("LA") if image.mode == "1" else image
    if key is not None and kind == RGB:
        image.info["transparency"] = tuple(int(level) & 255 for level in key)
    return image


def _shown_of_16_bits(image: PngImageFile, data: bytes, kind: int) -> Image.Image:
    key = image.info.get("transparency")
    if kind == GREY:
        image.load()
        values = np.asarray(image)[..., None].astype(np.uint16)
    elif kind == GREY_ALPHA:  # four bytes a pixel, as RGBA has them
        values = _bytes_as(image, "RGBA").reshape(image.height, image.width, 2, 2).view(">u2")[..., 0].astype(np.uint16)
    else:
        values = _bytes_as(image, f"{PNG_MODES[kind]};16B").astype(np.uint16)
        values <<= 8
        with PngImageFile(io.BytesIO(data)) as again:
            values |= _bytes_as(again, f"{PNG_MODES[kind]};16L")
    shown, mode = eight_bits(values, 65535), PNG_MODES[kind]
    if key is not None and kind in (GREY, RGB):
        opaque = by_rows(lambda some: (some != key).any(axis=2, keepdims=True), values)
        shown, mode = np.concatenate([shown, opaque * np.uint8(255)], axis=2), f"{mode}A"
    deep = Image.frombuffer(mode, image.size, np.ascontiguousarray(shown), "raw", mode, 0, 1)
    deep.info = {name: value for name, value in image.info.items() if name != "transparency"}
    deep.getexif().update(image.getexif())
    return deep


def _bytes_as(image: PngImageFile, rawmode: str) -> np.ndarray:
    """What the rows of the file hold, unpacked as `rawmode` says; of 16 bits, B and L are the first and second byte."""
    image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    image.load()
    return np.asarray(image)
