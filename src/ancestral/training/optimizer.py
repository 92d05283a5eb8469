"""The optimisers of a network."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ancestral.settings import TrainingSettings
from ancestral.training.muon import Muon, Rows

ENDS = ("conv_in.", "conv_out.", "time_embedding.", "class_embedding.")
"""What meets pixels, times and labels: not between two layers of features, so Muon leaves it to Adam."""


def optimizers_for(
    weights: Mapping[str, nn.Parameter], settings: TrainingSettings, rows: Rows | None = None
) -> list[torch.optim.Optimizer]:
    """Adam or AdamW in its fused form for all parameters; or Muon for the inner weights and Adam for the rest.

    Args:
        weights: by name; all of each, or some rows.
        rows: given rows, how Muon, which works on whole matrices, comes by the others.
    """
    if settings.optimizer == "muon":
        inner = {name: weight for name, weight in weights.items() if weight.ndim > 1 and not name.startswith(ENDS)}
        rest = [weight for name, weight in weights.items() if name not in inner]
        adam = torch.optim.Adam(rest, settings.lr, settings.betas, fused=True)
        return [Muon(inner.values(), settings.lr, rows=rows), adam]
    if settings.optimizer == "adam":
        return [torch.optim.Adam(weights.values(), settings.lr, settings.betas, fused=True)]
    decay = 0.01 if settings.weight_decay is None else settings.weight_decay
    return [torch.optim.AdamW(weights.values(), settings.lr, settings.betas, weight_decay=decay, fused=True)]


def moments_like(owner: torch.optim.Optimizer, weight: Tensor) -> dict[str, Tensor]:
    """What the optimiser of a weight keeps of it, on its device: tensors of these shapes and types."""
    if isinstance(owner, Muon):
        return {"momentum": weight}
    return {"step": torch.empty((), device=weight.device), "exp_avg": weight, "exp_avg_sq": weight}
