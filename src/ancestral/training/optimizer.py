"""The optimiser and its learning rate."""

import math

import torch
from torch import nn

from ancestral.config import TrainingSettings


def optimizer_for(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam or AdamW, in its fused form."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), settings.lr, settings.betas, fused=True)
    decay = 0.01 if settings.weight_decay is None else settings.weight_decay
    return torch.optim.AdamW(network.parameters(), settings.lr, settings.betas, weight_decay=decay, fused=True)


def learning_rate(settings: TrainingSettings, images: int, fraction: float) -> float:
    """The rate of the step that starts after `images`, at `fraction` of the budget."""
    warm = min(1.0, (images + settings.batch_size) / max(settings.warmup_images, 1))
    fall = {"constant": 1.0, "linear": 1 - fraction, "cosine": 0.5 * (1 + math.cos(math.pi * fraction))}
    return settings.lr * warm * fall[settings.lr_schedule]
