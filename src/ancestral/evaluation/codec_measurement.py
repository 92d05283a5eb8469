"""What the codec of a run is worth on images that it was not trained on, and the file in the run that keeps it."""

from math import log
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from ancestral.data.imageset import ImageSet
from ancestral.evaluation.codec_quality import code_counts, codebook_use, decoded, quality
from ancestral.files import read_json
from ancestral.gaussian import DiagonalGaussian
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.networks.latents import KLCodec, LatentCodec, VQCodec
from ancestral.networks.tiled import at_once
from ancestral.networks.weights import weights_hash
from ancestral.settings import Settings, parse
from ancestral.tensors import Images, PerImage
from ancestral.training.codec_losses import kl_nats

FILE = "quality.json"  # in the folder of the run
MEASURED = 1000  # held-out images, at most


class CodecMeasurement(Settings):
    """Means over held-out images, with their standard errors; None of a single image.

    `latent_means` and `latent_stds` are of each channel of what diffusion would be trained on: near 0 and 1 where the
    statistics, measured on other images, are right.
    """

    num_held_out: Annotated[int, Field(ge=1)]
    step: int | None = None  # of training, after which it was measured; None: neither log nor checkpoint says
    weights: str  # of the codec: their hash
    psnr: float  # dB
    psnr_error: float | None = None
    ssim: float
    ssim_error: float | None = None
    latents: tuple[int, int, int]  # (z, h, w)
    latent_means: tuple[float, ...]
    latent_stds: tuple[float, ...]
    kl_bits_per_image: float | None = None  # that a normal distribution pays for latents; None: they are not drawn
    codes_used: float | None = None  # share of the codebook; None: there is none
    bits_per_code: float | None = None


def read_measurement(file: Path) -> CodecMeasurement:
    """What `ancestral train-codec` wrote; an InputError where it cannot be read."""
    return parse(CodecMeasurement, read_json(file), str(file))


@torch.no_grad()
def measured(folder: Path, step: int | None, images: ImageSet, device: torch.device) -> CodecMeasurement:
    """What the codec in a folder, that of this step, is worth on at most `MEASURED` of the images, of which there must
    be some: evenly from all of them, since sets may come sorted."""
    codec = read_autoencoder(folder)
    weights = weights_hash(codec.network)
    codec.network.to(device)
    some = np.linspace(0, len(images), min(len(images), MEASURED), endpoint=False).astype(np.int64)
    pixels = torch.tensor(images.pixels(some)).permute(0, 3, 1, 2)
    channels, height, width = images.shape
    moments = [codec.moments(part.to(device)) for part in torch.split(pixels, at_once(height, width))]
    mean, std = (torch.cat(each) for each in zip(*moments, strict=True))
    found = quality(pixels, decoded(codec, mean, (height, width)).cpu())
    means, stds = _of_channels(mean.double(), std.double())
    return CodecMeasurement(
        num_held_out=len(pixels),
        step=step,
        weights=weights,
        psnr=found.psnr.value,
        psnr_error=found.psnr.standard_error,
        ssim=found.ssim.value,
        ssim_error=found.ssim.standard_error,
        latents=codec.shape((channels, height, width)),
        latent_means=tuple(means),
        latent_stds=tuple(stds),
        **_of_its_kind(codec, mean, std),
    )


def _of_channels(mean: Images, std: Images) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel of x0, over what is drawn."""
    m = mean.mean(dim=(0, 2, 3), keepdim=True)
    deviations = ((mean - m).square() + std.square()).mean(dim=(0, 2, 3)).sqrt()
    return m.flatten().tolist(), deviations.tolist()


def _of_its_kind(codec: LatentCodec, mean: Images, std: Images) -> dict[str, Any]:
    """The bits that a variational one sends, or how many codes are in use."""
    if isinstance(codec, VQCodec):
        use = codebook_use(code_counts(codec.indices(mean), codec.codes))
        return {"codes_used": use.used, "bits_per_code": use.entropy}
    return {"kl_bits_per_image": float(_bits(mean, std).mean())} if isinstance(codec, KLCodec) else {}


def _bits(mean: Images, std: Images) -> PerImage:
    """What images cost beside the normal distribution that has the mean and deviation of each channel of latents."""
    return kl_nats(DiagonalGaussian(mean.double(), 2 * std.double().log())) / log(2)
