"""One image file -> upright, opaque 8-bit pixels of one size, or one line that says why not.

A file is judged by its content, never by its name: it must be a regular file, small enough, of an allowed format, and
decode to its last byte. Then, in this order: orientation from EXIF, 16 bits to 8, transparency onto a background,
colours, and last the fit to height and width.
"""

import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from ancestral.errors import InputError
from ancestral.text import printable

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
MAX_SIDE = 16_384
ORIENTATION = 0x0112
"""The EXIF tag that says how the camera was held; 1 is upright."""

Fit = Literal["crop", "pad", "squash"]
Result = TypeVar("Result")


class BadImage(InputError):
    """A file that is no usable image: `path` and the `reason`, in words."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{printable(path)}: {reason}")


def read(path: Path) -> bytes:
    """The bytes of a regular file of at most 64 MiB; pipes and devices are never opened.

    Raises:
        BadImage: not a regular file, unreadable, empty, or too large.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise BadImage(path, "is not a regular file")
        if status.st_size > MAX_BYTES:
            raise BadImage(path, f"is {status.st_size / 2**20:.0f} MiB, more than the {MAX_BYTES // 2**20} allowed")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except OSError as error:
        raise BadImage(path, f"cannot be read: {error.strerror}") from None
    if not data:
        raise BadImage(path, "is empty")
    return data


def load(path: Path, data: bytes | None = None) -> Image.Image:
    """The first frame, fully decoded, in the mode and orientation of the file.

    Args:
        data: the file's bytes, where they have been read already.

    Raises:
        BadImage: for every fault of the file.
    """
    data = read(path) if data is None else data
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _refuse_huge(path, image)
        image.load()
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage(path, "is not a PNG, JPEG, WebP, BMP, GIF or TIFF image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage(path, f"has more than the {MAX_PIXELS:,} pixels allowed") from None
    except Exception as error:  # decoders of malformed data raise nearly anything: struct.error, IndexError, ...
        raise BadImage(path, f"is damaged: {error}") from None
    return image


def decode(
    path: Path, channels: int | None = None, background: str = "white", data: bytes | None = None
) -> Image.Image:
    """The picture in a file: upright, opaque, 8 bits, mode "L" or "RGB".

    Args:
        channels: 1 or 3; None leaves grey images grey and colour images in colour.
        background: what shows through transparency, a colour name or #rrggbb.

    Raises:
        BadImage: for every fault of the file.
        InputError: `background` is no colour.
    """
    color = parse_color(background)
    image = load(path, data)
    try:
        image = flatten(ImageOps.exif_transpose(image), color)
    except Exception as error:  # malformed EXIF, a palette that is too short, a mode without a conversion
        raise BadImage(path, f"cannot be converted: {error}") from None
    return image if channels is None else image.convert({1: "L", 3: "RGB"}[channels])


def flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Any mode -> "L" or "RGB", 8 bits, transparency over `background`.

    Raises:
        ValueError: floating-point or 32-bit values, whose white level nothing states.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.has_transparency_data:
        return _composite(image.convert("RGBA"), background)
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def fit(image: Image.Image, height: int, width: int, how: Fit, background: str = "white") -> Image.Image:
    """`image` at `height` x `width`, antialiased (Lanczos; box averages first where it shrinks much).

    crop keeps the largest centred part of the wanted shape, pad keeps everything and fills up with `background`,
    squash alone changes the aspect ratio. An image of the right size is returned as it is, pixel for pixel.
    """
    if image.size == (width, height):
        return image
    if how == "squash":
        return _resize(image, width, height)
    if how == "crop":
        return _resize(image, width, height, _centred(image.size, width / height))
    scale = min(width / image.width, height / image.height)
    inner = _resize(image, max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (width, height), parse_color(background)).convert(image.mode)
    canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return canvas


def to_array(image: Image.Image) -> np.ndarray:
    """ "L" or "RGB" image -> (H, W, C) uint8."""
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def parse_color(name: str) -> tuple[int, int, int]:
    """Red, green, blue of a colour name or #rrggbb.

    Raises:
        InputError: not a colour.
    """
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        raise InputError(f"expected background as a colour name or #rrggbb, got {name!r}") from None
    return red, green, blue


def each(work: Callable[[Path], Result], paths: Iterable[Path]) -> Iterator[Result | BadImage]:
    """`work` of every path, in order, a bad image in place of its result. Threads decode a few files ahead."""

    def guarded(path: Path) -> Result | BadImage:
        try:
            return work(path)
        except BadImage as error:
            return error

    threads = os.cpu_count() or 1
    remaining = iter(paths)
    with ThreadPoolExecutor(threads) as pool:
        while ahead := list(islice(remaining, 8 * threads)):
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                results = list(pool.map(guarded, ahead))
            yield from results


def _refuse_huge(path: Path, image: Image.Image) -> None:
    """Before anything is decoded: the header alone says how large the image would be."""
    size = f"is {image.width} x {image.height} pixels"
    if max(image.size) > MAX_SIDE:
        raise BadImage(path, f"{size}, a side longer than the {MAX_SIDE:,} allowed")
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(path, f"{size}, more than the {MAX_PIXELS:,} allowed")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey -> 8 bits, 65535 to 255, rounded; a transparent grey level becomes an alpha channel."""
    values = np.asarray(image).astype(np.int64 if image.mode != "F" else np.float64)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError("expected 8 or 16 bits a channel, got 32")
    grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if (key := image.info.get("transparency")) is None:
        return grey
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    return Image.merge("LA", (grey, alpha))


def _composite(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    canvas = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(canvas, image).convert("RGB")


def _centred(size: tuple[int, int], aspect: float) -> tuple[float, float, float, float]:
    """The largest centred box (left, top, right, bottom) of `aspect` = width / height."""
    width, height = min(size[0], size[1] * aspect), min(size[1], size[0] / aspect)
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _resize(
    image: Image.Image, width: int, height: int, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
