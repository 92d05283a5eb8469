"""One image file -> upright, opaque 8-bit pixels of one size, or one line that says why not.

A file is judged by its content, never by its name: it must be a regular file, small enough, of an allowed format, and
decode to its last byte. Then, in this order: 16 bits to 8, orientation from EXIF, a colour profile to sRGB,
transparency onto a background, colours, and last the fit to height and width.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageColor, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ancestral.colors import MODES
from ancestral.data import tiff
from ancestral.data.decoding import decode_png, is_progressive, refusal_of_jpeg, silence, to_srgb
from ancestral.data.listing import format_of
from ancestral.errors import InputError
from ancestral.settings import DataSettings
from ancestral.text import printable

READERS: dict[str | None, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    reader.format: reader
    for reader in (PngImageFile, JpegImageFile, WebPImageFile, BmpImageFile, GifImageFile, TiffImageFile)
}
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
MAX_SIDE = 16_384
ORIENTATION = 0x0112  # The EXIF tag that says how the camera was held; 1 is upright
UPRIGHT = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
TURNS = {i: Image.Transpose[name] for i, name in enumerate(UPRIGHT, 2)}  # what makes upright again what is not
PIXEL_BYTES = 20  # that decoding and measuring take at most of each pixel
DEEP_BYTES = 32  # the same of a TIFF, a WebP, of 16 bits or of several scans
STRIPE = 2**18  # Pixels that are laid over a background at once

Fit = Literal["crop", "pad", "squash"]


class BadImage(InputError):
    """A file that is no usable image: `path` and the `reason`, in words."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{printable(path)}: {reason}")


def read(path: Path) -> bytes:
    """The bytes of a regular file of at most 64 MiB; pipes and devices are never opened."""
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


class Opened(NamedTuple):
    """A file whose header has been read, and nothing else: by Pillow, or of a TIFF that `tiff.decode` reads."""

    format: str
    bits: int  # of each band
    data: bytes
    header: ImageFile.ImageFile | tiff.Layout


class FileFacts(NamedTuple):
    """What a file was like: whether it has `alpha`, whether EXIF turns it, a `profile` other than sRGB's or ""."""

    format: str
    mode: str
    bits: int
    alpha: bool
    rotated: bool
    profile: str


def open_header(path: Path, data: bytes) -> Opened:
    """What the header of a file says, which tells how large the image would be; nothing is decoded."""
    name = format_of(data)
    if name is None:
        raise BadImage(path, "is not a PNG, JPEG, WebP, BMP, GIF or TIFF image")
    header: ImageFile.ImageFile | tiff.Layout
    bits, reason = data[24] if name == "PNG" else 8, None
    with _refusing(path, f"is not a {name} image that can be read"):
        layout = tiff.Layout(data) if name == "TIFF" else None
        reason = tiff.refusal(layout) if layout else None
        if layout and (reason or layout.reads_bytes):
            header, bits = layout, layout.bits[0]
        else:
            header = READERS[name](io.BytesIO(data))
    if reason is not None:
        raise BadImage(path, reason)
    width, height = header.width, header.height
    size, pixels = f"is {width} x {height} pixels", width * height
    if max(width, height) > MAX_SIDE:
        raise BadImage(path, f"{size}, a side longer than the {MAX_SIDE:,} allowed")
    if pixels > MAX_PIXELS:
        raise BadImage(path, f"{size}, more than the {MAX_PIXELS:,} allowed")
    if name == "JPEG" and (reason := refusal_of_jpeg(data, pixels)):
        raise BadImage(path, size + reason)
    return Opened(name, bits, data, header)


def load(path: Path, data: bytes | None = None) -> tuple[Image.Image, FileFacts]:
    """The first frame, upright, 8 bits in sRGB: "L", "LA", "RGB" or "RGBA"; and what the file was like. `data`: its
    bytes, where they have been read already. A BadImage for every fault of the file."""
    opened = open_header(path, read(path) if data is None else data)
    with _refusing(path, "is damaged"):
        image = _pixels(opened)
    with _refusing(path, "cannot be converted"):  # a palette that is too short, a mode without a conversion
        profile, turned = image.info.get("icc_profile"), orientation(image) != 1
        image, name = to_srgb(_plain(upright(image)), profile)
    image = image.convert("RGB") if image.mode == "CMYK" else image
    return image, FileFacts(opened.format, opened.header.mode, opened.bits, image.mode.endswith("A"), turned, name)


def decode(
    path: Path, channels: int | None = None, background: str = "white", data: bytes | None = None
) -> Image.Image:
    """The picture in a file, upright, 8 bits in sRGB, of 1 ("L"), 2 ("LA"), 3 ("RGB") or 4 ("RGBA") channels; None: "L"
    or "RGB", as the file is. The background shows through transparency that is not kept: a colour name or #rrggbb."""
    color = parse_color(background)
    return as_channels(load(path, data)[0], channels, color)


def as_channels(image: Image.Image, channels: int | None, background: tuple[int, int, int]) -> Image.Image:
    """An image of `load` with as many channels as are asked for, as in `decode`; what alpha hides is black."""
    if channels not in (2, 4):
        image = flatten(image, background)
        return image if channels is None else image.convert(MODES[channels])
    image = image.convert(MODES[channels])
    hidden = image.getchannel("A").point([255] + [0] * 255)
    image.paste((0,) * channels, mask=hidden)
    return image


def upright(image: Image.Image) -> Image.Image:
    """A decoded image turned as its EXIF says; the same where that says nothing."""
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """1 to 8, 1 where EXIF does not say, or cannot be read: it is no part of the picture."""
    with suppress(Exception):  # malformed EXIF raises nearly anything: SyntaxError, struct.error, ...
        said = image.getexif().get(ORIENTATION)
        return int(said) if said in TURNS else 1
    return 1


def flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """An image of `load` with transparency over `background`: "L" or "RGB"."""
    if not image.mode.endswith("A"):
        return image
    canvas = Image.new("RGB", image.size)
    high = max(1, STRIPE // image.width)
    for top in range(0, image.height, high):
        part = image.crop((0, top, image.width, min(image.height, top + high))).convert("RGBA")
        under = Image.new("RGBA", part.size, (*background, 255))
        canvas.paste(Image.alpha_composite(under, part).convert("RGB"), (0, top))
    return canvas


def fit(image: Image.Image, height: int, width: int, how: Fit, background: str = "white") -> Image.Image:
    """`image` at `height` x `width`, antialiased (Lanczos; box averages first where it shrinks much).

    crop keeps the largest centred part of the wanted shape, pad keeps everything and fills up with `background` (around
    an image with transparency: with nothing), squash alone changes the aspect ratio. An image of the right size is
    returned as it is, pixel for pixel.
    """
    if image.size == (width, height):
        return image
    if how == "squash":
        return _resize(image, width, height)
    if how == "crop":
        aspect = width / height
        wide, high = min(image.width, image.height * aspect), min(image.height, image.width / aspect)
        left, top = (image.width - wide) / 2, (image.height - high) / 2
        return _resize(image, width, height, (left, top, left + wide, top + high))
    scale = min(width / image.width, height / image.height)
    inner = _resize(image, max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.mode.endswith("A"):
        canvas = Image.new(image.mode, (width, height))
    else:
        canvas = Image.new("RGB", (width, height), parse_color(background)).convert(image.mode)
    canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return canvas


def form(settings: DataSettings) -> str:
    """The settings that decide the pixels, as text: what a cached array depends on beside its source."""
    return settings.model_dump_json(include={"size", "color", "fit", "background"})


def to_array(image: Image.Image) -> np.ndarray:
    """ "L", "LA", "RGB" or "RGBA" image -> (H, W, C) uint8."""
    return np.asarray(image).reshape(image.height, image.width, -1)


def picture_of(pixels: np.ndarray) -> Image.Image:
    """(H, W, C) uint8 as a picture, C = 1 to 4 as in `colors`."""
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def parse_color(name: str) -> tuple[int, int, int]:
    """Red, green, blue of a colour name or #rrggbb."""
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError:
        raise InputError(f"expected background as a colour name or #rrggbb, got {name!r}") from None
    return red, green, blue


def memory_to_decode(path: Path) -> int:
    """Bytes that decoding, converting and measuring a file takes at most, about (docs/data.md); 0 where it is bad."""
    try:
        opened = open_header(path, read(path))
    except BadImage:
        return 0
    deep = opened.format in ("TIFF", "WEBP") or opened.bits == 16
    deep = deep or (opened.format == "JPEG" and is_progressive(opened.data))
    pixels = opened.header.width * opened.header.height
    return 2**20 + 2 * len(opened.data) + pixels * (DEEP_BYTES if deep else PIXEL_BYTES)  # a megabyte for what is small


@contextmanager
def _refusing(path: Path, what: str) -> Iterator[None]:
    """Decoding, in silence: whatever it raises (nearly anything, of malformed data) is one line that begins so."""
    try:
        with silence:
            yield
    except MemoryError:
        raise BadImage(path, "takes more memory than there is") from None
    except Exception as error:
        raise BadImage(path, f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from None


def _pixels(opened: Opened) -> Image.Image:
    """Decoded to its last byte, 8 bits, as it lies in the file."""
    header = opened.header
    if isinstance(header, tiff.Layout):
        image = tiff.decode(opened.data, header)
        image.info["icc_profile"] = header.profile
        image.getexif()[ORIENTATION] = header.orientation
        return image
    if isinstance(header, PngImageFile):
        return decode_png(header, opened.data)
    header.load()
    return header


def _plain(image: Image.Image) -> Image.Image:
    """ "L", "LA", "RGB", "RGBA" or "CMYK"."""
    if image.mode in ("LA", "CMYK"):
        return image
    if image.has_transparency_data:
        return image.convert("RGBA").convert("LA" if image.mode == "L" else "RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _resize(
    image: Image.Image, width: int, height: int, box: tuple[float, float, float, float] | None = None
) -> Image.Image:
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
