"""The optimisers of a network: torch's own; and Muon, whose own torch.optim.Muon refuses kernels and has no found_inf.

Muon is momentum whose singular values are all made equal (Jordan et al. 2024; Liu et al. 2025 for the step's size). A
weight of m outputs and n inputs, kernels flattened, is an m x n matrix; so is its momentum M = U S V'. The step goes
along U V', which the iteration

    X <- a X + (b X X' + c (X X')^2) X,    X_0 = M / |M|_F,    (a, b, c) = (3.4445, -4.775, 2.0315)

approaches in five rounds without a decomposition: it takes every singular value from (0, 1] into about 0.7..1.2. Scaled
by 0.2 sqrt(max(m, n)) the step's entries are as large as Adam's, so that one learning rate serves both.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from inspect import unwrap
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.networks.backbone import Backbone
from ancestral.networks.interface import inner_weights
from ancestral.settings import TrainingSettings

A, B, C = 3.4445, -4.775, 2.0315
ROUNDS = 5

Matrices = Float[Tensor, "count m n"]


def orthogonalised(matrices: Matrices) -> Matrices:
    """Each matrix with its singular values near 1, its singular vectors kept."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    x = _of_long_rows(x) if x.shape[2] >= 2 * x.shape[1] else _of_short_rows(x)
    return x.mT if tall else x


def _of_short_rows(x: Matrices) -> Matrices:
    for _ in range(ROUNDS):
        x = _factor(x @ x.mT) @ x
    return x


def _of_long_rows(x: Matrices) -> Matrices:
    """The same in a third of the time for kernels of 3x3: a round multiplies X by a polynomial of the square X X', and
    the next round's square follows from it, so that the long rows are met at the beginning and the end only."""
    square = x @ x.mT
    product = factor = _factor(square)
    for _ in range(ROUNDS - 1):
        square = factor @ (square @ factor)
        factor = _factor(square)
        product = factor @ product
    return product @ x


def _factor(square: Float[Tensor, "count m m"]) -> Float[Tensor, "count m m"]:
    """a + b X X' + c (X X')^2, of X X'."""
    factor = B * square + C * square @ square
    factor.diagonal(dim1=1, dim2=2).add_(A)
    return factor


class Rows(NamedTuple):
    """How a process that holds some rows of each weight works on all of them: `gather` gives all rows of what this
    process has the rows of a weight of, together; `local` its rows of the whole."""

    gather: Callable[[nn.Parameter, Tensor], Tensor]
    local: Callable[[Tensor], Tensor]


def optimizers_for(
    weights: Mapping[str, nn.Parameter], network: nn.Module, settings: TrainingSettings, rows: Rows | None = None
) -> list[torch.optim.Optimizer]:
    """Adam or AdamW in its fused form for all weights of a network; or Muon for the inner ones and Adam for the rest,
    which meets pixels, times and labels. `rows`: where the weights are some rows, how Muon, which works on whole
    matrices, comes by the others."""
    if settings.optimizer == "muon":
        named = network.matrices() if isinstance(network, Backbone) else inner_weights(network)
        inner = {name: weights[name] for name in named}
        rest = [weight for name, weight in weights.items() if name not in inner]
        adam = Adam(rest, settings.lr, settings.betas, fused=True)
        return [Muon(inner.values(), settings.lr, rows=rows), adam]
    if settings.optimizer == "adam":
        return [Adam(weights.values(), settings.lr, settings.betas, fused=True)]
    decay = 0.01 if settings.weight_decay is None else settings.weight_decay
    return [AdamW(weights.values(), settings.lr, settings.betas, weight_decay=decay, fused=True)]


def moments_like(owner: torch.optim.Optimizer, weight: Tensor) -> dict[str, Tensor]:
    """What the optimiser of a weight keeps of it, on its device: tensors of these shapes and types."""
    if isinstance(owner, Muon):
        return {"momentum": weight}
    return {"step": torch.empty((), device=weight.device), "exp_avg": weight, "exp_avg_sq": weight}


class Adam(torch.optim.Adam):
    """Torch's, without what torch wraps around it for its compiler, whose loading alone takes a second."""

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


class AdamW(Adam, torch.optim.AdamW):
    """The same of torch's."""


class Muon(torch.optim.Optimizer):
    """Steps along the orthogonalised Nesterov momentum of weights of two or more dimensions. Where these are `rows` of
    the network's, every process finds all directions. `found_inf`: () float on their device; where it is 1 a step
    changes nothing, as in torch's fused Adam.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)

    def __init__(
        self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, rows: Rows | None = None
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})
        self.rows = rows
        self.found_inf = torch.zeros((), device=self.param_groups[0]["params"][0].device)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step; `closure` is never called."""
        skip = self.found_inf.bool()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients = [weight.grad.masked_fill(skip, 0) for weight in weights]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight]["momentum"] = torch.zeros_like(weight)
            momenta = [self.state[weight]["momentum"] for weight in weights]
            torch._foreach_lerp_(momenta, gradients, [(1 - group["momentum"]) * (1 - self.found_inf)] * len(momenta))
            aims = torch._foreach_lerp(gradients, momenta, group["momentum"])
            if self.rows is not None:
                aims = tuple(self.rows.gather(weight, aim) for weight, aim in zip(weights, aims, strict=True))
            for weight, direction in _directions(weights, aims):
                own = direction if self.rows is None else self.rows.local(direction)
                weight.add_(own.masked_fill(skip, 0), alpha=-group["lr"])


def _directions(weights: list[nn.Parameter], aims: Iterable[Tensor]) -> Iterable[tuple[nn.Parameter, Tensor]]:
    """Each weight with the direction of its step; matrices of one shape are worked on together."""
    shapes: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
    for weight, aim in zip(weights, aims, strict=True):
        matrix = aim.flatten(1)
        shapes[matrix.shape[0], matrix.shape[1]].append((weight, matrix))
    for (m, n), pairs in shapes.items():
        directions = 0.2 * max(m, n) ** 0.5 * orthogonalised(torch.stack([matrix for _, matrix in pairs]))
        yield from (
            (weight, each.view(-1, *weight.shape[1:])) for (weight, _), each in zip(pairs, directions, strict=True)
        )
