"""The loss of a batch at given levels of noise, in the precision the machine is fast in."""

import torch

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.diffusion.level import Level, Noised
from ancestral.diffusion.losses import Loss, Weighting, continuous, hybrid, min_snr, squared_error, uniform, vlb
from ancestral.diffusion.timesteps import SampledTimesteps
from ancestral.pipeline import Pipeline
from ancestral.settings import TrainingSettings
from ancestral.tensors import Data, PerImage
from ancestral.training.task import Network

LOSSES: dict[str, Loss] = {"simple": squared_error, "vlb": vlb, "hybrid": hybrid, "continuous": continuous}


def weighting_of(settings: TrainingSettings) -> Weighting:
    """What the losses of noise levels are weighed by."""
    return min_snr(settings.min_snr_gamma or 5.0) if settings.weighting == "min-snr" else uniform


def level_of(pipeline: Pipeline, times: SampledTimesteps) -> Level:
    """The noise levels that the pipeline's settings train at: those of the table, or continuous time."""
    schedule = pipeline.diffusion.schedule
    if pipeline.config.training.loss != "continuous":
        return schedule.level(times.t)
    return schedule.level_between((times.t - 1 + times.within) / schedule.num_timesteps)


def training_losses(
    pipeline: Pipeline, network: Network, noised: Noised, condition: Condition, loss: Loss | None = None
) -> PerImage:
    """The unweighted loss of each image: (B,), at least float32. `loss`: None: the one that the settings name."""
    chosen = loss or LOSSES[pipeline.config.training.loss]
    return chosen(pipeline.diffusion, output_at(pipeline, network, noised, condition), noised)


def output_at(pipeline: Pipeline, network: Network, noised: Noised, condition: Condition) -> Data:
    """What the network answers at x_t, float32: (B, ...)."""
    with pipeline.compute.autocast(pipeline.device):
        told = pipeline.argument(condition, noised.x_t)
        output = pipeline.diffusion.ask(network, noised.x_t, noised.level, told)
    return output.float()


def losses_of_black(pipeline: Pipeline, network: Network, count: int) -> PerImage:
    """(count,) the losses of black images, which are levels as the bound wants, at the middle of the chain: for what a
    loss leaves behind, whatever its images.
    """
    x0 = torch.full((count, *pipeline.latent_shape), -1.0, device=pipeline.device)
    x0 = x0.contiguous(memory_format=torch.channels_last)
    t = torch.full((count,), (pipeline.diffusion.num_timesteps + 1) // 2, device=pipeline.device)
    zeros = torch.zeros(count, dtype=torch.float64, device=pipeline.device)
    condition = Condition(labels=torch.zeros_like(t)) if pipeline.num_classes else NOTHING_TOLD
    level = level_of(pipeline, SampledTimesteps(t, weight=zeros + 1, within=zeros))
    return training_losses(pipeline, network, Noised.at(level, x0, torch.zeros_like(x0)), condition)
