"""What is edited: image files at the pipeline's size, and masks."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor

from ancestral.colors import NAMES, WHITE
from ancestral.data.images import as_channels, decode, fit, load, read, to_array
from ancestral.errors import InputError
from ancestral.tensors import Pixels
from ancestral.text import printable

NEW = 128
"""A mask's grey level from which on a pixel is generated anew."""


@dataclass(frozen=True)
class Picture:
    """An image file as the pipeline takes it.

    Attributes:
        pixels: (1, C, H, W).
        size: height and width of the file's image, before it was fitted.
        digest: SHA-256 of the file.
        changes: what was done to fit it, in words; "": nothing.
    """

    pixels: Pixels
    size: tuple[int, int]
    digest: str
    changes: str


def read_picture(path: Path, channels: int, height: int, width: int) -> Picture:
    """The image in a file, cropped to the shape and resized where it has another.

    Raises:
        BadImage: for every fault of the file.
    """
    data = read(path)
    image = load(path, data)[0]
    fitted = fit(as_channels(image, channels, WHITE), height, width, "crop")
    changes = [] if image.size == fitted.size else [f"fitted from {_size(image)} to {_size(fitted)} pixels"]
    changes += [] if image.mode == fitted.mode else [f"made {NAMES[channels]}"]
    said = f"{printable(path)} was {' and '.join(changes)}" if changes else ""
    return Picture(_pixels(fitted), (image.height, image.width), hashlib.sha256(data).hexdigest(), said)


def read_mask(path: Path, height: int, width: int, sizes: Sequence[tuple[int, int]]) -> Bool[Tensor, "H W"]:
    """The pixels to keep, (height, width): those that the mask's file shows black; True is kept.

    Args:
        sizes: of the images' files. A mask of their size is fitted as they are.

    Raises:
        BadImage: for every fault of the file.
        InputError: a mask of another size, or one that leaves nothing to generate or nothing to keep.
    """
    mask = decode(path, channels=1)
    own, of_images = (mask.height, mask.width), {*sizes}
    if own != (height, width) and of_images != {own}:
        theirs = "".join(f" or {h}x{w}" for h, w in sorted(of_images - {(height, width)}) if len(of_images) == 1)
        raise InputError(f"expected a mask of {height}x{width}{theirs} pixels, got {own[0]}x{own[1]}; resize the mask")
    keep = _pixels(fit(mask, height, width, "crop"))[0, 0] < NEW
    if bool(keep.all()) or not bool(keep.any()):
        all_of_it = "everything" if bool(keep.all()) else "nothing"
        raise InputError(
            f"expected a mask that keeps some pixels, got one that keeps {all_of_it}; white is generated anew"
        )
    return keep


def _size(image: Image.Image) -> str:
    return f"{image.height}x{image.width}"


def _pixels(image: Image.Image) -> Pixels:
    return torch.from_numpy(to_array(image).copy()).permute(2, 0, 1)[None].contiguous()
