"""The loss of a batch at given levels of noise, in the precision the machine is fast in; and of held-out images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.level import Level, Noised
from ancestral.diffusion.losses import Loss, continuous, hybrid, squared_error, vlb
from ancestral.diffusion.timesteps import SampledTimesteps
from ancestral.pipeline import Pipeline
from ancestral.rng import generator
from ancestral.tensors import PerImage

Network = Callable[..., Tensor]
HELD_OUT_IMAGES = 512
LOSSES: dict[str, Loss] = {"simple": squared_error, "vlb": vlb, "hybrid": hybrid, "continuous": continuous}


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
    time = pipeline.diffusion.network_time(noised.level, noised.x_t)
    with pipeline.compute.autocast(pipeline.device):
        output = network(noised.x_t, time, pipeline.argument(condition, noised.x_t))
    return chosen(pipeline.diffusion, output.float(), noised)


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


class RunningMeans:
    """Sums since the last line of the log, on the device of the losses: of losses by quarter of t, and of gradient
    norms. Part of a checkpoint."""

    def __init__(self, device: torch.device | str = "cpu", sums: Sequence[float] = (0.0,) * 10) -> None:
        self.sums = torch.tensor(sums, dtype=torch.float64).to(device)
        self.quarters = torch.arange(4).to(device)[:, None]

    def add(
        self,
        losses: PerImage,
        weight: PerImage,
        t: Tensor,
        num_timesteps: int,
        norm: Tensor | float,
        taken: Tensor | None = None,
    ) -> None:
        """One step's losses (B,), each counted `weight` times, at timesteps t (B,), unless `taken` is false.

        By sums over a mask: `index_add_` adds in any order on a GPU, and the log would differ from run to run.
        """
        inside = (t - 1) * 4 // num_timesteps == self.quarters
        new = torch.zeros_like(self.sums)
        new[0:4] = torch.where(inside, losses.double() * weight, 0).sum(dim=1)
        new[4:8] = torch.where(inside, weight, 0).sum(dim=1)
        new[8] = norm
        new[9] = 1
        self.sums += new if taken is None else new.masked_fill(~taken, 0)

    def means(self) -> dict[str, Any]:
        """Means over the window; None for a quarter that no image fell in, and where every step was skipped."""
        *sums, norms, steps = self.sums.tolist()
        by_quarter, counts = sums[0:4], sums[4:8]
        return {
            "loss": sum(by_quarter) / sum(counts) if steps else None,
            "loss_by_quarter": [a / n if n else None for a, n in zip(by_quarter, counts, strict=True)],
            "grad_norm": norms / steps if steps else None,
        }


@dataclass
class ValidationLoss:
    """The loss of the averaged weights on images they were not trained on, at timesteps and noise that never change."""

    pipeline: Pipeline
    images: ImageSet

    @torch.inference_mode()
    def record(self, network: nn.Module) -> dict[str, Any]:
        """`held_out_loss` and its quarters of t."""
        count, device = min(HELD_OUT_IMAGES, len(self.images)), self.pipeline.device
        steps, draws = self.pipeline.diffusion.num_timesteps, generator(self.pipeline.config.seed, "held-out")
        t = (1 + torch.randperm(count, generator=draws) * steps // count).to(device)
        eps = torch.randn(count, *self.pipeline.latent_shape, generator=draws).to(device)
        alike = torch.ones(count, dtype=torch.float64, device=device)
        means, level = RunningMeans(device), level_of(self.pipeline, SampledTimesteps(t, alike, within=0.5 * alike))
        size = self.pipeline.compute.micro_batch or self.pipeline.config.training.batch_size
        for part in (slice(start, start + size) for start in range(0, count, size)):
            x0 = self.pipeline.codec.encode(torch.tensor(self.images.pixels(part), device=device).permute(0, 3, 1, 2))
            condition, noised = self.images.condition(part).to(device), Noised.at(level.rows(part), x0, eps[part])
            losses = training_losses(self.pipeline, network, noised, condition)
            means.add(losses, alike[part], t[part], steps, 0.0)
        found = means.means()
        return {"held_out_loss": found["loss"], "held_out_by_quarter": found["loss_by_quarter"]}
