"""A variational autoencoder on one page, whose every density is known, and diffusion models of its latents."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.latents import KLCodec
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import build_schedule
from ancestral.settings import Config, DiffusionSettings, ImageSpec, KLSettings, LogSnrSchedule, merged

SPREAD = 0.3
"""Deviation of its latents given an image."""


class Averaging(Autoencoder):
    """A latent is 2 plus three times the mean of 2 x 2 pixels, and is decoded to four pixels alike."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__(KLSettings(widths=(2, 2), channels=channels, norm_groups=2), channels)

    def encoded(self, x: Tensor) -> Tensor:
        mean = 2 + 3 * F.avg_pool2d(x, 2)
        return torch.cat([mean, torch.full_like(mean, SPREAD).log() * 2], dim=1)

    def decoded(self, z: Tensor) -> Tensor:
        return F.interpolate((z - 2) / 3, scale_factor=2.0)


def averaging(channels: int = 1, mean: float = 1.4, std: float = 1.1) -> KLCodec:
    """Its codec, by such statistics of its latents."""
    return KLCodec(Averaging(channels), *(torch.full((channels,), each, dtype=torch.float64) for each in (mean, std)))


class StandardNormal(nn.Module):
    """The exact prediction of eps for x0 from N(0, I): sigma_t x_t. `weight` times as much, which is 1."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.sigma = nn.Buffer((1 - build_schedule(config.diffusion.schedule).alpha_bar).sqrt().float())

    def forward(self, x: Tensor, time: Tensor, labels: Tensor) -> Tensor:
        return self.weight * self.sigma[time.long() + 1][:, None, None, None] * x


LATENT = Config(
    diffusion=DiffusionSettings(schedule=LogSnrSchedule(num_timesteps=40, log_snr_max=9.0, log_snr_min=-14.0)),
    sampling={"steps": 4, "clip": "none"},
    compute={"precision": "float32", "chunk": 8},
)


def of_latents(
    shape: tuple[int, int, int], codec: KLCodec | None = None, changes: dict[str, Any] | None = None
) -> Pipeline:
    """The diffusion model N(0, I) of the latents of images (C, H, W)."""
    config = merged(LATENT, changes or {}, "test")
    spec = ImageSpec(channels=shape[0], height=shape[1], width=shape[2])
    return Pipeline.fresh(config, spec, "cpu", StandardNormal(config), codec or averaging(shape[0]))
