"""Running sums of the losses between two lines of the log."""

from typing import Any

import torch
from torch import Tensor

from ancestral.tensors import PerImage


class Window:
    """Sums since the last line of the log: of losses, by quarter of t, of gradient norms. Part of a checkpoint."""

    def __init__(self, sums: list[float] | None = None) -> None:
        self.sums = torch.zeros(10, dtype=torch.float64) if sums is None else torch.tensor(sums, dtype=torch.float64)

    def add(self, losses: PerImage, t: Tensor, num_timesteps: int, norm: float) -> None:
        """One step's losses (B,) at timesteps t (B,)."""
        quarter = (t - 1) * 4 // num_timesteps
        self.sums[0:4].index_add_(0, quarter, losses.double().cpu())
        self.sums[4:8].index_add_(0, quarter, torch.ones(len(t), dtype=torch.float64))
        self.sums[8] += norm
        self.sums[9] += 1

    def means(self) -> dict[str, Any]:
        """Means over the window; None for a quarter that no image fell in, and where every step was skipped."""
        by_quarter, counts = self.sums[0:4], self.sums[4:8]
        steps = float(self.sums[9])
        return {
            "loss": float(by_quarter.sum() / counts.sum()) if steps else None,
            "loss_by_quarter": [float(a / n) if n else None for a, n in zip(by_quarter, counts, strict=True)],
            "grad_norm": float(self.sums[8]) / steps if steps else None,
        }
