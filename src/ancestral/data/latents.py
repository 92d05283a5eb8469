"""Latents of the images to train on, computed once: what a batch has in place of pixels.

Kept are mean and deviation of each latent and not a draw, so that each step draws anew; and those of the image and of
its mirror image, since the latents of a mirrored image are not mirrored latents.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from ancestral.data.imageset import check_mapping
from ancestral.tensors import Data, sent

LatentMaps = Float32[Tensor, "B z h w"]


class LatentMoments(NamedTuple):
    """Mean and deviation of the latents of some images; None: they are not drawn."""

    mean: LatentMaps
    std: LatentMaps | None

    def rows(self, part: slice) -> "LatentMoments":
        return LatentMoments(self.mean[part], None if self.std is None else self.std[part])

    def draw(self, noise: Callable[[], Data] | None) -> LatentMaps:
        """mean + std noise; the mean without noise."""
        return self.mean if self.std is None or noise is None else self.mean + self.std * noise()


@dataclass(frozen=True)
class LatentRows:
    """(N, V, M, h, w, z) float16, mapped: V 2 with mirror images and else 1, M 2 with deviations and else 1; where an
    image was missing, not numbers. In half precision a latent of deviation 1 is 0.0005 off at most where it is below 1,
    a hundredth of a usual deviation."""

    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def missing(self, where: np.ndarray) -> np.ndarray:
        """Which of these images were, (n,) bool."""
        return np.isnan(self.rows[where, 0, 0, 0, 0, 0])

    def moments(
        self, where: Int64[Tensor, "b"], mirrored: Bool[Tensor, "b"] | None, device: torch.device
    ) -> LatentMoments:
        """Those of the images at these positions, or of their mirror images, on a device."""
        check_mapping(self.rows)
        view = 0 if mirrored is None else mirrored.long().numpy()
        stored = torch.from_numpy(self.rows[where.numpy(), view])  # (b, M, h, w, z)
        found = sent(stored, device).float().permute(1, 0, 4, 2, 3)
        return LatentMoments(found[0], found[1] if len(found) > 1 else None)
