"""TIFF: what the tags of the first image say, and its samples as they say, to 8 bits, or the reason why not.

Depth, polarity and bands come from tags alone (TIFF 6.0): n bits have the white level 2^n - 1, whatever the values are,
so all images of a folder have one scale. A value is scaled by round(255 v / white). Codecs are libtiff's, by way of
Pillow: it is handed the compressed blocks as an image of 8-bit grey, one pixel a byte, and what the bytes mean is
decided here.
"""

import io
import struct
from collections.abc import Sequence
from math import ceil, prod

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from ancestral.data.decoding import by_rows, eight_bits

SAMPLE_FORMATS = {1: "", 2: "signed ", 3: "float ", 4: "", 5: "complex integer ", 6: "complex "}
KINDS = ("grey", "grey", "RGB", "palette", "mask", "CMYK", "YCbCr", "unknown", "CIELab", "ICCLab", "ITULab")
PHOTOMETRIC = dict(enumerate(KINDS)) | {32803: "camera raw", 32844: "LogL", 32845: "LogLuv", 34892: "camera raw"}
BANDS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # Bands of the kinds that can be read, before extra ones
MODES = {0: "L", 1: "L", 2: "RGB", 3: "RGB", 5: "CMYK"}
LOSSLESS = {1, 5, 8, 32773, 32946, 34925, 50000}
"""Compressions that give bytes back: none, LZW, Deflate, PackBits, LZMA, Zstandard."""
CCITT, JPEG, WEBP = {2, 3, 4}, {6, 7}, 50001
PREMULTIPLIED = 1  # value of ExtraSamples where colour is multiplied by the transparency
ALPHA = {1, 2, 999}  # all values that are a transparency (999: Corel Draw's)
REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)).reshape(256, 8)[:, ::-1]).ravel()
"""Every byte with its bits in the other order."""
CODES = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q"}  # types of whole numbers, and of bytes, in `struct`
MOST_VALUES, MOST_BANDS = 2**22, 64
MOST_SAMPLE_BYTES = 2**29  # Of all samples of an image: those of the largest that is allowed, of four bands of 16 bits


class Layout:
    """What the tags of the first image of a file say; malformed ones are a ValueError, struct.error or LookupError.
    `block`: (width, height) of a strip or tile, px. `extra`: what each band beyond the colour is; 0 says nothing."""

    def __init__(self, data: bytes) -> None:
        self.order, tags = _tags(data)  # of bytes, < or >
        jpeg = tags.get(259) in ((6,), (7,))
        self.width, self.height = tags[256][0], tags[257][0]
        self.photometric = tags.get(262, (6,) if jpeg else (0,))[0]
        bands = tags.get(277, (3,) if jpeg and self.photometric in (2, 6) else (1,))[0]
        bits = tags.get(258, (1,))
        self.bits = bits * min(bands, MOST_BANDS) if len(bits) == 1 else bits[:bands]
        self.white = _white(bits[0], tags.get(281, ()))
        self.sample_format = tags.get(339, (1,))
        self.compression = tags.get(259, (1,))[0]
        self.predictor = tags.get(317, (1,))[0]
        self.fill_order = tags.get(266, (1,))[0]
        self.separate = tags.get(284) == (2,) and bands > 1
        self.extra = tags.get(338, ())
        self.tiled = 324 in tags
        strip = self.width, min(self.height, tags.get(278, (self.height,))[0])
        self.block = (tags[322][0], tags[323][0]) if self.tiled else strip
        self.offsets = tags.get(324 if self.tiled else 273, ())
        self.counts = tags.get(325 if self.tiled else 279, ())
        self.colors = np.array(tags[320]).reshape(3, -1) if 320 in tags else None  # (3, 2^bits) of a palette
        self.subsampled = tags.get(530, (2, 2)) != (1, 1)
        self.orientation = tags.get(274, (1,))[0]  # as in EXIF
        self.profile = bytes(tags[34675]) if 34675 in tags else None
        if not self.bits:
            raise ValueError("it has no bands")
        # The first extra band is transparency, of RGB also where nothing says what it is.
        further = len(self.bits) > BANDS.get(self.photometric, 64)
        self.has_alpha = further and (not self.extra or self.extra[0] in ALPHA)
        deep_grey = self.photometric in (0, 1) and self.bits[0] > 8 and len(self.bits) == 1
        self.mode = "I;16" if deep_grey else MODES.get(self.photometric, "") + "A" * self.has_alpha  # in Pillow
        self.reads_bytes = self.compression in LOSSLESS and self.photometric in MODES  # samples are read here

    @property
    def name(self) -> str:
        """Depth, kind and bands, as one says them."""
        depth = "/".join(map(str, dict.fromkeys(self.bits)))
        form = "/".join(dict.fromkeys(SAMPLE_FORMATS.get(form, "unknown ") for form in self.sample_format))
        bands = "" if len(self.bits) == BANDS.get(self.photometric, len(self.bits)) else f" of {len(self.bits)} bands"
        if len(self.bits) == len(self.extra) + BANDS.get(self.photometric, 0) and self.extra[:1] in ((1,), (2,)):
            bands = " with alpha" if len(self.extra) == 1 else bands
        return f"{depth}-bit {form}{PHOTOMETRIC.get(self.photometric, 'unknown')} TIFF{bands}"


def _tags(data: bytes) -> tuple[str, dict[int, tuple[int, ...]]]:
    """The byte order, and the whole numbers of every tag of the first directory that has any."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack(f"{order}H", data[2:4])[0] == 43
    count_code, entry_code, word = ("Q", "HHQ8s", 8) if big else ("H", "HHI4s", 4)
    (at,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, word)
    (count,) = struct.unpack_from(f"{order}{count_code}", data, at)
    at += struct.calcsize(count_code)
    tags: dict[int, tuple[int, ...]] = {}
    for start in range(at, at + min(count, 2**12) * (4 + 2 * word), 4 + 2 * word):
        tag, kind, length, inline = struct.unpack_from(f"{order}{entry_code}", data, start)
        if kind not in CODES or length == 0:
            continue
        if length > MOST_VALUES:
            raise ValueError(f"tag {tag} has {length:,} values")
        form = f"{order}{length}{CODES[kind]}"
        (place,) = struct.unpack(f"{order}{'Q' if big else 'I'}", inline)
        fits = struct.calcsize(form) <= word
        tags.setdefault(tag, struct.unpack_from(form, inline) if fits else struct.unpack_from(form, data, place))
    return order, tags


def _white(bits: int, largest: Sequence[int]) -> int:
    """2^bits - 1, unless MaxSampleValue is such a number of fewer bits: it alone may say that 14 of 16 are used. Any
    other value of that tag is a statistic of one image (TIFF 6.0, "not to be used to affect the appearance")."""
    used = {value.bit_length() for value in largest if value & (value + 1) == 0}
    return 2 ** (used.pop() if len(used) == 1 and 8 < min(used) < bits else bits) - 1


def refusal(layout: Layout) -> str | None:
    """Why an image of these tags cannot be read, in words; None where it can."""
    kind, bits, compression = f"is a {layout.name}", layout.bits[0], layout.compression
    if layout.width * layout.height * sum(layout.bits) > 8 * MOST_SAMPLE_BYTES:
        return f"is {layout.width} x {layout.height} pixels of a {layout.name}, more than {MOST_SAMPLE_BYTES:,} bytes"
    known_samples = {*layout.sample_format} <= {1, 4} and len({*layout.bits}) == 1 and 1 <= bits <= 16
    if layout.photometric not in BANDS or not known_samples:
        return f"{kind}, which is not supported; convert it to 8 or 16 bits of grey or RGB"
    if not _says_what_bands_are(layout):
        return f"{kind}, of which nothing says how to show them; keep grey or RGB, with one of transparency"
    if layout.reads_bytes:
        readable = layout.predictor == 1 or (layout.predictor == 2 and bits in (8, 16))
        return None if readable else f"{kind} with predictor {layout.predictor}, which is not supported"
    if layout.photometric == 6 and compression in LOSSLESS:
        plain = bits == 8 and not layout.separate and (compression != 1 or not layout.subsampled)
        return None if plain else f"{kind} of subsampled colours; convert it to RGB"
    coded = 1 if compression in CCITT else 8 if compression in JPEG | {WEBP} else None
    return None if coded == bits else f"{kind} of compression {compression}, which is not supported; save it with LZW"


def _says_what_bands_are(layout: Layout) -> bool:
    bands, extra = len(layout.bits) - BANDS[layout.photometric], layout.extra
    if bands == 1 and layout.photometric == 2 and not extra:
        return True  # transparency that writers forget to name
    known = bands == len(extra) and (not extra or layout.photometric not in (5, 6) or not ALPHA & {*extra})
    return known and (bands < 2 or (layout.photometric in (2, 5) and bands < 4)) and not ALPHA & {*extra[1:]}


def decode(data: bytes, layout: Layout) -> Image.Image:
    """The picture of 8 bits, transparency unmultiplied, not turned yet; `layout` must be one that `reads_bytes`."""
    values, bands = _samples(data, layout), BANDS[layout.photometric]
    color, alpha = values[..., :bands], values[..., bands : bands + 1]
    if layout.has_alpha and layout.extra[:1] == (PREMULTIPLIED,):
        color = by_rows(lambda some: _unmultiplied(some, bands, layout.white), values)
    if layout.photometric == 3:
        shown = _palette(layout)[color[..., 0]]
    else:
        shown = eight_bits(color, layout.white, inverted=layout.photometric == 0)
    mode = MODES[layout.photometric]
    if layout.has_alpha:
        shown, mode = np.concatenate([shown, eight_bits(alpha, layout.white)], axis=2), f"{mode}A"
    return Image.frombuffer(mode, (layout.width, layout.height), np.ascontiguousarray(shown), "raw", mode, 0, 1)


def _unmultiplied(values: np.ndarray, bands: int, white: int) -> np.ndarray:
    """(h, W, bands): colour that was multiplied by the band after it, as it was before; where that is 0 it is 0."""
    alpha = np.maximum(values[..., bands : bands + 1], 1).astype(np.uint32)
    return np.minimum(values[..., :bands].astype(np.uint32) * white // alpha, white).astype(values.dtype)


def _palette(layout: Layout) -> np.ndarray:
    """(2^bits, 3) uint8. Entries are of 16 bits; where none is above 255, a writer has taken them for 8."""
    if layout.colors is None or layout.colors.shape[1] < 2 ** layout.bits[0]:
        raise ValueError("its palette is missing or too short")
    deep = layout.colors.max() > 255
    return (layout.colors.T // 256 if deep else layout.colors.T).astype(np.uint8)


def _samples(data: bytes, layout: Layout) -> np.ndarray:
    """(H, W, bands) uint8 or uint16, in this machine's byte order."""
    (wide, high), bands = layout.block, len(layout.bits)
    if min(wide, high, layout.width, layout.height) < 1:
        raise ValueError("its strips or tiles are empty")
    grid = ceil(layout.height / high), ceil(layout.width / wide)
    planes = bands if layout.separate else 1
    if len(layout.offsets) < planes * prod(grid) or prod(grid) > MOST_VALUES:
        raise ValueError(f"expected {planes * prod(grid)} strips or tiles, got {len(layout.offsets)}")
    each = [
        _plane(data, layout, range(plane * prod(grid), (plane + 1) * prod(grid)), grid, bands // planes)
        for plane in range(planes)
    ]
    return each[0] if planes == 1 else np.concatenate(each, axis=2)


def _plane(data: bytes, layout: Layout, blocks: range, grid: tuple[int, int], bands: int) -> np.ndarray:
    """(H, W, bands) of the blocks, which lie in a grid (down, across)."""
    (wide, high), (down, across) = layout.block, grid
    line = ceil(wide * bands * layout.bits[0] / 8)
    rows = down * high if layout.tiled else layout.height
    lines = _bytes_of(data, layout, blocks, rows, across * line, line).reshape(rows, across, line)
    values = _unpacked(lines, layout, wide * bands).reshape(rows, across, wide, bands)
    if layout.predictor == 2 and layout.compression != 1:
        np.cumsum(values, axis=2, dtype=values.dtype, out=values)
    return values.reshape(rows, across * wide, bands)[: layout.height, : layout.width]


def _bytes_of(data: bytes, layout: Layout, blocks: range, rows: int, length: int, line: int) -> np.ndarray:
    """(rows, length) uint8 of blocks that are `line` bytes wide, side by side. They are read as an image whose pixels
    are their bytes, as many at a time as its kinds of pixel have: of grey it would have more pixels than the codec
    allows."""
    offsets = [layout.offsets[block] for block in blocks]
    counts = [layout.counts[i] if i < len(layout.counts) else len(data) - layout.offsets[i] for i in blocks]
    high, across = layout.block[1], length // line
    ends = [offset + line * min(high, rows - i // across * high) for i, offset in enumerate(offsets)]
    if layout.compression == 1 and max(ends) > len(data):
        raise ValueError("the file is cut off")
    size = next(size for size in (4, 3, 1) if line % size == 0)
    shape = {322: [line // size], 323: [high], 324: offsets, 325: counts} if layout.tiled else {
        273: offsets, 278: [high], 279: counts,
    }  # fmt: skip
    tags = {
        256: [length // size], 257: [rows], 258: [8] * size, 259: [layout.compression],
        262: [2 if size == 3 else 5 if size == 4 else 1], 277: [size], **shape,
    }  # fmt: skip
    if layout.fill_order == 2:
        data = REVERSED[np.frombuffer(data, np.uint8)].tobytes()
    with TiffImageFile(io.BytesIO(_with_tags(data, tags))) as image:
        image.load()
        return np.array(image).reshape(rows, length)


def _with_tags(data: bytes, tags: dict[int, list[int]]) -> bytes:
    """A little-endian TIFF with these tags, and with every block where it is in `data`."""
    start = len(data) + len(data) % 2
    after = start + 2 + 12 * len(tags) + 4
    entries, blobs = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, blobs = struct.pack("<I", after + len(blobs)), blobs + packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    directory = struct.pack("<H", len(tags)) + entries + bytes(4) + blobs
    return b"".join([b"II*\0", struct.pack("<I", start), data[8:], bytes(len(data) % 2), directory])


def _unpacked(lines: np.ndarray, layout: Layout, count: int) -> np.ndarray:
    """(rows, across, bytes) uint8 -> (rows, across, count) numbers: uint8, or uint16 of more than 8 bits."""
    bits = layout.bits[0]
    if bits == 8:
        return lines[..., :count]
    if bits == 16:
        return lines.view(f"{layout.order}u2").astype(np.uint16)
    first = np.arange(count) * bits
    byte, shift = first // 8, (24 - bits - first % 8).astype(np.uint32)

    def numbers(some: np.ndarray) -> np.ndarray:
        padded = np.pad(some, ((0, 0), (0, 0), (0, 2))).astype(np.uint32)
        three = padded[..., byte] << 16 | padded[..., byte + 1] << 8 | padded[..., byte + 2]
        return (three >> shift & 2**bits - 1).astype(np.uint8 if bits < 8 else np.uint16)

    return by_rows(numbers, lines, 16)
