"""What work takes on this machine, told before it begins: network calls, seconds, memory, disk.

A call is timed once, on so few images that it is a hundredth of the work or less, and the work counted in calls of one
image. What it takes in memory is half of what the network's modules put out: measured on five networks, 0.47 to 0.78 of
that is alive at the peak. Nothing is allocated for the work itself before its price is known.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ancestral.building import outputs
from ancestral.config import Config, ImageSpec, SamplingSettings
from ancestral.errors import InputError, NonFinite
from ancestral.networks.unet import UNet
from ancestral.pipeline import Pipeline
from ancestral.text import size_in_words
from ancestral.training.memory import available_bytes, footprint

MEASURED = 200
"""Calls of one image, of which one is spent on measuring, twice."""
ALIVE = 0.5
"""Share of what the network's modules put out that is there at once."""
STATES = 10
"""Tensors of an image's size that a chain has at once: noise, estimates, what a sampler remembers."""
MOST_SECONDS = 3600.0
"""Above which, and above these shares of what is free, work is done only where that is meant."""
MEMORY_SHARE, DISK_SHARE = 0.5, 0.1
COPIES = 4
"""Of the weights that training has: with gradients, moments and averages; Muon has one less."""
USUAL_SIDE, USUAL_BATCH = 64, 512
ESTIMATED_AT = 32
"""Pixels a side at which a training step is tried, before it is known whether a larger one fits."""


class Price(NamedTuple):
    """What work takes. `calls`: of the network, for one image each; `memory` and `disk` in bytes, beside what is
    there."""

    calls: int
    seconds: float
    memory: int
    disk: int = 0

    @property
    def words(self) -> str:
        """In words."""
        parts = (
            [f"{self.calls:,} network calls of one image each, about {duration(self.seconds)}"] if self.calls else []
        )
        parts.append(f"{size_in_words(self.memory)} of memory")
        return ", ".join([*parts, *([f"{size_in_words(self.disk)} of disk"] if self.disk else [])])

    def as_tree(self) -> dict[str, Any]:
        """What JSON has."""
        return {"network_calls": self.calls, "seconds": self.seconds, "memory": self.memory, "disk": self.disk}


class CallCost(NamedTuple):
    """What one network call takes for one image."""

    seconds: float
    memory: int


def duration(seconds: float) -> str:
    """A time as one says it."""
    if seconds < 120:
        return "1 second" if seconds < 1.5 else f"{seconds:.0f} seconds"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:,.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:,.0f} days"


def call_cost(pipeline: Pipeline, settings: SamplingSettings, images: int, calls: int) -> CallCost:
    """Of a network call as `settings` say, guidance and all, by two that together are a hundredth of `calls` or less.

    Args:
        images: that are computed at once in the work.
        calls: that the work takes, each for one image. Of few, one call on one image is all that is measured.

    Raises:
        InputError: labels or guidance that the pipeline was not trained for.
    """
    count = max(1, min(images, pipeline.compute.chunk, calls // MEASURED))
    labels = torch.zeros(count, dtype=torch.int64) if pipeline.class_names else None
    denoise = pipeline.denoiser(labels, settings.model_copy(update={"cache": 1}))
    x = torch.zeros(count, *pipeline.spec.shape, device=pipeline.device)
    x = x.contiguous(memory_format=pipeline.compute.memory_format)
    t = torch.tensor((pipeline.diffusion.num_timesteps + 1) // 2, device=pipeline.device)
    with torch.no_grad(), counted_outputs(pipeline.network) as put_out:
        seconds = _seconds(denoise, x, t)
        if calls >= MEASURED:  # the first one is slower
            put_out.clear()
            seconds = _seconds(denoise, x, t)
    return CallCost(seconds / count, round(ALIVE * sum(put_out) / count))


@contextmanager
def counted_outputs(network: nn.Module) -> Iterator[list[int]]:
    """The bytes that each innermost module of a network puts out, call after call."""
    found: list[int] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found.append(output.nbytes)

    handles = [module.register_forward_hook(note) for module in network.modules() if not [*module.children()]]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def of_chains(
    pipeline: Pipeline,
    settings: SamplingSettings,
    images: int,
    calls: int,
    windows: int = 1,
    pixels: int | None = None,
    kept: int = 1,
) -> Price:
    """Drawing so many images.

    Args:
        calls: of a chain, windows apart.
        windows: in which an image is seen, one after another.
        pixels: numbers that an image has; None: the pipeline's.
        kept: states of every image that are kept to the end.
    """
    at_once, numbers = min(images, pipeline.compute.chunk), pixels or _numbers(pipeline.spec)
    work, states = images * calls * windows, 4 * numbers * (STATES * at_once + kept * images)
    refuse_more_than_is_free(states, pipeline.device, "draw fewer or smaller images")
    cost = call_cost(pipeline, settings, at_once, work)
    return Price(work, work * cost.seconds / pipeline.processes.world, at_once * cost.memory + states)


def check_training(config: Config, spec: ImageSpec, device: torch.device, processes: int = 1) -> int:
    """The bytes of the weights in all their copies and of a batch, before any of it is allocated.

    Raises:
        InputError: they are more than is free.
    """
    batch = 8 * -(-config.training.batch_size // processes) * _numbers(spec)
    least = COPIES * weights_bytes(config, spec) + batch
    refuse_more_than_is_free(least, device, "lower training.batch_size, data.size or network.widths")
    return least


def unusual(config: Config, spec: ImageSpec) -> bool:
    """Whether training is larger than the recipes are."""
    return spec.height * spec.width > USUAL_SIDE**2 or config.training.batch_size > USUAL_BATCH


def of_training(config: Config, spec: ImageSpec, device: torch.device, processes: int = 1) -> Price:
    """Training: memory for weights, a batch, and the four images that are tried first; disk for checkpoints. Its time
    is its budget's. What images take is tried at a small size, so it is the least that it can be.

    Raises:
        InputError: the weights or a batch alone are more than is free.
    """
    least = check_training(config, spec, device, processes)
    small = spec.model_copy(update={"height": min(spec.height, ESTIMATED_AT), "width": min(spec.width, ESTIMATED_AT)})
    pipeline = Pipeline.fresh(config, small, device)
    pipeline.network.requires_grad_(True)
    four = footprint(pipeline, 4, 4).kept * (spec.height * spec.width) // (small.height * small.width)
    weights = sum(parameter.nbytes for parameter in pipeline.network.parameters())
    return Price(0, 0.0, least + four, (config.training.keep_checkpoints + 1) * COPIES * weights)


def weights_bytes(config: Config, spec: ImageSpec) -> int:
    """Of the network's weights, of which none is allocated."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = UNet(config.network, spec.channels, outputs(config.diffusion, spec), len(spec.class_names))
    return sum(parameter.nbytes for parameter in network.parameters())


def refusal(price: Price, meant: bool, device: torch.device, folder: Path, remedy: str) -> str:
    """Why work is not done: it is out of bounds and not meant, or does not fit at all; "" where it is done.

    Args:
        meant: whether it may take more than is usual.
        folder: where it writes.
        remedy: what makes it cheaper.
    """
    never, unless_meant = out_of_bounds(price, available_bytes(device), free_disk(folder))
    if never:
        return f"expected work that fits into {never}, got {price.words}; {remedy}"
    if unless_meant and not meant:
        return f"expected --yes for more than {unless_meant}, got {price.words}; {remedy}, or add --yes"
    return ""


def out_of_bounds(price: Price, memory: int | None, disk: int | None) -> tuple[str, str]:
    """(what there is less of than it takes, what it takes more of than is usual), in words; "" for nothing.

    Args:
        memory, disk: free bytes; None: nobody says.
    """
    spaces = {"memory": (price.memory, memory, MEMORY_SHARE), "disk": (price.disk, disk, DISK_SHARE)}
    shares = {"memory": "half of the free memory", "disk": "a tenth of the free disk"}
    known = {name: (needed, free, share) for name, (needed, free, share) in spaces.items() if free is not None}
    never = [f"{size_in_words(free)} of free {name}" for name, (needed, free, _) in known.items() if needed > free]
    above = ["an hour"] if price.seconds > MOST_SECONDS else []
    above += [shares[name] for name, (needed, free, share) in known.items() if needed > share * free]
    return " and ".join(never), " and ".join(above)


def refuse_more_than_is_free(count: int, device: torch.device, remedy: str) -> None:
    """Before anything is allocated.

    Raises:
        InputError: more bytes than the device has left.
    """
    free = available_bytes(device)
    if free is not None and count > free:
        raise InputError(
            f"expected at most {size_in_words(free)} of memory, which is free, got {size_in_words(count)}; {remedy}"
        )


def free_disk(folder: Path) -> int | None:
    """Bytes that can still be written where a folder is or would be; None where nobody says."""
    there = next((place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None


def _seconds(denoise: Any, x: Tensor, t: Tensor) -> float:
    """Of one call, until it is done; what is wrong with its answer is told by the work's first step, which has one."""
    begun = time.perf_counter()
    with suppress(NonFinite):
        denoise(x, t)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - begun


def _numbers(spec: ImageSpec) -> int:
    return spec.channels * spec.height * spec.width
