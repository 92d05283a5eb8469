"""The linear codec of the same shape as an autoencoder: principal components of patches (Karhunen-Loève transform).

Patches of f x f pixels with all their channels are centred and turned onto the eigenvectors of their covariance over
training images; the c with the largest eigenvalues are kept, divided by their standard deviations. No linear map of
patches to c numbers has a smaller squared error on those images, so an autoencoder that is not several dB better has
learned nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from ancestral.errors import InputError
from ancestral.tensors import Data, Pixels, from_pixels, to_pixels


@dataclass(frozen=True)
class LinearCodec:
    """`basis` has orthonormal rows, on patches of `factor` x `factor` pixels, -1 to 1, as `pixel_unshuffle` orders."""

    factor: int
    mean: Float64[Tensor, "D"]
    basis: Float64[Tensor, "c D"]
    std: Float64[Tensor, "c"]
    bound: ClassVar[float | None] = None

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        if image[0] * self.factor**2 != len(self.mean):
            wanted = len(self.mean) // self.factor**2
            raise InputError(f"expected images of {wanted} channels, as the codec was fitted to, got {image[0]}")
        height, width = (-(-side // self.factor) for side in image[1:])
        return len(self.std), height, width

    def encode(self, pixels: Pixels, noise: Callable[[], Data] | None = None) -> Float[Tensor, "B c h w"]:
        """Images that the patches do not divide are continued at the right and the bottom by reflection."""
        patches = _patches(pixels, self.factor) - self.mean[:, None, None]
        return (torch.einsum("cd,bdhw->bchw", self.basis, patches) / self.std[:, None, None]).float()

    def decode(self, x0: Float[Tensor, "B c h w"]) -> Pixels:
        patches = torch.einsum("cd,bchw->bdhw", self.basis, x0.double() * self.std[:, None, None])
        return to_pixels(F.pixel_shuffle(patches + self.mean[:, None, None], self.factor))


def fit_linear_codec(pixels: Pixels, factor: int, channels: int) -> LinearCodec:
    """Fitted to training images (N, C, H, W)."""
    patches = _patches(pixels, factor).permute(0, 2, 3, 1).flatten(0, 2)
    if channels > patches.shape[1]:
        raise InputError(f"expected at most {patches.shape[1]} components of a patch, got {channels}; ask for fewer")
    mean = patches.mean(dim=0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    std = values.flip(0)[:channels].clamp(min=torch.finfo(torch.float32).eps).sqrt()
    return LinearCodec(factor, mean, vectors.T.flip(0)[:channels].contiguous(), std)


def _patches(pixels: Pixels, factor: int) -> Float[Tensor, "B D h w"]:
    x = from_pixels(pixels).double()
    down, across = (-side % factor for side in x.shape[-2:])
    return F.pixel_unshuffle(F.pad(x, (0, across, 0, down), mode="reflect"), factor)
