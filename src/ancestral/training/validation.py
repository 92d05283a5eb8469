"""The held-out loss: how well the averaged weights denoise images they were not trained on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ancestral.data.imageset import ImageSet
from ancestral.pipeline import Pipeline
from ancestral.rng import generator
from ancestral.tensors import from_pixels
from ancestral.training.loss import training_losses
from ancestral.training.running_means import RunningMeans

HELD_OUT_IMAGES = 512


@dataclass
class ValidationLoss:
    """The loss of the averaged weights on held-out images, at timesteps and noise that never change."""

    pipeline: Pipeline
    images: ImageSet

    @torch.inference_mode()
    def record(self, network: nn.Module) -> dict[str, Any]:
        """`held_out_loss` and its quarters of t."""
        count, device = min(HELD_OUT_IMAGES, len(self.images)), self.pipeline.device
        steps, draws = self.pipeline.diffusion.num_timesteps, generator(self.pipeline.config.seed, "held-out")
        t = (1 + torch.randperm(count, generator=draws) * steps // count).to(device)
        eps = torch.randn(count, *self.pipeline.spec.shape, generator=draws).to(device)
        means, alike = RunningMeans(device), torch.ones(count, dtype=torch.float64, device=device)
        size = self.pipeline.compute.micro_batch or self.pipeline.config.training.batch_size
        for part in (slice(start, start + size) for start in range(0, count, size)):
            x0 = from_pixels(torch.tensor(self.images.pixels(part), device=device)).permute(0, 3, 1, 2)
            labels = None
            if self.pipeline.num_classes and self.images.labels is not None:
                labels = torch.tensor(self.images.labels[part], device=device)
            losses = training_losses(self.pipeline, network, x0, t[part], 0.5 * alike[part], eps[part], labels)
            means.add(losses, alike[part], t[part], steps, 0.0)
        found = means.means()
        return {"held_out_loss": found["loss"], "held_out_by_quarter": found["loss_by_quarter"]}
