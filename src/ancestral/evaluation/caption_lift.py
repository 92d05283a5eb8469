"""Caption lift: how many bits of an image its own caption is worth, against another image's, to the network.

By (5) of `diffusion.losses` an image x told the caption c takes

    - log2 p(x | c) = const + 1 / (2 log 2) integral E || eps - eps_hat(x_l, l, c) ||^2 dl,   l = log-SNR     (1)

bits, where the constant knows no caption. So with the same noise at the same levels the difference

    lift = 1 / (2 log 2) integral E [ || eps - eps_hat(x_l, l, c') ||^2 - || eps - eps_hat(x_l, l, c) ||^2 ] dl   (2)

estimates log2 p(x | c) / p(x | c'), in bits an image: all levels of log-SNR weigh alike, from t = 1 to t = T of the
schedule. It is 0 for a network that does not listen, and needs no other network to judge by. (2) is evaluated at so
many levels for each image, one drawn in each of as many equal parts of the range, and at the timestep nearest to it;
its error is that of a mean over images.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ancestral.diffusion.level import Noised
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.progress import StepwiseWork
from ancestral.rng import ImageNoise, generator, mix
from ancestral.settings import Settings
from ancestral.tensors import Data, PerImage

SquaredErrors = Callable[[Noised, Sequence[str]], PerImage]
"""(what x_t is made of, a caption for each) -> || eps - eps_hat ||^2 of each image, summed over its numbers, (B,)."""


class Lift(Settings):
    """(2), bits an image."""

    bits: float
    standard_error: float
    num_images: int
    levels: int  # of log-SNR for each image
    log_snr: tuple[float, float]  # where the integral begins and ends


def caption_lift(
    schedule: Schedule,
    x0: Data,
    captions: Sequence[str],
    squared_errors: SquaredErrors,
    levels: int = 16,
    seed: int = 0,
    chunk: int = 64,
    up_to: float = math.inf,
) -> StepwiseWork[Lift]:
    """(2) of images x0 (N, ...) with their captions, `chunk` at a time; each is also told the caption of another image
    that reads otherwise, drawn by the seed. `up_to`: the log-SNR at which the integral ends, if before t = 1."""
    others, lifts = other_captions(captions, seed), []
    noisy, clean = schedule.finite_ends()
    clean = clean.clamp(max=up_to)
    for start in range(0, len(x0), chunk):
        part = x0[start : start + chunk]
        of_images = [mix(seed, "lift", i) for i in range(start, start + len(part))]
        noise = ImageNoise(of_images, part.shape[1:], part.device, part.dtype, "lift")
        within = torch.stack([torch.rand(levels, generator=generator(each, "levels")).double() for each in of_images])
        lift = torch.zeros(len(part), dtype=torch.float64)
        for level in range(levels):
            share = (level + within[:, level]) / levels
            t = schedule.nearest(torch.lerp(clean, noisy, share)).to(part.device)
            noised = Noised.at(schedule.level(t), part, noise())
            told, asked = (each[start : start + chunk] for each in (others, captions))
            with torch.no_grad():
                lift += (squared_errors(noised, told) - squared_errors(noised, asked)).double().cpu()
            yield start * levels + (level + 1) * len(part), len(x0) * levels
        lifts.append(lift * float(clean - noisy) / (2 * math.log(2) * levels))
    bits = torch.cat(lifts)
    return Lift(
        bits=float(bits.mean()),
        standard_error=float(bits.std()) / math.sqrt(len(bits)),
        num_images=len(bits),
        levels=levels,
        log_snr=(float(noisy), float(clean)),
    )


def eps_errors(diffusion: GaussianDiffusion, output: Data, noised: Noised) -> PerImage:
    """|| eps - eps_hat ||^2 of each image, summed over its numbers, as a loss."""
    mean = diffusion.split_output(output, noised.x_t)[0].to(noised.x_t.dtype)
    eps_hat = diffusion.parameterization.decode(mean, noised.x_t, *noised.level.over(noised.x_t))[1]
    return (noised.eps - eps_hat).square().flatten(1).sum(1)


def other_captions(captions: Sequence[str], seed: int) -> list[str]:
    """For each, one that reads otherwise, as often as images have it; at least two have to be different."""
    random, texts = np.random.default_rng(mix(seed, "lift", "others")), [*captions]
    found = []
    for caption in texts:
        while (other := texts[int(random.integers(len(texts)))]) == caption:
            pass
        found.append(other)
    return found
