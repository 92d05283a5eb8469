"""Files of other formats, as Pillow writes them, for comparing bytes: JPEG, with its header and without, and WebP.

JPEG: baseline, colour at half the resolution (4:2:0), Huffman tables fitted to the image (`optimize`). Of a small image
most of the file is header: its payload is what follows the header of the scan, the coded image itself and the two bytes
that end it, which is what a codec of a fixed size and fixed tables would have to write. WebP: lossy, slowest method,
the file with its 30 bytes or so of header, since its tables adapt.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from ancestral.colors import MODES
from ancestral.errors import InputError
from ancestral.tensors import Pixels

LOWEST, HIGHEST = 0, 100  # quality
FileOf = Callable[[Image.Image, int], bytes]
"""An image at a quality, as a file."""


def jpeg(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=quality, optimize=True, subsampling="4:2:0")
    return out.getvalue()


def webp(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, "WEBP", quality=quality, method=6)
    return out.getvalue()


def jpeg_payload(content: bytes) -> int:
    """Bytes of a JPEG file of one scan after the header of the scan."""
    at = 2
    while content[at : at + 1] == b"\xff":
        kind, length = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        at += 2 + length
        if kind == 0xDA:
            return len(content) - at
    raise InputError("expected a JPEG file with a scan, got none; give a whole file")


def to_images(pixels: Pixels) -> list[Image.Image]:
    """Opaque images (N, 1 or 3, H, W) as Pillow's."""
    if pixels.shape[1] not in (1, 3):
        raise InputError(f"expected opaque images, got {pixels.shape[1]} channels; lay them over white first")
    arrays = pixels.cpu().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(np.ascontiguousarray(each[..., 0] if each.shape[2] == 1 else each)) for each in arrays]


def from_files(files: list[bytes], channels: int) -> Pixels:
    """The images in files of one size, (N, channels, H, W)."""
    arrays = [np.array(Image.open(BytesIO(each)).convert(MODES[channels])) for each in files]
    return torch.from_numpy(np.stack(arrays)).reshape(len(files), *arrays[0].shape[:2], channels).permute(0, 3, 1, 2)


def best_within(image: Image.Image, write: FileOf, most: int, size: Callable[[bytes], int] = len) -> tuple[int, bytes]:
    """The file of the highest quality that takes at most so many bytes, by bisection, and that quality; of the lowest
    quality where even that takes more.

    Bytes rise with quality but for a few steps, where a somewhat higher quality might fit as well.
    """
    low, high, best = LOWEST, HIGHEST + 1, write(image, LOWEST)
    while high - low > 1:
        middle = (low + high) // 2
        tried = write(image, middle)
        if size(tried) <= most:
            low, best = middle, tried
        else:
            high = middle
    return low, best
