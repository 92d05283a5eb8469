"""Who holds the weights where several processes train: each all of them, or each some rows of every tensor.

Either way a process computes the gradient of its own images, scaled so that the mean over processes is the gradient of
the whole batch, and what the optimiser, the average and the checkpoint see are `weights`: the tensors, or the rows of
them, that this process is to update. They are updated the same way in both, so that this is all that differs:

    Copies   DistributedDataParallel: gradients are averaged while the backward pass goes on; weights stay equal since
             they were equal and every process takes the same step. One process alone is a copy of one.
    Shards   fully_shard (ZeRO-3): row i..j of each tensor, its gradient, its moments and its average live on one
             process; a block's weights are gathered when they are needed and dropped after. Rows are dealt as
             torch.chunk does: ceil(n / world) each, the last ones fewer or none.

The optimiser sees the rows as plain tensors that share their memory with fully_shard's, so it is the same fused one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ancestral.compute import Choices, given
from ancestral.config import ComputeSettings
from ancestral.networks.blocks import Attention, ResnetBlock
from ancestral.networks.compiled import compiled
from ancestral.processes import Processes, lost_if_broken
from ancestral.training.muon import Rows

Parallel = Literal["ddp", "fsdp"]


class Held(ABC):
    """The weights this process updates, and how it computes with all of them.

    Attributes:
        forward: what to call in place of the network.
        weights: by their names in the network, the parameters to update; their `grad` is there after `norm`.
        rows: how to come by the rest of them; None where there is no rest.
    """

    forward: Callable[..., Tensor]
    weights: dict[str, nn.Parameter]
    rows: Rows | None = None

    def __init__(self, processes: Processes, network: nn.Module) -> None:
        self.processes, self.network = processes, network

    @abstractmethod
    def pairs(self, average: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """(averaged, current) of each weight that this process updates."""

    @abstractmethod
    def part(self, last: bool) -> Any:
        """A `with` statement around the forward and backward pass of a part of the batch; `last`: of the step."""

    @abstractmethod
    def norm(self) -> Tensor:
        """() the norm of the whole gradient, together."""

    @abstractmethod
    def clear(self) -> None:
        """Frees the gradients."""

    @abstractmethod
    def tensors(self, network: nn.Module) -> dict[str, Tensor]:
        """What this process holds of a network of this kind, by name."""


class Copies(Held):
    """Each process holds all weights."""

    def __init__(self, processes: Processes, network: nn.Module, compute: Choices) -> None:
        super().__init__(processes, network)
        self.weights = dict(network.named_parameters())
        self.copies: nn.parallel.DistributedDataParallel | None = None
        if not processes.alone:
            with lost_if_broken():
                self.copies = nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)
        self.forward = compiled(self.copies or network, compute.compile)

    def pairs(self, average: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """(averaged, current) of each weight."""
        return [*zip(average.parameters(), self.network.parameters(), strict=True)]

    @contextmanager
    def part(self, last: bool) -> Iterator[None]:
        """Gradients are averaged over the processes with the last part only."""
        if self.copies is None:
            yield
        elif last:
            with lost_if_broken():
                yield
        else:
            with self.copies.no_sync():
                yield

    def norm(self) -> Tensor:
        """() of the averaged gradient, which is the same on each process."""
        return nn.utils.get_total_norm([p.grad for p in self.weights.values() if p.grad is not None])

    def clear(self) -> None:
        """Frees the gradients."""
        self.network.zero_grad(set_to_none=True)

    def tensors(self, network: nn.Module) -> dict[str, Tensor]:
        """All of it."""
        return network.state_dict()


class Shards(Held, Rows):
    """Each process holds some rows of every tensor.

    Args:
        average: the averaged network, which is dealt in the same way.
    """

    def __init__(self, processes: Processes, network: nn.Module, average: nn.Module, compute: Choices) -> None:
        super().__init__(processes, network)
        self.rows = self
        mesh = dist.device_mesh.init_device_mesh(processes.device.type, (processes.world,))
        for each in (network, average):
            each.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # in which rows are rows
            _shard(each, mesh)
        self.weights = {name: nn.Parameter(rows) for name, rows in self.tensors(network).items()}
        self.lengths = {id(self.weights[name]): len(tensor) for name, tensor in network.named_parameters()}
        self.forward = compiled(network, compute.compile)

    def pairs(self, average: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """(averaged, current) rows of each weight."""
        return [*zip(self.tensors(average).values(), self.weights.values(), strict=True)]

    @contextmanager
    def part(self, last: bool) -> Iterator[None]:
        """Every part is reduced at once: a whole gradient is never held."""
        with lost_if_broken():
            yield

    def norm(self) -> Tensor:
        """() over the rows of all processes."""
        for name, weight in self.network.named_parameters():
            self.weights[name].grad = None if weight.grad is None else _rows(weight.grad)
        mine = nn.utils.get_total_norm([p.grad for p in self.weights.values() if p.grad is not None])
        return self.processes.sum(mine.double().square()).sqrt().float()

    def clear(self) -> None:
        """Frees the gradients."""
        self.network.zero_grad(set_to_none=True)
        for weight in self.weights.values():
            weight.grad = None

    def whole(self, weight: nn.Parameter, rows: Tensor) -> Tensor:
        """All rows of what this process has the rows of `weight` of, together."""
        each = -(-self.lengths[id(weight)] // self.processes.world)
        padded = rows.new_zeros(each, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.processes.world)]
        with lost_if_broken():
            dist.all_gather(parts, padded)
        return torch.cat(parts)[: self.lengths[id(weight)]]

    def mine(self, whole: Tensor) -> Tensor:
        """This process's rows."""
        return whole[rows_of(self.processes, len(whole))]

    def tensors(self, network: nn.Module) -> dict[str, Tensor]:
        """This process's rows, in the memory that fully_shard keeps them in."""
        return {name: _rows(parameter) for name, parameter in network.named_parameters()}


def together(choices: Choices, asked: ComputeSettings) -> Choices:
    """How each of several processes computes what one would so: the cores are divided among them, unless the user has
    said otherwise, and the engines bring no CUDA graphs.
    """
    changes: dict[str, Any] = {} if "threads" in given(asked) else {"threads": None}
    if choices.compile == "graphs":
        changes["compile"] = "whole"
    return choices.model_copy(update=changes)


def rows_of(processes: Processes, count: int) -> slice:
    """Which of `count` rows this process holds."""
    each = -(-count // processes.world)
    start = min(processes.rank * each, count)
    return slice(start, min(start + each, count))


def _shard(network: nn.Module, mesh: Any) -> None:
    """Blocks one by one, then what is left; all of it is dropped again after a forward pass, so that a network whose
    rows were updated meanwhile is never called with the weights it had."""
    from torch.distributed.fsdp import fully_shard

    for block in [each for each in network.modules() if isinstance(each, ResnetBlock | Attention)]:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(network, mesh=mesh, reshard_after_forward=True)


def _rows(tensor: Any) -> Tensor:
    return tensor.detach().to_local()
