"""What work takes on this machine, told before it begins: network calls, seconds, memory, disk.

A call is timed on as many images as will be computed at once, or on fewer where that is more than a hundredth of the
work. What it takes in memory is what its tensors hold at their peak. Nothing is allocated for the work before.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn

from ancestral.compute import time_on
from ancestral.editing.posterior import linearised
from ancestral.errors import InputError, NonFinite
from ancestral.networks.backbone import Backbone, weightless
from ancestral.networks.fused import prepare
from ancestral.pipeline import Pipeline
from ancestral.pipeline.folder import build_network
from ancestral.settings import MOST_IMAGES, Config, ImageSpec, SamplingSettings
from ancestral.text import size_in_words
from ancestral.text_reader import TextReader
from ancestral.training.memory import SHARE, LiveBytes, available_bytes, footprint, halved
from ancestral.training.power_average import PROFILES

MEASURED = 100  # calls of one image, of which one is spent on measuring
BRIEF = 0.5  # seconds that measuring may take however little work there is
FEW = 16  # calls of one image, below which one that takes long is measured but once
TIMES = 3  # calls of a batch's size that are timed, of which the middle one counts
STATES = 10  # tensors of an image's size that a chain has at once: noise, estimates, what a sampler remembers
COPIES = 4  # of the weights that training has: with gradients, moments and averages; Muon has one less
MOST_SECONDS = 3600.0
"""Above which, and above these shares of what is free, work is done only where that is meant."""
MEMORY_SHARE, DISK_SHARE = 0.5, 0.1
TRIED_SIDE, TRIED_IMAGES = 32, 4
"""Of the training step that is tried before it is known whether a larger one fits; the side in pixels."""

_KNOWN = WeakKeyDictionary[nn.Module, dict[tuple[object, ...], tuple[float, int]]]()
"""What calls of a network cost, for whoever keeps it and generates by it again."""


class Price(NamedTuple):
    """What work takes: network calls, of one image each; memory and disk in bytes, beside what is there."""

    calls: int
    seconds: float
    memory: int
    disk: int = 0

    @property
    def words(self) -> str:
        calls = f"{self.calls:,} network calls of one image each, about {duration(self.seconds)}, "
        disk = f", {size_in_words(self.disk)} of disk" if self.disk else ""
        return f"{calls if self.calls else ''}{size_in_words(self.memory)} of memory{disk}"

    def as_tree(self) -> dict[str, Any]:
        return {"network_calls": self.calls, "seconds": self.seconds, "memory": self.memory, "disk": self.disk}


def duration(seconds: float) -> str:
    """A time in the unit it is read in."""
    if seconds < 120:
        return "1 second" if seconds < 1.5 else f"{seconds:.0f} seconds"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:,.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:,.0f} days"


def call_cost(
    pipeline: Pipeline, settings: SamplingSettings, images: int, calls: int, pull_backs: int = 0
) -> tuple[float, int]:
    """(seconds, bytes) that a network call takes for one image: guidance and all, in a batch as large as the work's, as
    far as that can be measured in a hundredth of the work or in `BRIEF`, and in memory. The first call of a batch's
    size sets things up, and counts only where another takes long and there are few.

    Args:
        images: that are computed at once in the work.
        calls: that the work takes, each for one image.
        pull_backs: backward passes of a call, as guidance by a gradient has them.
    """
    prepare()  # what is compiled once is no part of any call
    call = partial(_call, pipeline, settings, pull_backs)
    count, (seconds, memory) = 1, _observed(call(1), pipeline.device)
    most = min(images, pipeline.compute.chunk, images_that_fit(memory, pipeline.device))
    while seconds <= (allowed := max(BRIEF, calls * seconds / count / MEASURED)) or (count == 1 and calls >= FEW):
        seconds = _middle(call(count), pipeline.device, allowed)
        larger = min(most, int(count * allowed / (2 * seconds)))
        if larger < min(most, 2 * count) or larger <= count:
            break
        count, (seconds, memory) = larger, _observed(call(larger), pipeline.device)
    return seconds / count, memory // count


def _call(pipeline: Pipeline, settings: SamplingSettings, pull_backs: int, count: int) -> Callable[[], None]:
    """A call on so many black images, half way down the chain, by a denoiser of its own."""
    pipeline = pipeline.by_torch(None)  # an engine, once it has compiled, takes less
    denoise = pipeline.denoiser(pipeline.in_turn(count), settings.model_copy(update={"cache": 1}))
    x = torch.zeros(count, *pipeline.latent_shape, device=pipeline.device)
    x = x.contiguous(memory_format=torch.channels_last)
    t = torch.tensor((pipeline.diffusion.num_timesteps + 1) // 2, device=pipeline.device)

    def call() -> None:
        if not pull_backs:
            denoise(x, t)
            return
        prediction, pull_back = linearised(denoise, x, t)
        for _ in range(pull_backs):
            pull_back(prediction.x0)

    return call


def images_that_fit(memory: int, device: torch.device) -> int:
    """Images that may be computed at once, of which one takes so many bytes; 1 at least."""
    free = available_bytes(device)
    return MOST_IMAGES if free is None else max(1, int(MEMORY_SHARE * free) // max(memory, 1))


def of_chains(
    pipeline: Pipeline,
    settings: SamplingSettings,
    images: int,
    calls: int,
    windows: int = 1,
    pixels: int | None = None,
    kept: int = 1,
    pull_backs: int = 0,
    whole: bool = False,
) -> Price:
    """Generating so many images.

    Args:
        calls: of a chain, windows apart.
        windows: in which an image is seen, one after another; if `whole`, as many times the pipeline's size, at once.
        pixels: numbers that an image has; None: the pipeline's.
        kept: states of every image that are kept to the end.
        pull_backs: backward passes of a call, each of which counts as two.
    """
    at_once, numbers = min(images, pipeline.compute.chunk), pixels or prod(pipeline.latent_shape)
    work, states = images * calls * windows, 4 * numbers * (STATES * at_once + kept * images)
    refuse_more_than_is_free(states, pipeline.device, "generate fewer or smaller images")
    known = _KNOWN.setdefault(pipeline.network, {})
    guides = pipeline.weaker is None, pipeline.classify is None
    of_what = pipeline.compute, settings, guides, at_once, work, pull_backs
    if of_what not in known:
        known[of_what] = call_cost(pipeline, settings, at_once, work, pull_backs)
    call_seconds, call_memory = known[of_what]
    seconds = most_of_one(images, at_once, pipeline.processes.world_size) * calls * windows * call_seconds
    memory = at_once * call_memory * (windows if whole else 1) + states
    return Price(work * (1 + 2 * pull_backs), seconds, memory)


def most_of_one(images: int, at_once: int, processes: int) -> int:
    """Images of the process that generates most of them."""
    return min(images, at_once * -(-images // (at_once * processes)))


def check_training(config: Config, spec: ImageSpec, device: torch.device, processes: int = 1) -> int:
    """Bytes of the weights in all copies and of a batch of pixels; InputError where they are more than is free."""
    batch = 8 * -(-config.training.batch_size // processes) * prod(spec.shape)
    least = _copies(config) * weights_bytes(config, spec) + batch
    refuse_more_than_is_free(least, device, "lower training.batch_size, data.size or the width of the network")
    return least


def unusual(config: Config, spec: ImageSpec) -> bool:
    """Whether training is larger than the recipes are."""
    return spec.height * spec.width > 64**2 or config.training.batch_size > 512


def of_training(
    config: Config, spec: ImageSpec, device: torch.device, processes: int = 1, tokenizer: TextReader | None = None
) -> Price:
    """Training: memory for weights, a batch, and the images that are computed at once; disk for checkpoints. Its time
    is its budget's. What an image takes is tried at a small size, and grows with its pixels. InputError as for
    `check_training`.
    """
    least = check_training(config, spec, device, processes)
    multiple = _weightless(config, spec).side_multiple
    most = max(multiple, TRIED_SIDE // multiple * multiple)
    small = spec.model_copy(update={"height": min(spec.height, most), "width": min(spec.width, most)})
    pipeline = Pipeline.fresh(config, small, device, tokenizer=tokenizer)
    pipeline.network.requires_grad_(True)
    tried = footprint(pipeline, TRIED_IMAGES, TRIED_IMAGES).kept
    one = tried * spec.height * spec.width // (TRIED_IMAGES * small.height * small.width)
    share, free = -(-config.training.batch_size // processes), available_bytes(device)
    at_once = config.compute.micro_batch or (share if free is None else halved(share, float(one), SHARE * free - least))
    checkpoints, snapshots = config.training.keep_checkpoints + 1, config.training.ema_snapshots or 0
    disk = (checkpoints * _copies(config) + snapshots * len(PROFILES)) * weights_bytes(config, spec)
    return Price(0, 0.0, least + min(at_once, share) * one, disk)


def _copies(config: Config) -> int:
    """Of the weights, that training has and a checkpoint holds."""
    return COPIES + (0 if config.training.ema_snapshots is None else len(PROFILES))


def weights_bytes(config: Config, spec: ImageSpec) -> int:
    return sum(parameter.nbytes for parameter in _weightless(config, spec).parameters())


def _weightless(config: Config, spec: ImageSpec) -> Backbone:
    """The network without memory for any weights."""
    with torch.random.fork_rng(devices=[]), weightless():
        return build_network(config, spec)


def refusal(price: Price, meant: bool, device: torch.device, folder: Path, remedy: str) -> str:
    """Why work that writes into `folder` is not done: it takes more than is usual, which is not `meant`, or does not
    fit at all; "" where it is done. `remedy`: what makes it cheaper."""
    never, unless_meant = out_of_bounds(price, available_bytes(device), free_disk(folder))
    if never:
        return f"expected work that fits into {never}, got {price.words}; {remedy}"
    if unless_meant and not meant:
        return f"expected --yes for more than {unless_meant}, got {price.words}; {remedy}, or add --yes"
    return ""


def out_of_bounds(price: Price, memory: int | None, disk: int | None) -> tuple[str, str]:
    """(what there is less of than it takes, what it takes more of than is usual), in words; "" for nothing. `memory`,
    `disk`: free bytes; None: nobody says."""
    spaces = {"memory": (price.memory, memory, MEMORY_SHARE), "disk": (price.disk, disk, DISK_SHARE)}
    shares = {"memory": "half of the free memory", "disk": "a tenth of the free disk"}
    known = {name: (needed, free, share) for name, (needed, free, share) in spaces.items() if free is not None}
    never = [f"{size_in_words(free)} of free {name}" for name, (needed, free, _) in known.items() if needed > free]
    above = ["an hour"] if price.seconds > MOST_SECONDS else []
    above += [shares[name] for name, (needed, free, share) in known.items() if needed > share * free]
    return " and ".join(never), " and ".join(above)


def refuse_more_than_is_free(count: int, device: torch.device, remedy: str) -> None:
    """Raises InputError where so many bytes are more than the device has left, before anything is allocated."""
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


def _observed(call: Callable[[], None], device: torch.device) -> tuple[float, int]:
    """Seconds, and bytes that are there at once, of the first call of its kind."""
    with LiveBytes() as live:
        seconds = _seconds(call, device)
    return seconds, live.most


def _middle(call: Callable[[], None], device: torch.device, most: float) -> float:
    """Of a few calls, or as many as begin within so many seconds: another program may take the processor for one."""
    found = [_seconds(call, device)]
    while len(found) < TIMES and sum(found) < most:
        found.append(_seconds(call, device))
    return median(found)


def _seconds(call: Callable[[], None], device: torch.device) -> float:
    """Of one call, until it is done; what is wrong with its answer is told by the work's first step, which has one."""
    begun = time_on(device)
    with suppress(NonFinite), torch.no_grad():
        call()
    return time_on(device) - begun
