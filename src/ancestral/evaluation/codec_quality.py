"""How near a codec's images come to the originals, and how much of a codebook is in use. Images are uint8, 0..255.

Peak signal-to-noise ratio of an image of N numbers, every pixel and channel alike, in dB:

    MSE = 1/N Σ (x - y)²,        PSNR = 10 log₁₀ (255² / max(MSE, 1/N))                                        (1)

An image without any error counts as one with a single number one level off, the highest that is finite, so that one
exact image does not make the mean of a set infinite. Means are of the PSNR of each image, not the PSNR of the mean MSE,
which is lower.

Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861) of a channel, at a position:

    (2 mₓmᵧ + C₁)(2 vₓᵧ + C₂) / ((mₓ² + mᵧ² + C₁)(vₓ + vᵧ + C₂)),    C₁ = (0.01·255)², C₂ = (0.03·255)²        (2)

with means, variances and covariance under Gaussian weights of deviation 1.5 px, cut to 11 x 11 and of sum 1 (so the
variances are not unbiased), averaged over the positions where the window lies inside of the image, then over channels.
It is what scikit-image's `structural_similarity` gives with `gaussian_weights=True, use_sample_covariance=False,
data_range=255`. In images with a side below 11 the window has the largest odd side that fits.

Images with transparency are laid over white before either.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from ancestral.codec import Codec
from ancestral.errors import InputError
from ancestral.evaluation.metrics import Estimate, mean_estimate
from ancestral.networks.latents import cropped
from ancestral.networks.tiled import at_once
from ancestral.settings import Settings
from ancestral.tensors import Pixels, over_white

WINDOW, DEVIATION = 11, 1.5  # px
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2

SomeImages = UInt8[Tensor, "_ _ _ _"]
"""(N, C, H, W); two sets that are compared may differ in transparency."""


class Quality(Settings):
    """Means over images, with their standard errors."""

    num_images: int
    psnr: Estimate  # dB
    ssim: Estimate


class CodebookUse(Settings):
    """How a set of images uses a codebook."""

    codes: int  # in the codebook
    used: float  # share of them that stand for something in the set
    entropy: float  # bits to an index, of the shares of the set; what one costs where neighbours tell nothing


def psnr(originals: SomeImages, images: SomeImages) -> Float64[Tensor, "N"]:
    """Peak signal-to-noise ratio (1) of each image, dB."""
    return _of_pairs(_decibels, originals, images)


def ssim(originals: SomeImages, images: SomeImages) -> Float64[Tensor, "N"]:
    """Structural similarity (2) of each image, 1 where they are equal."""
    return _of_pairs(_similarity, originals, images)


def quality(originals: SomeImages, images: SomeImages) -> Quality:
    """What the images of a codec are worth beside the originals, (N, C, H, W) both."""
    found = {"psnr": psnr(originals, images), "ssim": ssim(originals, images)}
    return Quality(num_images=len(originals), **{name: mean_estimate(each) for name, each in found.items()})


@torch.no_grad()
def restored(codec: Codec, pixels: Pixels) -> Pixels:
    """What the codec makes of its own x0 of these images, as large as they are."""
    parts = torch.split(pixels, at_once(*pixels.shape[2:]))
    return torch.cat([decoded(codec, codec.encode(part), part.shape[2:]) for part in parts])


@torch.no_grad()
def decoded(codec: Codec, x0: Float[Tensor, "B c h w"], size: Sequence[int]) -> Pixels:
    """The images (H, W) of some x0, which a codec may have made of images padded at the right and the bottom."""
    return torch.cat([cropped(codec.decode(part), size) for part in torch.split(x0, at_once(*size))])


def code_counts(indices: Int64[Tensor, "..."], codes: int) -> Int64[Tensor, "K"]:
    """How often each of the codes stands in `indices`; counts of batches are added up."""
    return torch.bincount(indices.flatten().cpu(), minlength=codes)


def codebook_use(counts: Int64[Tensor, "K"]) -> CodebookUse:
    """Of the counts of a whole set of images: those of a batch depend on its size, since N indices name N codes at
    most."""
    shares = counts.double() / counts.sum().clamp(min=1)
    some = shares[shares > 0]
    used = float((counts > 0).double().mean())
    return CodebookUse(codes=len(counts), used=used, entropy=abs(float((some * some.log2()).sum())))


def _of_pairs(measure: Callable[[Tensor, Tensor], Tensor], originals: SomeImages, images: SomeImages) -> Tensor:
    pairs = zip(*(torch.split(x, at_once(*x.shape[2:])) for x in _comparable(originals, images)), strict=True)
    return torch.cat([measure(x.double(), y.double()) for x, y in pairs])


def _comparable(originals: SomeImages, images: SomeImages) -> tuple[SomeImages, SomeImages]:
    x, y = over_white(originals), over_white(images)
    if x.shape != y.shape or not len(x) or {x.dtype, y.dtype} != {torch.uint8}:
        got = " and ".join(f"{tuple(each.shape)} {each.dtype}".replace("torch.", "") for each in (originals, images))
        raise InputError(f"expected two sets of as many uint8 images of one size, got {got}; give an image of each")
    return x, y


def _decibels(x: Float64[Tensor, "B C H W"], y: Float64[Tensor, "B C H W"]) -> Float64[Tensor, "B"]:
    error = (x - y).square().flatten(1).mean(dim=1)
    return 10 * (255**2 / error.clamp(min=1 / x[0].numel())).log10()


def _similarity(x: Float64[Tensor, "B C H W"], y: Float64[Tensor, "B C H W"]) -> Float64[Tensor, "B"]:
    window = min(WINDOW, *((side - 1) // 2 * 2 + 1 for side in x.shape[-2:]))
    mean_x, mean_y, square_x, square_y, product = (_weighted(each, window) for each in (x, y, x * x, y * y, x * y))
    var_x, var_y, covariance = square_x - mean_x**2, square_y - mean_y**2, product - mean_x * mean_y
    alike = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return (alike / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))).flatten(1).mean(dim=1)


def _weighted(x: Float64[Tensor, "B C H W"], window: int) -> Float64[Tensor, "B C h w"]:
    """Means under the Gaussian weights at every position where a window of this side lies inside."""
    weights = [math.exp(-((i - window // 2) ** 2) / (2 * DEVIATION**2)) for i in range(window)]
    for axis in (2, 3):
        room = x.shape[axis] - window + 1
        x = sum((w * x.narrow(axis, i, room) for i, w in enumerate(weights)), torch.zeros(())) / sum(weights)
    return x
