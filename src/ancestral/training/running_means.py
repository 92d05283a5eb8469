"""Running sums of the losses between two lines of the log, kept where the losses are computed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ancestral.tensors import PerImage


class RunningMeans:
    """Sums since the last line of the log: of losses, by quarter of t, of gradient norms. Part of a checkpoint."""

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

        Everything is on this device. By sums over a mask: `index_add_` adds in any order on a GPU, and the log would
        differ from run to run.
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
