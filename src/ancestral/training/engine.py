"""How the gradient of a whole batch is computed, and who holds the weights: the only place in training that knows
whether there are several processes.

Each process computes the gradient of its own slice of the batch. Its loss is the sum over its images, times the number
of processes, over the size of the whole batch: the mean of these over the processes is the gradient of the whole batch
however uneven the slices are. What the optimiser, the average and the checkpoint see are `weights`: the tensors, or the
rows of them, that this process is to update. They are updated the same way in both, so that this is all that differs:

    Engine         one process alone holds all of them.
    Replicated     DistributedDataParallel: gradients are averaged while the backward pass goes on; weights stay equal
                   since they were equal and every process takes the same step.
    FullySharded   fully_shard (ZeRO-3): row i..j of each tensor, its gradient, its moments and its average live on one
                   process; a block's weights are gathered when they are needed and dropped after. Rows are dealt as
                   torch.chunk does: ceil(n / world) each, the last ones fewer or none.

The optimiser sees the rows as plain tensors that share their memory with fully_shard's, so it is the same fused one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ancestral.compute import Choices
from ancestral.networks.backbone import Backbone
from ancestral.networks.compiled import compiled
from ancestral.networks.text import text_attentions
from ancestral.processes import Processes, lost_if_broken
from ancestral.settings import TrainingSettings
from ancestral.tensors import PerImage
from ancestral.training.optimizer import Rows
from ancestral.training.task import Trainable

Parallel = Literal["ddp", "fsdp"]
LossesOfPart = Callable[[slice], tuple[PerImage, PerImage]]
"""The losses of a part of this process's images, with their graph, and the weight of each."""


class Engine:
    """The weights this process updates, and how it computes with all of them; here one process alone.

    Args:
        module: the network, and what its backward pass is tried with.
        settings: those of the run, for the size of a batch.
        average: the averaged network, which lies as the network does.
        stop_asked: whether this process was asked to stop.
        seconds: what its clock shows.
    """

    forward: Callable[..., Tensor]  # what to call in place of the network
    weights: dict[str, nn.Parameter]  # by name in the network, those to update; their `grad` is there after `norm`
    averages: list[Tensor]  # of each of them, in the same order
    rows: Rows | None = None  # how to come by the rest of them; None where there is no rest

    def __init__(
        self,
        processes: Processes,
        module: Trainable,
        compute: Choices,
        settings: TrainingSettings,
        average: nn.Module,
        stop_asked: Callable[[], bool],
        seconds: Callable[[], float],
    ) -> None:
        self.processes, self.module, self.network, self.average = processes, module, module.network, average
        self.compile = compute.compile
        self.stop_asked, self.seconds = stop_asked, seconds
        self.last_stop, self.last_clock = False, 0.0  # as all processes know them since the last look
        self.batch_size = settings.batch_size
        self.local_slice = processes.local_slice(self.batch_size)  # of a batch
        self.parts = _parts(processes, self.batch_size, compute.micro_batch)  # of that, one computed after another
        self._distribute()

    def _distribute(self) -> None:
        """Sets `forward`, `weights`, `averages` and, where there are any, `rows`."""
        self.weights, self.averages = dict(self.network.named_parameters()), [*self.average.parameters()]
        self.forward = compiled(self.network, self.compile)

    def backward(self, losses_of: LossesOfPart, look: bool) -> PerImage:
        """The losses of the whole batch, (B,); the gradient of their weighted mean is in the weights after `norm`.
        `look`: at clock and stopping too, for which a GPU has to be waited for.

        The sum over the processes is begun before the backward pass of the last part, and waited for after it: it costs
        no time of its own.
        """
        local: list[PerImage] = []
        for part in self.parts:
            last = part is self.parts[-1]
            with self.part(last):
                losses, weight = losses_of(part)
                local.append(losses.detach())
                summed = self._begin_sum(torch.cat(local)) if last and not self.processes.is_single else None
                total = (losses * weight).sum() * self.processes.world_size
                torch.autograd.backward(total / self.batch_size)
        if summed is None:
            return torch.cat(local)
        vector = summed()
        if look:
            stop, self.last_clock = vector[-2:].tolist()
            self.last_stop = stop > 0
        return vector[:-2].to(local[0])

    def _begin_sum(self, local: PerImage) -> Callable[[], Tensor]:
        """The sum of a vector of B + 2 numbers, float64, in which each process fills in the losses of its images and
        leaves the others at 0: the losses of the whole batch, and not a number exactly where one of them is none. Two
        more say whether anyone was asked to stop and what the clock of the main process shows. So all find alike
        whether a step is finite, which images it comes from, when it is time and when to stop.
        """
        vector = local.new_zeros(self.batch_size + 2, dtype=torch.float64)
        vector[:-2][self.local_slice] = local.double()
        vector[-2] = float(self.stop_asked())
        vector[-1] = self.seconds() if self.processes.is_main else 0.0
        return self.processes.sum_later(vector)

    @property
    def clock(self) -> float:
        """The seconds that decisions go by: those of the main process."""
        return self.seconds() if self.processes.is_single else self.last_clock

    @property
    def stop(self) -> bool:
        """Whether any process was asked to stop."""
        return self.stop_asked() if self.processes.is_single else self.last_stop

    def part(self, last: bool) -> AbstractContextManager[None]:
        """A `with` statement around a part of the batch; gradients are averaged over the processes with the last."""
        return nullcontext()

    def norm(self) -> Tensor:
        """() the norm of the whole gradient, together."""
        return nn.utils.get_total_norm([p.grad for p in self.weights.values() if p.grad is not None])

    def clear(self) -> None:
        """Frees the gradients."""
        for weight in self.weights.values():
            weight.grad = None

    def tensors(self, network: nn.Module) -> dict[str, Tensor]:
        """What this process holds of a network of this kind, by name."""
        return network.state_dict()

    def whole(self, held: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
        """(name, all rows) of tensors that lie as `weights` do, one after another; together."""
        return zip(self.weights, held, strict=True)

    def full_average(self) -> nn.Module:
        """The averaged network with all of its weights, on the main process; together."""
        return self.average


class Replicated(Engine):
    """Each process holds all of them."""

    def _distribute(self) -> None:
        """DDP lays the gradients out anew after its first backward pass, and of three processes or more the sum depends
        on where its terms lie: so there is one before the first step, also of a run that goes on.
        """
        super()._distribute()
        with lost_if_broken():
            self.replicas = nn.parallel.DistributedDataParallel(self.network, gradient_as_bucket_view=True)
        self.forward = compiled(self.replicas, self.compile)
        count = self.parts[0].stop - self.parts[0].start
        with self.part(last=True):
            torch.autograd.backward(self.module.warm_up(self.forward, count).sum())
        self.clear()

    def part(self, last: bool) -> AbstractContextManager[None]:
        """Gradients are averaged with the last one alone."""
        return lost_if_broken() if last else self.replicas.no_sync()


class FullySharded(Engine):
    """Each process holds some rows of every tensor."""

    def _distribute(self) -> None:
        """Blocks one by one, then what is left; all is dropped again after a forward pass, so that a network whose rows
        were updated meanwhile is never called with the weights it had."""
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = dist.device_mesh.init_device_mesh(self.processes.device.type, (self.processes.world_size,))
        for network in (self.network, self.average):
            network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # in which rows are rows
            assert isinstance(network, Backbone), "a network whose blocks are known"
            for part in [*network.blocks(), network]:
                fully_shard(part, mesh=mesh, reshard_after_forward=True)
            for method in ("embedded", *["with_deep"] * bool(network.with_deep)):  # what is called beside `forward`
                register_fsdp_forward_method(network, method)
            for attention in text_attentions(network):
                register_fsdp_forward_method(attention, "keys_values")
        self.weights = {name: nn.Parameter(rows) for name, rows in self.tensors(self.network).items()}
        self.averages = [*self.tensors(self.average).values()]
        self.lengths = {id(self.weights[name]): len(tensor) for name, tensor in self.network.named_parameters()}
        self.rows = Rows(self._gather, lambda whole: whole[rows_of(self.processes, len(whole))])
        self.forward = compiled(self.network, self.compile)

    def part(self, last: bool) -> AbstractContextManager[None]:
        """Every part is reduced at once: a whole gradient is never held."""
        return lost_if_broken()

    def norm(self) -> Tensor:
        """() over the rows of all processes."""
        for name, weight in self.network.named_parameters():
            self.weights[name].grad = None if weight.grad is None else _rows(weight.grad)
        return self.processes.sum(super().norm().double().square()).sqrt().float()

    def _gather(self, weight: nn.Parameter, rows: Tensor) -> Tensor:
        """All rows of what this process has the rows of `weight` of, together."""
        each = -(-self.lengths[id(weight)] // self.processes.world_size)
        padded = rows.new_zeros(each, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.processes.world_size)]
        with lost_if_broken():
            dist.all_gather(parts, padded)
        return torch.cat(parts)[: self.lengths[id(weight)]]

    def tensors(self, network: nn.Module) -> dict[str, Tensor]:
        """This process's rows, in the memory that fully_shard keeps them in."""
        return {name: _rows(parameter) for name, parameter in network.named_parameters()}

    def whole(self, held: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The rows are gathered tensor by tensor."""
        for (name, weight), rows in zip(self.weights.items(), held, strict=True):
            yield name, self._gather(weight, rows)

    def full_average(self) -> nn.Module:
        """Tensor by tensor, into a network of its own."""
        assert self.module.fresh is not None, "a network that may be held by rows"
        whole = self.module.fresh() if self.processes.is_main else self.average
        for name, gathered in self.whole(self.averages):
            if self.processes.is_main:
                whole.get_parameter(name).detach().copy_(gathered)
        return whole

    def clear(self) -> None:
        """Frees those of the whole too."""
        super().clear()
        self.network.zero_grad(set_to_none=True)


def engine_of(processes: Processes, parallel: Parallel) -> type[Engine]:
    """What divides the work among these processes: nothing where there is one alone."""
    if processes.is_single:
        return Engine
    return FullySharded if parallel == "fsdp" else Replicated


def _parts(processes: Processes, batch_size: int, micro_batch: int | None) -> list[slice]:
    """Slices of a process's slice of the batch; every process has as many, since at each of them they meet."""
    smallest, more = divmod(batch_size, processes.world_size)
    largest, size = smallest + bool(more), len(range(batch_size)[processes.local_slice(batch_size)])
    at_once = min(largest, micro_batch or largest)
    if processes.is_single:
        return [slice(start, min(start + at_once, size)) for start in range(0, size, at_once)]
    count = min(smallest, -(-largest // at_once))
    cuts = [size * k // count for k in range(count + 1)]
    return [slice(*ends) for ends in pairwise(cuts)]


def rows_of(processes: Processes, count: int) -> slice:
    """Which of `count` rows this process holds."""
    each = -(-count // processes.world_size)
    start = min(processes.rank * each, count)
    return slice(start, min(start + each, count))


def _rows(tensor: Any) -> Tensor:
    return tensor.detach().to_local()
