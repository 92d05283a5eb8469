"""How much memory training takes, and into how many parts a batch is cut so that it fits.

Weights, gradients, moments and averages are counted. What a forward pass keeps for the backward pass is measured, at 2
and at 4 images, and grows evenly from there: so it is known before a batch of any size is allocated. The peak is at the
turn between the two passes, where the loss holds two more tensors as large as the network's output. What an operation
uses inside itself is not seen, nor what the allocator holds back: `SHARE` leaves room for it.
"""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ancestral.compute import Choices
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import RESIDENT_SHARE
from ancestral.machine import free_memory
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import outputs
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.settings import TrainingSettings
from ancestral.text import size_in_words
from ancestral.training.loss import losses_of_black
from ancestral.training.optimizer import Muon, optimizers_for
from ancestral.training.power_average import PROFILES

SHARE = 0.8  # of the free memory, that training may take by this estimate


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch says no types of it
    """Bytes of the tensors that are made inside a `with` statement: `now` of those that are still there, and the most
    that it has been."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch loads its compiler, which takes a second, only to keep it out of here

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, operation: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {storage._cdata for storage in _storages((args, kwargs))}
        result = operation(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage._cdata not in given | self._seen:
                self._seen.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return result

    def _gone(self, place: int, count: int) -> None:
        self._seen.discard(place)
        self.now -= count


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def peak_bytes(action: Callable[[], object]) -> int:
    """The most bytes of new tensors that `action` holds at once."""
    with LiveBytes() as live:
        action()
    return live.most


class Footprint(NamedTuple):
    """Bytes that training takes."""

    weights: int
    gradients: int
    moments: int
    averages: int
    batch: int  # images and noise of the whole batch
    kept: int  # what the images computed at once keep for the backward pass, and what turning to it takes

    @property
    def new(self) -> int:
        """Beside the weights, which are there already."""
        return sum(self) - self.weights


def footprint(pipeline: Pipeline, at_once: int | None = None, batch_size: int | None = None) -> Footprint:
    """The estimate for batches of the pipeline's settings, `at_once` images computed at once; None: all. `batch_size`:
    of one process, where several share a batch. Calls the network on 2 and on 4 images."""
    settings = pipeline.config.training
    size = batch_size or settings.batch_size
    count = at_once or size
    weights = sum(parameter.nbytes for parameter in pipeline.network.parameters())
    moments = moment_bytes(pipeline.network, settings)
    channels, height, width = pipeline.latent_shape
    batch = 4 * (size + settings.batch_size) * channels * height * width
    output = 4 * outputs(pipeline.config.diffusion, pipeline.latent_spec) * height * width
    two, four = kept_bytes(pipeline, 2), kept_bytes(pipeline, 4)
    kept = two + (count - 2) * (four - two) // 2 + 2 * count * output
    averages = weights * (1 + len(PROFILES) * (settings.ema_snapshots is not None))
    return Footprint(weights, weights, moments, averages, batch, kept)


def moment_bytes(network: nn.Module, settings: TrainingSettings) -> int:
    """Bytes of the moments that the optimisers of a network keep."""
    return sum(
        parameter.nbytes * (1 if isinstance(optimizer, Muon) else 2)
        for optimizer in optimizers_for(dict(network.named_parameters()), network, settings)
        for group in optimizer.param_groups
        for parameter in group["params"]
    )


def kept_bytes(pipeline: Pipeline, count: int) -> int:
    """Bytes that a forward pass of `count` images keeps for the backward pass: all that is there while the loss is."""
    device = pipeline.device
    buffers = [(buffer, buffer.clone()) for buffer in pipeline.network.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), LiveBytes() as live:
        losses = losses_of_black(pipeline, pipeline.network.train(), count)
    assert losses.requires_grad, "a network that is trained"
    kept = live.now
    for buffer, before in buffers:
        buffer.copy_(before)
    return kept


def fit_micro_batch(
    pipeline: Pipeline, images: ImageSet, say: Callable[[str], None], processes: Processes = SINGLE_PROCESS
) -> Choices:
    """The pipeline's choices, with fewer images at once where the whole batch would not fit."""
    batch_size, needs = pipeline.config.training.batch_size, partial(footprint, pipeline)
    return fit(pipeline.compute, batch_size, needs, images, pipeline.device, say, processes)


def fit(
    choices: Choices,
    batch_size: int,
    needs: Callable[[int, int], Footprint],
    images: ImageSet,
    device: torch.device,
    say: Callable[[str], None],
    processes: Processes = SINGLE_PROCESS,
) -> Choices:
    """The choices, with fewer images at once where the whole batch would not fit, which is said; a number of images
    that was set or tuned is kept.

    Where one image does not fit, that is said too, and tried, since the estimate may be wrong. Of several processes
    each has its share of the batch, and on a CPU of the memory; that fully_shard divides weights too is left out.

    Args:
        needs: what training takes with so many images at once, of so many of a batch in one process.
    """
    whole = -(-batch_size // processes.world_size)
    free = available_bytes(device)
    if free is not None and device.type == "cpu":
        free //= processes.local_world_size
    if choices.micro_batch is not None or free is None:
        return choices
    pixels = images.images
    if isinstance(pixels, np.ndarray) and device.type == "cuda" and pixels.nbytes <= RESIDENT_SHARE * free:
        free -= pixels.nbytes  # which the loader will move to the GPU
    room = int(SHARE * free)
    needed = needs(whole, whole)
    if needed.new <= room:
        return choices
    per_image = (needs(2 * whole, whole).kept - needed.kept) / whole
    rest = needed.new - whole * per_image
    count = halved(whole, per_image, room - rest)
    fits = rest + count * per_image <= room
    say(
        f"training takes about {size_in_words(needed.new)} with {whole} images at once and {size_in_words(room)} "
        f"may be used, so {count} of them are computed at a time{'' if fits else ', which may still be too many'} "
        "(--compute.micro_batch decides otherwise)"
    )
    return choices.model_copy(update={"micro_batch": count})


def halved(count: int, one: float, room: float) -> int:
    """Images of so many bytes each that are computed at once: halved until they fit; 1 at least."""
    while count > 1 and count * one > room:
        count //= 2
    return count


def available_bytes(device: torch.device) -> int | None:
    """Memory that a process can still have: of a GPU, or of the machine and its container; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return free_memory()
