"""This machine and this process: what computes here, how threads wait for one another, who keeps freed memory."""

import ctypes
import gc
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # where Linux says what a container may use


def started_together() -> bool:
    """Whether a launcher, such as torchrun, has told this process its place among others, by its environment."""
    return all(os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def is_main_process() -> bool:
    """Whether this process speaks for all that a launcher started; one alone does."""
    return not started_together() or os.environ["RANK"] == "0"


def processor() -> str:
    """The processor's name, as the operating system tells it."""
    return cpu_field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def cpu_field(file: str, name: str) -> str | None:
    """The first `name: value` of one of Linux's text files; None elsewhere."""
    path = Path(file)
    found = re.search(rf"^{name}\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return found[1] if found else None


def usable_cores() -> int:
    """Cores that this process may keep busy: those it may run on, and no more than its container's share of time."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return max(1, min(cores, ceil(int(quota) / int(period))))
    return cores


def free_memory() -> int | None:
    """Bytes that this process can still have of the machine and of its container; None where nobody says.

    Of the container: its limit less what is in use and cannot be dropped, as a cache of files can.
    """
    free: list[int] = []
    with suppress(ValueError, OSError):
        found = cpu_field("/proc/meminfo", "MemAvailable")
        pages = 0 if found else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        free.append(1024 * int(found.split()[0]) if found else pages)
    with suppress(OSError, ValueError, KeyError):
        limit = (CGROUP / "memory.max").read_text().strip()
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        if limit != "max":
            free.append(max(0, int(limit) - int(stat["anon"])))
    return min(free, default=None)


def share_the_cores() -> None:
    """Threads that wait for one another soon leave their core, unless the user has said how they are to wait: GNU's
    OpenMP lets them spin for milliseconds, ruinous on a busy machine. It reads this when torch is first imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def keep_freed_memory() -> bool:
    """Tells glibc to keep what is freed for the next tensor of that size; whether this process has such an allocator.

    Left alone it hands every large tensor back to the system, and the next one is a hundred thousand page faults away:
    they cost a training step at 28x28 about a tenth of its time. Peak memory grows by a hundredth or two.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt, trim_threshold, mmap_threshold = ctypes.CDLL(None).mallopt, -1, -3  # as in glibc's malloc.h
    return bool(mallopt(mmap_threshold, 2**30) and mallopt(trim_threshold, 2**31 - 1))


@contextmanager
def loading() -> Iterator[None]:
    """A `with` statement that imports: what modules make stays, and to look for garbage in it takes a fifth of the
    time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # these two move all there is to the oldest generation, without a look at it
        if was_enabled:
            gc.enable()
