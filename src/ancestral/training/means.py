"""Losses as the log has them: means since its last line, by quarter of t; and the loss of held-out images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Batch
from ancestral.diffusion.timesteps import SampledTimesteps
from ancestral.rng import generator
from ancestral.tensors import PerImage, Timesteps
from ancestral.training.randomness import Randomness
from ancestral.training.task import Task

HELD_OUT_IMAGES = 512


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

    task: Task
    images: ImageSet

    @torch.inference_mode()
    def record(self, network: nn.Module) -> dict[str, Any]:
        """`held_out_loss` of the first network, averaged or not, and its quarters of t."""
        means = RunningMeans(self.task.device)
        for losses, t in self._of_parts(network):
            means.add(losses, torch.ones_like(t, dtype=torch.float64), t, self.task.num_timesteps, 0.0)
        found = means.means()
        return {"held_out_loss": found["loss"], "held_out_by_quarter": found["loss_by_quarter"]}

    @torch.inference_mode()
    def losses(self, network: nn.Module) -> PerImage:
        """(B,) float64, the loss of each image, of which `held_out_loss` is the mean."""
        return torch.cat([losses.double() for losses, _ in self._of_parts(network)])

    def _of_parts(self, network: nn.Module) -> Iterator[tuple[PerImage, Timesteps]]:
        """The losses of some images after others, and their timesteps."""
        task, count = self.task, min(HELD_OUT_IMAGES, len(self.images))
        steps, draws = task.num_timesteps, generator(task.seed, "held-out")
        t = (1 + torch.randperm(count, generator=draws) * steps // count).to(task.device)
        eps = torch.randn(count, *task.spec.shape, generator=draws).to(task.device)
        alike = torch.ones(count, dtype=torch.float64, device=task.device)
        random = Randomness(SampledTimesteps(t, alike, within=0.5 * alike), eps, torch.zeros_like(t, dtype=torch.bool))
        size = task.compute.micro_batch or task.config.training.batch_size
        for part in (slice(start, start + size) for start in range(0, count, size)):
            pixels = torch.tensor(self.images.pixels(part), device=task.device).permute(0, 3, 1, 2)
            condition = self.images.condition(task.spec, part, task.tokenizer).to(task.device)
            batch = Batch(pixels, condition, torch.arange(count)[part])
            losses, _ = task.modules[0].losses(network, batch, random.rows(part))
            yield losses, t[part]
