"""Whether a CPU with vector units for bfloat16 and no matrix units (AVX512-BF16: AMD Zen 4 and 5, Cooper Lake) is
faster in bfloat16 than in float32: measured once, in half a second, and kept for the machine.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from statistics import median

import torch
from torch.nn import functional as F

from ancestral.errors import CannotWrite, InputError
from ancestral.files import cache_folder, read_json, write_whole
from ancestral.machine import is_main_process

FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16
CONVOLUTIONS = ((8, 64, 28), (8, 128, 16), (8, 256, 8))
"""(batch, channels, side) of those that are timed, 3x3, as the recipes have them."""
LEAST = 1.2  # times as fast as float32, from which bfloat16 is chosen: noise does not reach as far
MOST_ROUNDS, SECONDS = 9, 0.4  # of which none begins after so many seconds; three are always taken


def is_faster(machine: str, measuring: bool = True) -> bool:
    """Whether bfloat16 is, on the machine of that name, which this is.

    Args:
        measuring: whether to measure where nothing is kept; else the answer then is no.
    """
    ratio = load_ratio(machine)
    if ratio is None and measuring:
        ratio = _measured(machine)
    return ratio is not None and ratio >= LEAST


def load_ratio(machine: str) -> float | None:
    """How many times as fast bfloat16 was measured to be; None: not yet, or its file is damaged."""
    with suppress(InputError, KeyError):
        ratio = read_json(ratio_file(machine))["bfloat16"]
        return ratio if isinstance(ratio, float) and ratio > 0 else None
    return None


def ratio_file(machine: str) -> Path:
    """Where the measurement of a machine is kept."""
    return cache_folder() / "bfloat16" / f"{sha256(machine.encode()).hexdigest()[:32]}.json"


@cache  # for as long as this process lives where the disk keeps nothing
def _measured(machine: str) -> float:
    """Measured, kept and told; of several processes that measure at once the first is believed."""
    found, how = measured_ratio(), "once for this machine"
    if (others := load_ratio(machine)) is not None:
        return others
    try:
        write_whole(ratio_file(machine), json.dumps({"machine": machine, "bfloat16": found}, indent=2) + "\n")
    except (CannotWrite, InputError) as fault:
        how = f"for this time ({fault})"
    if is_main_process():
        chosen = "bfloat16" if found >= LEAST else "float32"
        said = "measured %s: bfloat16 is %.1f times as fast as float32 here, so networks compute in %s"
        logging.getLogger(__name__).info(said, how, found, chosen)
    return found


def measured_ratio() -> float:
    """How many times as fast as in float32 a few convolutions are in bfloat16, forward and backward: the median over
    rounds of both, which take turns to be first. On one thread, since two wait for each other on a busy machine."""
    with on_one_thread(), torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        works = {dtype: [_convolution(shape, dtype) for shape in CONVOLUTIONS] for dtype in (FLOAT32, BFLOAT16)}
        for work in works.values():  # oneDNN writes its kernels at the first call
            _seconds(work)
        ratios: list[float] = []
        begun = time.perf_counter()
        while len(ratios) < 3 or (len(ratios) < MOST_ROUNDS and time.perf_counter() - begun < SECONDS):
            order = (FLOAT32, BFLOAT16) if len(ratios) % 2 else (BFLOAT16, FLOAT32)
            seconds = {dtype: _seconds(works[dtype]) for dtype in order}
            ratios.append(seconds[FLOAT32] / seconds[BFLOAT16])
    return median(ratios)


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Torch computes on the calling thread alone, and afterwards on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _convolution(shape: tuple[int, int, int], dtype: torch.dtype) -> Callable[[], object]:
    """One of weights in float32 that are cast each time, as a network's are, and its gradients."""
    batch, channels, side = shape
    made = partial(torch.randn, generator=torch.Generator("cpu").manual_seed(0), dtype=FLOAT32, device="cpu")
    x, upstream = (made(batch, channels, side, side).to(dtype, memory_format=torch.channels_last) for _ in range(2))
    weights = made(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()

    def both_ways() -> object:
        return torch.autograd.grad(F.conv2d(x, weights.to(dtype), padding=1), (x, weights), upstream)

    x.requires_grad_()
    return both_ways


def _seconds(work: Sequence[Callable[[], object]]) -> float:
    """That this thread computes for, whoever else does meanwhile."""
    begun = time.thread_time()
    for action in work:
        action()
    return time.thread_time() - begun
