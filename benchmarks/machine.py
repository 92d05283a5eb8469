"""What the numbers were measured on."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from ancestral.training.loss import computes_in_bfloat16


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
        _processor(), os.cpu_count() or 1, torch.get_num_threads(), _memory_gib(), gpu, computes_in_bfloat16(device()),
        platform.python_version(), torch.__version__,
    )  # fmt: skip


def _processor() -> str:
    return _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def _memory_gib() -> float:
    return round(int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20, 1)


def _field(file: str, name: str) -> str | None:
    """The first `name: value` of one of Linux's text files; None elsewhere."""
    path = Path(file)
    found = re.search(rf"^{name}\s*:\s*(.+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return found[1] if found else None
