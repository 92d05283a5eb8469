"""What stands between images and what is diffused: pixels are encoded to x0, and x0 is decoded to pixels.

Noise, network, samplers, masks and clipping see x0 alone, of whatever shape. `PixelCodec` makes x0 of the pixels
themselves; one that compresses makes latents of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from ancestral.errors import InputError
from ancestral.tensors import Data, Images, Pixels, from_pixels, to_pixels


@runtime_checkable
class Codec(Protocol):
    """Its tensors may be on any device, and what it returns is on the same one."""

    @property
    def bound(self) -> float | None:
        """The largest number that the x0 of an image holds, + or -; None: there is none, and nothing can be clipped."""

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """(c, h, w) of the x0 of images (C, H, W), which may be larger than those of training; InputError: of none."""
        ...

    def encode(self, pixels: Pixels, noise: Callable[[], Data] | None = None) -> Images:
        """x0, (B, c, h, w) float32. `noise`: the next standard normal draw in x0's shape, for a codec that draws x0
        from a distribution; None: its mean."""
        ...

    def decode(self, x0: Images) -> Pixels:
        """The images (B, C, H, W) of any x0, also of an x_t: it shows what a chain has come to."""
        ...


@dataclass(frozen=True)
class PixelCodec:
    """x0 is the pixels, -1 to 1: bins 2/255 wide and centred on the values (`tensors.from_pixels`)."""

    bound: ClassVar[float | None] = 1.0

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        return image

    def encode(self, pixels: Pixels, noise: Callable[[], Data] | None = None) -> Images:
        return from_pixels(pixels)

    def decode(self, x0: Images) -> Pixels:
        return to_pixels(x0)


PIXELS = PixelCodec()


def check_pixels(codec: Codec, what: str) -> None:
    """Raises InputError unless x0 is the pixels themselves, which `what` is about."""
    if not isinstance(codec, PixelCodec):
        name = type(codec).__name__
        raise InputError(f"expected a pipeline of pixels for {what}, got one of {name}'s latents; train one on pixels")
