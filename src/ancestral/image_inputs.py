"""Images as they are at hand in Python (Pillow's, arrays, tensors), as the batches in [-1, 1] that everything computes
with. What the numbers mean is told by their type: uint8 is 0..255, floating point is [-1, 1]. Nothing else is guessed.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from ancestral.colors import MODES, WHITE
from ancestral.data.images import flatten, upright
from ancestral.errors import InputError
from ancestral.tensors import from_pixels

AnyImages = object
"""Pillow's images, uint8 or floating-point arrays or tensors, or a list of them; `as_images` says what else it is."""
AnyMask = object
"""An array or a tensor of booleans, True where a pixel is known; likewise by `as_mask`."""
ImageBatch = Float[Tensor, "N C h w"]
EIGHT_BITS = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"}


def as_images(images: AnyImages, shape: tuple[int, int, int], bounded: bool = True) -> ImageBatch:
    """(B, C, h, w) float32 in [-1, 1], on the device of the tensors given.

    Args:
        images: (H, W), (H, W, C), (C, H, W), or a batch of one of these; or several of one size in a list.
        shape: (C, H, W) of the pipeline's images. Where the axes could be read in two ways its H and W decide.
        bounded: refuse floating-point numbers beyond [-1, 1].
    """
    if isinstance(images, list | tuple):
        parts = [as_images(each, shape, bounded) for each in images]
        sizes = dict.fromkeys(f"{part.shape[2]}x{part.shape[3]}" for part in parts)
        if len(sizes) != 1:
            raise InputError(f"expected images of one size, at least one, got {' and '.join(sizes) or 'none'}")
        return torch.cat(parts)
    tensor = _pillow(images, shape[0]) if isinstance(images, Image.Image) else _numbers(images)
    return _laid_out(_floats(tensor, bounded), shape, isinstance(images, Tensor))


def as_mask(keep: AnyMask, images: ImageBatch) -> Bool[Tensor, "..."]:
    """A mask that broadcasts over `images`: (H, W), (H, W, 1), (B, H, W), or what broadcasts already."""
    kind = _type(keep)
    if not isinstance(keep, np.ndarray | Tensor) or kind not in ("bool", "torch.bool"):
        raise InputError(f"expected a mask of booleans, True where a pixel is known, got {kind}; compare with a level")
    mask = torch.tensor(np.ascontiguousarray(keep)) if isinstance(keep, np.ndarray) else keep
    count, channels, *size = images.shape
    if mask.ndim == 3 and [*mask.shape] == [*size, 1]:
        mask = mask.movedim(-1, 0)
    if mask.ndim == 3 and mask.shape[0] == count != channels:
        mask = mask[:, None]
    ends = zip(reversed(mask.shape), reversed(images.shape), strict=False)
    if [*mask.shape[-2:]] != size or mask.ndim > 4 or any(a not in (1, b) for a, b in ends):
        raise InputError(
            f"expected a mask that fits images of {tuple(images.shape)}, got {tuple(mask.shape)}; "
            "give it the images' height and width"
        )
    return mask


def _pillow(image: Image.Image, channels: int) -> Tensor:
    """(H, W, C) uint8, upright, in the colours that are wanted."""
    if image.mode not in EIGHT_BITS:
        raise InputError(f"expected an image of 8 bits a channel, got Pillow's mode {image.mode}; convert it to RGB")
    turned = upright(image)
    opaque = turned if channels in (2, 4) else flatten(turned, WHITE)
    array = np.array(opaque.convert(MODES[channels]))
    return torch.from_numpy(array.reshape(*array.shape[:2], channels))


def _numbers(images: object) -> Tensor:
    if isinstance(images, np.ndarray) and images.dtype in (np.uint8, np.float16, np.float32, np.float64):
        return torch.tensor(np.ascontiguousarray(images))
    dense = images if isinstance(images, Tensor) and images.layout == torch.strided else None
    if dense is not None and (dense.dtype == torch.uint8 or dense.is_floating_point()):
        return dense.detach()
    raise InputError(
        f"expected a Pillow image, uint8 0..255, or floating point in [-1, 1], got {_type(images)}; convert to one of "
        "these, whose meaning its type tells"
    )


def _type(value: object) -> str:
    return str(value.dtype) if isinstance(value, np.ndarray | Tensor) else type(value).__name__


def _floats(tensor: Tensor, bounded: bool) -> Tensor:
    if tensor.dtype == torch.uint8:
        return from_pixels(tensor)
    low, high = (float(end) for end in tensor.aminmax()) if tensor.numel() else (0.0, 0.0)
    if not -float("inf") < low <= high < float("inf"):
        raise InputError(f"expected images of finite numbers, got some that are not ({low} to {high})")
    if bounded and max(-low, high) > 1.001:  # by rounding, a little more than 1
        raise InputError(f"expected floating-point images in [-1, 1], got {low:g} to {high:g}; 0..255 is uint8 here")
    return tensor.float()


def _laid_out(tensor: Tensor, shape: tuple[int, int, int], as_tensors_are: bool) -> ImageBatch:
    """(B, C, H, W) of whichever axes there are; those of a batch in torch's order are taken as they are."""
    channels, *size = shape
    if as_tensors_are and tensor.ndim == 4 and tensor.shape[1] == channels and tensor.numel():
        return tensor
    readings: list[Tensor] = []
    if tensor.ndim == 2 and channels == 1:
        readings = [tensor[None, None]]
    elif tensor.ndim in (3, 4):
        batch = tensor[None] if tensor.ndim == 3 else tensor
        readings += [batch] if batch.shape[1] == channels else []
        readings += [batch.movedim(-1, 1)] if batch.shape[3] == channels else []
        readings = readings or ([tensor[:, None]] if tensor.ndim == 3 and channels == 1 else [])
    found = [each for each in readings if [*each.shape[2:]] == size] or readings
    distinct = {tuple(each.shape) for each in found}
    if len(distinct) != 1 or not tensor.numel():
        axes = "(H, W, C) or (C, H, W)" if channels > 1 else "(H, W), (H, W, 1) or (1, H, W)"
        ways = ", which can be read in two ways" if len(distinct) > 1 else ""
        raise InputError(
            f"expected images of {channels} {'channel' if channels == 1 else 'channels'}, {axes}, or a batch of these, "
            f"got {tuple(tensor.shape)}{ways}"
        )
    return found[0].contiguous()
