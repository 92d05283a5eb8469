"""Shape names, broadcasting over images, and the map between [-1, 1] and 0..255.

Shape letters used everywhere: B batch, C channels, H height, W width, L tokens, D features, T timesteps.
"""

import math

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

Data = Float[Tensor, "B ..."]  # anything that is diffused: a batch of images, or of numbers in the tests
PerImage = Float[Tensor, "B"]  # one number per element of the batch
Images = Float[Tensor, "B C H W"]  # images in [-1, 1]
Pixels = UInt8[Tensor, "B C H W"]  # images as they are stored, 0..255
Timesteps = Int64[Tensor, "..."]
"""() one timestep for the whole batch, or (B,) one for each element. 0 is clean data, T is noise."""
Labels = Int64[Tensor, "B"]


def broadcast_like(values: Float[Tensor, "..."], like: Data) -> Float[Tensor, "..."]:
    """`values`, () or (B,), shaped to broadcast over `like` (B, ...) and cast to its dtype and device."""
    values = values.to(device=like.device, dtype=like.dtype)
    return values if values.ndim == 0 else values.reshape(-1, *[1] * (like.ndim - 1))


def mean_over_image(x: Data) -> PerImage:
    """Mean over every axis but the first: (B, ...) -> (B,)."""
    return x.reshape(x.shape[0], -1).mean(dim=1)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`. Out of pinned memory a GPU fetches it by itself, and nobody waits."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def to_pixels(x: Float[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    """[-1, 1] -> 0..255, rounded to nearest and clipped. The inverse of `from_pixels` on all 256 values."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def from_pixels(pixels: UInt8[Tensor, "..."]) -> Float[Tensor, "..."]:
    """0..255 -> [-1, 1] as x / 127.5 - 1, float32: bins are 2/255 wide and centred on the values."""
    return pixels.float() / 127.5 - 1


def is_finite(x: Float[Tensor, "..."]) -> bool:
    """Whether it holds neither NaN nor infinity. A finite sum says so, at a fraction of the cost of looking at each."""
    return math.isfinite(float(x.detach().sum())) or bool(x.isfinite().all())


def over_white(pixels: UInt8[Tensor, "B C H W"]) -> UInt8[Tensor, "B _ H W"]:
    """Images of 2 or 4 channels, the last their opacity, laid over white: 1 or 3 channels; others as they are."""
    if pixels.shape[1] not in (2, 4):
        return pixels
    color, opacity = pixels[:, :-1].float(), pixels[:, -1:].float() / 255
    return (255 + (color - 255) * opacity).round().to(torch.uint8)
