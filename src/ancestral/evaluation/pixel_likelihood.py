"""How likely pixels are given their latents: p(x|z) as a distribution of the 256 levels of each.

An autoencoder is trained by the density of a Laplace distribution around what its decoder makes of z (1 of
training/codec_losses.py). A pixel is a whole number, so here that density is integrated over the bin of each level,
with both ends open, by (1) and (2) of gaussian.py:

    P(x_k) = F((x_k + 1/255 - y) / b) - F((x_k - 1/255 - y) / b),   F(u) = exp(u) / 2 for u <= 0, F(u) = 1 - F(-u)   (1)

y is what the decoder answers, neither rounded nor clipped. Whatever y and b are, the 256 of (1) add to 1.

No file says b. It is measured, one for each channel: that of greatest likelihood (1) over images that were trained on,
decoded from draws of q(z|x). That is not the mean |x - y|, the best scale of the density: the ends are open, so black
where the decoder is about right costs a bit or less however wide the distribution is, and what a wide one saves
elsewhere decides. Of an autoencoder of MNIST after three minutes, pixels of test images cost 2.12 bits at the b of (1)
and 2.64 at the mean |x - y|; of one of digits 3.93 and 4.17. A logistic distribution in place of the Laplace came to
2.12 and 3.92; a b for each of 16 ranges of y saved 0.05 and 0.003 bits. Neither is worth a second kind of scale.
"""

import math
from typing import Annotated

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from ancestral.data.imageset import ImageSet
from ancestral.gaussian import BIN_WIDTH, level_log_prob
from ancestral.networks.latents import KLCodec, cropped
from ancestral.progress import StepwiseWork
from ancestral.rng import ImageNoise, mix
from ancestral.settings import PositiveFloat, Settings
from ancestral.tensors import Images, Pixels, from_pixels

FITTED = 500  # images that scales are measured on, at most
LEAST_SCALE, MOST_SCALE, SCALES = BIN_WIDTH / 8, 2.0, 33


class LaplaceDecoder(Settings):
    """(1) with the scale of each channel, and how many images these were measured on."""

    scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    num_images: int

    def log_prob(self, pixels: Pixels, y: Images) -> Float64[Tensor, "B C H W"]:
        """log P(x|z) of every number of images, nats, at what the decoder made of z, in [-1, 1] and beyond."""
        scale = torch.tensor(self.scales, dtype=torch.float64, device=y.device)[:, None, None]
        return laplace_log_prob(pixels, y, scale)


def laplace_log_prob(pixels: Pixels, y: Images, scale: Float64[Tensor, "..."]) -> Float64[Tensor, "B C H W"]:
    """log of (1), nats; `scale` broadcasts over images."""
    return level_log_prob(from_pixels(pixels), lambda x: (x - y.double()) / scale, _log_cdf)


def _log_cdf(u: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """log F of (1)."""
    return torch.where(u <= 0, u - math.log(2), torch.log1p(-0.5 * torch.exp(-u)))


def fitting_decoder(
    codec: KLCodec, images: ImageSet, seed: int, device: torch.device, chunk: int
) -> StepwiseWork[LaplaceDecoder]:
    """The scales of greatest likelihood of `images`, which are to be such as the codec was trained on: of at most
    `FITTED`, the first, for a set is shuffled. `chunk`: images at once, on which nothing depends."""
    scales = torch.logspace(math.log10(LEAST_SCALE), math.log10(MOST_SCALE), SCALES, dtype=torch.float64).to(device)
    count, total = min(FITTED, len(images)), torch.zeros(images.shape[0], SCALES, dtype=torch.float64)
    for start in range(0, count, chunk):
        places = range(start, min(start + chunk, count))
        pixels = torch.tensor(images.pixels(slice(start, places.stop))).permute(0, 3, 1, 2).to(device)
        noise = ImageNoise([mix(seed, "decoder", i) for i in places], codec.shape(images.shape), device)
        with torch.inference_mode():
            y = cropped(codec.images(codec.encode(pixels, noise)), images.shape[1:])
            found = [laplace_log_prob(pixels, y, scale).sum(dim=(0, 2, 3)) for scale in scales]
        total += torch.stack(found, dim=1).cpu()
        yield places.stop, count
    return LaplaceDecoder(scales=tuple(_best(scales.cpu(), each) for each in total), num_images=count)


def _best(scales: Float64[Tensor, "S"], log_likelihood: Float64[Tensor, "S"]) -> float:
    """The scale at the top of a parabola, in the log of the scale, through the best of them and its neighbours."""
    best = int(log_likelihood.argmax())
    if not 0 < best < len(scales) - 1:
        return float(scales[best])
    below, top, above = log_likelihood[best - 1 : best + 2].tolist()
    return float(scales[best] * (scales[1] / scales[0]) ** (0.5 * (below - above) / (below - 2 * top + above)))
