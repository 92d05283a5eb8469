"""What two distributions of latents look like: N(0, I), which is the autoencoder's own, and the diffusion model's.

N(0, I) is that of x0, the standardised latents, as in (5) of latent_likelihood.py. A diffusion model's chain begins
with such a draw too: here it is decoded as it is, and there after the chain has made it likely.
"""

from collections.abc import Sequence

import torch

from ancestral.codec import Codec
from ancestral.errors import InputError
from ancestral.networks.latents import KLCodec, cropped
from ancestral.networks.tiled import at_once
from ancestral.pipeline import Pipeline
from ancestral.pipeline.calling import Classes
from ancestral.rng import ImageNoise
from ancestral.settings import SamplingSettings
from ancestral.tensors import Pixels
from ancestral.viz.boxes import Box
from ancestral.viz.pictures import grid


def prior_samples(
    codec: Codec, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device | str = "cpu"
) -> Pixels:
    """The autoencoder's own samples, images of a shape (C, H, W), on the CPU: one for each seed, decoded from the draw
    that a diffusion model of its latents begins with."""
    if not isinstance(codec, KLCodec):
        raise InputError(f"expected a kl autoencoder to sample from, got {type(codec).__name__}, which has no prior")
    parts = torch.split(torch.tensor([*seeds]), at_once(*shape[1:]))
    noise = (ImageNoise(part.tolist(), codec.shape(shape), device) for part in parts)
    return torch.cat([cropped(codec.decode(draw()), shape[1:]).cpu() for draw in noise])


def prior_picture(
    pipeline: Pipeline,
    real: Pixels,
    seed: int = 0,
    labels: Classes = None,
    settings: SamplingSettings | None = None,
) -> Box:
    """Three rows of as many images as there are `real` ones (B, C, H, W): the autoencoder's own samples, those of the
    diffusion model from the same draws, `labels` and `settings` as in `Pipeline.generate`, and the real images."""
    seeds, shape = range(seed, seed + len(real)), pipeline.spec.shape
    alone = prior_samples(pipeline.codec, seeds, shape, pipeline.device)
    generated = cropped(pipeline.generate(seeds, labels, settings), shape[1:])
    names = ["z from N(0, I)", "z from diffusion", "real images"]
    return grid(torch.cat([alone, generated, real.cpu()]), columns=len(real), labels=names)
