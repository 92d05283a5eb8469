"""Several processes that compute one thing together, by torch.distributed; a single process is a group of one.

torchrun starts the same command several times and tells each its rank by environment variables; so may any other
launcher. Work is divided so that the number of processes changes nothing but rounding: a batch is drawn whole
and sliced, and independent pieces of work are done by whoever's turn it is and handed to all.

What travels is numbers and text, never pickles.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.distributed import DistStoreError

from ancestral.errors import InputError, Lost
from ancestral.machine import started_together

Piece = TypeVar("Piece")
CPU = torch.device("cpu")

TIMEOUT = timedelta(minutes=30)  # as long as the main process may take to decode the images
SOON = timedelta(seconds=3)  # within which processes that fail alike do so
BROKEN = re.compile(r"connect|peer|socket|broken pipe|timed? ?out|nccl|gloo", re.IGNORECASE)
"""What the engine's errors speak of when a process is gone; it has no class for them."""


@dataclass(frozen=True)
class Processes:
    """This process's rank among `world_size`, and what they do together. All of them have to call each of the methods
    that says "together", in the same order.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # on this machine
    local_world_size: int = 1
    device: torch.device = CPU  # where the tensors are that are summed
    store: Store | None = None  # where they found each other

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What one process of each machine does before the others do it too, together."""
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()

    @property
    def is_single(self) -> bool:
        return self.world_size == 1

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes files and speaks."""
        return self.rank == 0

    def local_slice(self, count: int) -> slice:
        """This process's slice of `count` things in a row; slices differ in length by at most one."""
        each, more = divmod(count, self.world_size)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, together: the same bits on each."""
        return self.sum_later(tensor)()

    def sum_later(self, tensor: Tensor) -> Callable[[], Tensor]:
        """The same, begun together and waited for when it is called; meanwhile this process can do other things."""
        if self.is_single:
            return lambda: tensor
        total = tensor.clone()
        with lost_if_broken():
            begun = dist.all_reduce(total, async_op=True)

        def wait() -> Tensor:
            with lost_if_broken():
                begun.wait()
            return total

        return wait

    def barrier(self) -> None:
        """Until all are here, together."""
        self.sum(torch.zeros(1, device=self.device))

    def broadcast(self, text: str) -> str:
        """The text of the main process, on each, together."""
        return text if self.is_single else self._broadcast(text.encode(), 0).decode()

    def all_gather(self, value: Any) -> list[Any]:
        """What each one says, in the order of their ranks, together; as JSON has it."""
        content = json.dumps(value).encode()
        return [json.loads(self._broadcast(content, source)) for source in range(self.world_size)]

    def my_items(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Those that `map` gives to this process."""
        return pieces[self.rank :: self.world_size]

    def map(self, pieces: Sequence[Piece], work: Callable[[Piece], str]) -> Iterator[str]:
        """The results of `work` on each piece, in order, together; piece i is done by process i modulo the number of
        them."""
        for first in range(0, len(pieces), self.world_size):
            turn = pieces[first : first + self.world_size]
            result = "".join(map(work, self.my_items(turn))).encode()
            yield from (self._broadcast(result, source).decode() for source in range(len(turn)))

    def all_gather_tensors(self, tensors: Mapping[str, Tensor], count: int) -> Iterator[dict[str, Tensor]]:
        """The tensors by name of each of the first `count` processes, on the CPU, in the order of ranks, together."""
        if self.is_single:
            yield {name: tensor.cpu() for name, tensor in tensors.items()}
            return
        apart = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        content = save({name: tensor.cpu() for name, tensor in apart.items()}) if self.rank < count else b""
        yield from (load(self._broadcast(content, source)) for source in range(count))

    def failed_only_here(self, message: str) -> bool:
        """Whether the main process does not fail with the same words as this one, within seconds."""
        if self.is_single or self.store is None:
            return True
        try:
            if self.is_main:
                self.store.set("fault", message)
                return True
            self.store.wait(["fault"], SOON)
            return self.store.get("fault").decode() != message
        except DistStoreError:  # nothing was said in time
            return True
        except RuntimeError:  # it is gone already, and the store with it
            return False

    def _broadcast(self, content: bytes, source: int) -> bytes:
        """`content` of one process, on each."""
        if self.is_single:
            return content
        with lost_if_broken():
            length = torch.tensor([len(content)], dtype=torch.int64, device=self.device)
            dist.broadcast(length, source)
            buffer = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
            if self.rank == source and content:
                buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)
            dist.broadcast(buffer, source)
        return buffer.cpu().numpy().tobytes()


SINGLE_PROCESS = Processes()


def ranks_from_env() -> Processes:
    """The ranks that a launcher gave this process, before it is connected to the others."""
    if not started_together():
        return SINGLE_PROCESS
    rank, world_size = _number("RANK"), _number("WORLD_SIZE")
    local_rank, local_world_size = _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", world_size)
    if not 0 <= rank < world_size:
        raise _nonsense(f"expected RANK in 0..{world_size - 1}, got {rank}")
    return Processes(rank, world_size, local_rank, local_world_size)


@contextmanager
def init_distributed(here: Processes, device: torch.device) -> Iterator[Processes]:
    """The process of those ranks, connected to all others, on `device`. Raises Lost where they did not come."""
    if not started_together():
        yield SINGLE_PROCESS
        return
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // here.local_world_size))
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with lost_if_broken():
        store = _store(here)
        dist.init_process_group(backend, store=store, rank=here.rank, world_size=here.world_size, timeout=TIMEOUT)
    yield replace(here, device=device, store=store)
    dist.destroy_process_group()


@contextmanager
def lost_if_broken() -> Iterator[None]:
    """Raises Lost, instead of the engine's own error, where another process went away in the middle of something."""
    try:
        yield
    except RuntimeError as fault:
        if not BROKEN.search(str(fault)):
            raise
        said = "another process of this command is gone; what was saved is whole: give the same command again"
        raise Lost(said) from fault


def _store(here: Processes) -> Store:
    """Where the processes find each other.

    torchrun keeps one store over its restarts, and the addresses of the dead would be found in it. On one machine each
    attempt gets its own corner of the store. Over several machines the attempts are numbered differently on each, so
    there torchrun has to be told to make a new store (TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1).
    """
    hosts = here.is_main and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, port = os.environ["MASTER_ADDR"], _number("MASTER_PORT")
    store = TCPStore(address, port, here.world_size, hosts, TIMEOUT, wait_for_workers=False)
    if here.local_world_size < here.world_size:
        return store
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _number(name: str, default: int | None = None) -> int:
    word = os.environ.get(name)
    if word is None and default is not None:
        return default
    try:
        return int(word or "")
    except ValueError:
        raise _nonsense(f"expected a number in {name}, got {word!r}") from None


def _nonsense(what: str) -> InputError:
    fault = InputError(f"{what}; start with torchrun")
    fault.rank_local = True
    return fault
