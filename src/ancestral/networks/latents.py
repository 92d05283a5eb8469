"""Codecs whose x0 is what an autoencoder makes of images, with mean 0 and deviation 1 in each channel.

Diffusion is made for such numbers, and what an encoder gives has any scale. So mean m and deviation s of each channel
are measured over the images that are trained on, and x0 = (z - m) / s. Where z is drawn, from N(mu, sigma^2) of each
image, they are those of what is drawn, without a draw:

    m = E[mu],   s^2 = E[(mu - m)^2] + E[sigma^2]                                                                   (1)

Codes are compared by their distances, which a deviation for each channel would change: there it is one for all, the
root of the mean of s^2. x0 of a codebook is what was encoded before it became codes, and decoding makes codes of it.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int64, Shaped, UInt8
from torch import Tensor

from ancestral.errors import InputError, NonFinite
from ancestral.networks.autoencoder import Autoencoder, Latents
from ancestral.networks.quantizer import Quantizer
from ancestral.networks.tiled import USUAL, Scale, Tiling, in_tiles
from ancestral.networks.weights import tensors_hash
from ancestral.settings import KLSettings, VQSettings
from ancestral.tensors import Data, Images, Pixels, from_pixels, is_finite, to_pixels

OfChannels = Float64[Tensor, "z"]


@dataclass(frozen=True, eq=False)
class LatentCodec:
    """What the three have in common: the interface of `ancestral.codec.Codec`. The network computes in float32,
    whatever surrounds it; images whose sides are no multiples of its factor are continued by reflection, and large ones
    are encoded and decoded in tiles (networks/tiled.py). Two are equal whose x0 means the same, whatever their tiles.

    `mean`, `std`: of the channels of the latents that `network` makes, on any device.
    """

    network: Autoencoder
    mean: OfChannels
    std: OfChannels
    tiling: Tiling = USUAL
    bound: ClassVar[float | None] = None

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, LatentCodec) and type(self) is type(other) and self.hash == other.hash
        )

    def __hash__(self) -> int:
        return hash(self.hash)

    @cached_property
    def hash(self) -> str:
        """Of all that x0 depends on: tensors and their norms' groups, mean and deviation, as they were when first asked
        for. 16 hexadecimal digits."""
        groups = torch.tensor(self.network.settings.norm_groups)
        about = {"codec.mean": self.mean, "codec.std": self.std, "codec.norm_groups": groups}
        return tensors_hash({**self.network.state_dict(), **about})

    @property
    def device(self) -> torch.device:
        """Where it computes, whatever it is given."""
        return self.network.decoder.conv_out.weight.device

    def to(self, device: torch.device) -> "LatentCodec":
        """The same codec that computes on another device, with weights of its own there; itself where it does."""
        return self if device == self.device else replace(self, network=deepcopy(self.network).to(device))

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        """(z, h, w) of the x0 of images (C, H, W), h and w being H and W over the factor, rounded up."""
        channels, height, width = image
        if channels != self.network.image_channels:
            raise InputError(
                f"expected images of the {self.network.image_channels} channels that the autoencoder was made for, got "
                f"{channels}; convert them, or train another"
            )
        settings = self.network.settings
        return settings.channels, -(-height // settings.factor), -(-width // settings.factor)

    def encode(self, pixels: Pixels, noise: Callable[[], Data] | None = None) -> Latents:
        mean, std = self.moments(pixels)
        return mean if noise is None else mean + std * noise()

    @torch.no_grad()
    def moments(self, pixels: Pixels) -> tuple[Latents, Latents]:
        """Mean and deviation of the x0 of images, which a cache may keep: a draw is mean + std * noise. Of latents that
        are not drawn the deviation is 0."""
        factor = self.network.settings.factor
        there = reflected(pixels.to(self.device), factor)
        mu, sigma = in_tiles(self._network_moments, there, Scale(factor, 1), self.tiling).chunk(2, dim=1)
        m, s = self._statistics(mu)
        return ((mu - m) / s).to(pixels.device), (sigma / s).to(pixels.device)

    @torch.no_grad()
    def decode(self, x0: Latents) -> Pixels:
        """The images (B, C, f h, f w), f being the factor: `cropped` cuts off what the encoder continued."""
        images = self.images(x0)
        if not is_finite(images) and is_finite(x0):
            raise NonFinite(
                "expected the decoder to answer finite images, got NaN or infinity; latents are far from those that it "
                "was trained on, or its training diverged: take other weights"
            )
        return to_pixels(images)

    def images(self, x0: Latents) -> Images:
        """The same in [-1, 1], neither rounded nor clipped, and with its gradient."""
        scale = Scale(1, self.network.settings.factor)
        with torch.autocast(self.device.type, enabled=False):
            z = self.decodable(self.latents(x0.to(self.device)))
            return in_tiles(self.network.decoded, z, scale, self.tiling).to(x0.device)

    def latents(self, x0: Latents) -> Latents:
        """x0 as the network has it, with its own mean and deviation."""
        m, s = self._statistics(x0)
        return x0.float() * s + m

    def _network_moments(self, pixels: Pixels) -> Float[Tensor, "B both h w"]:
        """`latent_moments`, one after the other."""
        return torch.cat(latent_moments(self.network, pixels), dim=1)

    def decodable(self, z: Latents) -> Latents:
        """Latents of the network as its decoder has them."""
        return z

    def _statistics(self, like: Latents) -> tuple[Tensor, Tensor]:
        """Mean and deviation, float32, as they broadcast over latents on the device of `like`."""
        mean, std = (each.to(like.device, torch.float32)[:, None, None] for each in (self.mean, self.std))
        return mean, std


@dataclass(frozen=True, eq=False)
class PlainCodec(LatentCodec):
    """x0 is what is encoded, a number and no distribution."""


@dataclass(frozen=True, eq=False)
class KLCodec(LatentCodec):
    """x0 is drawn from the distribution that an image is encoded to, or is its mean."""


@dataclass(frozen=True, eq=False)
class VQCodec(LatentCodec):
    """x0 is what is encoded, before it becomes codes: decoding takes the nearest ones."""

    @property
    def codes(self) -> int:
        """Entries in the codebook."""
        return len(self._quantizer.counts)

    def indices(self, x0: Latents) -> Int64[Tensor, "B h w"]:
        """Of the codes that decoding makes of x0."""
        return self._quantizer.indices(self.latents(x0))

    def of_indices(self, indices: Int64[Tensor, "B h w"]) -> Latents:
        """x0 of which decoding makes these codes."""
        codes = self._quantizer.codes(indices)
        m, s = self._statistics(codes)
        return (codes - m) / s

    @property
    def _quantizer(self) -> Quantizer:
        assert self.network.quantize is not None
        return self.network.quantize

    def decodable(self, z: Latents) -> Latents:
        return self._quantizer(z).latents


CODECS: dict[str, type[LatentCodec]] = {"plain": PlainCodec, "kl": KLCodec, "vq": VQCodec}
"""By the names of the settings of their autoencoders."""


def latent_codec(network: Autoencoder, mean: OfChannels, std: OfChannels) -> LatentCodec:
    """The codec of an autoencoder, whichever it is."""
    return CODECS[network.settings.name](network, mean, std)


def latent_moments(network: Autoencoder, pixels: Pixels) -> tuple[Latents, Latents]:
    """Mean and deviation of the latents of images, as the network has them; plain and vq have no deviation: 0."""
    x = from_pixels(reflected(pixels, network.settings.factor))
    with torch.autocast(x.device.type, enabled=False):
        if isinstance(network.settings, KLSettings):
            posterior = network.posterior(x)
            return posterior.mean, torch.exp(0.5 * posterior.log_var)
        z = network.encoded(x)
        return z, torch.zeros_like(z)


@torch.no_grad()
def latent_statistics(network: Autoencoder, batches: Iterable[Pixels]) -> tuple[OfChannels, OfChannels]:
    """Mean and deviation (1) of each channel of the latents of all images, of which there must be some, float64 on the
    CPU; of vq one deviation for all."""
    latents = network.settings.channels
    total, squares = torch.zeros(latents, dtype=torch.float64), torch.zeros(latents, dtype=torch.float64)
    count = 0
    for pixels in batches:
        mu, sigma = (each.double() for each in latent_moments(network, pixels))
        count += mu.numel() // latents
        total += mu.sum(dim=(0, 2, 3)).cpu()
        squares += (mu.square() + sigma.square()).sum(dim=(0, 2, 3)).cpu()
    mean = total / count
    variance = squares / count - mean.square()
    if isinstance(network.settings, VQSettings):
        variance = variance.mean().expand(latents).clone()
    if not bool((variance > 0).all()):
        raise InputError(
            "expected an autoencoder whose latents differ from image to image, got one of which channel "
            f"{int((~(variance > 0)).nonzero()[0])} is always the same, or no number; train it longer"
        )
    return mean, variance.sqrt()


def reflected(pixels: Pixels, multiple: int) -> UInt8[Tensor, "B C _ _"]:
    """Images continued on the right and at the bottom, as in mirrors, until both sides are multiples: of any size, also
    where that takes several mirrors."""
    for axis in (2, 3):
        side = pixels.shape[axis]
        if side % multiple:
            period = 2 * (side - 1)
            place = torch.arange(side + -side % multiple, device=pixels.device) % max(1, period)
            pixels = pixels.index_select(axis, torch.minimum(place, period - place))
    return pixels


def cropped(images: Shaped[Tensor, "B C _ _"], size: Sequence[int]) -> Shaped[Tensor, "B C _ _"]:
    """The images without what was continued: the first H rows and W columns."""
    height, width = size
    return images[:, :, :height, :width]
