"""What the numbers were measured on."""

import os
import platform
import re
from dataclasses import dataclass

import torch

from ancestral.compute import computes_in_bfloat16
from ancestral.machine import cpu_field, processor


@dataclass(frozen=True)
class Machine:
    """The machine as the benchmarks see it."""

    processor: str
    cores: int
    threads: int
    memory_gib: float
    gpu: str | None
    bfloat16: bool
    """Whether bfloat16 is its fast path."""
    python: str
    torch: str

    @property
    def slug(self) -> str:
        """A file name for it: what computes, and how wide."""
        name = self.gpu or f"{re.sub(r'[(](R|TM)[)]|CPU|@.*', '', self.processor)} {self.cores} cores"
        return re.sub(r"[^a-z0-9]+", "-", f"{name} {'bf16' if self.bfloat16 else 'f32'}".lower()).strip("-")


def device() -> str:
    """cuda where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def machine() -> Machine:
    """The machine this process runs on."""
    gpu = torch.cuda.get_device_name() if device() == "cuda" else None
    return Machine(
        processor(), os.cpu_count() or 1, torch.get_num_threads(), _memory_gib(), gpu, computes_in_bfloat16(device()),
        platform.python_version(), torch.__version__,
    )  # fmt: skip


def _memory_gib() -> float:
    return round(int((cpu_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20, 1)
