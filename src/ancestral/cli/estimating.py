"""The work of `ancestral variance`: the network's errors on held-out images, and the variance they call for."""

from pathlib import Path

import torch
from torch import Tensor

from ancestral.cli.machine import device
from ancestral.cli.measuring import data_of
from ancestral.cli.output import counting, tell
from ancestral.config import SamplingSettings
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.analytic import errors_of_x0, from_errors
from ancestral.diffusion.variances import Analytic
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import as_pixels
from ancestral.pipeline import VARIANCE_FILE, Pipeline
from ancestral.rng import ImageNoise, mix
from ancestral.tensors import Timesteps, from_pixels
from ancestral.training.run import RunFolder


def estimate_variance(run: Path, images: int, timesteps: int, seed: int, on: str | None) -> int:
    """Measures, stores and says it; the exit code."""
    folder = RunFolder(run)
    config, pipeline = folder.read_config(), Pipeline.load(run, device(on))
    if config.diffusion.variance == "learned":
        raise InputError(f"expected a run with a fixed variance, got {run}, whose network has learned its own")
    parts = data_of(run, config, pipeline)
    held_out = (parts.validation if len(parts.validation) else parts.train).stretch(0, images)
    grid = pipeline.diffusion.schedule.uniform_log_snr(min(timesteps, pipeline.diffusion.num_timesteps))[:-1]
    pipeline.analytic = measured(pipeline, held_out, grid, seed)
    pipeline.save_variance(folder.pipeline)
    tell(sentence(pipeline.analytic, len(held_out), len(grid)))
    tell(str(folder.pipeline / VARIANCE_FILE))
    return 0


def measured(pipeline: Pipeline, images: ImageSet, grid: Timesteps, seed: int) -> Analytic:
    """The analytic variance from all `images` at the timesteps of `grid`, as many at once as the machine draws."""
    starts = range(0, len(images), pipeline.compute.chunk)
    total = torch.zeros(len(grid), dtype=torch.float64)
    denoise = pipeline.denoiser(None, SamplingSettings(clip="none"))
    with counting() as counted:
        for number, start in enumerate(starts):
            part = images.stretch(start, start + pipeline.compute.chunk)
            noise = ImageNoise(
                [mix(seed, "variance", start + i) for i in range(len(part))], part.shape, pipeline.device
            )
            total += errors_of_x0(pipeline.diffusion, denoise, _x0(part, pipeline), grid, noise) * len(part)
            counted("measuring", number + 1, len(starts))
    return from_errors(pipeline.diffusion.schedule, grid, total / len(images))


def sentence(analytic: Analytic, images: int, timesteps: int) -> str:
    """What was measured, at the ends of the chain."""
    T = len(analytic.ratio)
    return (
        f"measured on {images:,} held-out images at {timesteps} timesteps: of the way from beta_tilde to beta the best "
        f"variance goes {analytic.ratio[0]:.3f} at t = 1, {analytic.ratio[T // 2]:.3f} at t = {T // 2 + 1} and "
        f"{analytic.ratio[-1]:.3f} at t = {T}"
    )


def _x0(images: ImageSet, pipeline: Pipeline) -> Tensor:
    x0 = from_pixels(as_pixels(images)).to(pipeline.device)
    return x0.contiguous(memory_format=pipeline.compute.memory_format)
