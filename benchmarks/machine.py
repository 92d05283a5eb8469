"""What the numbers were measured on."""

import os
import platform
import re
from dataclasses import dataclass

import torch

from ancestral.machine import cpu_field, processor


@dataclass(frozen=True)
class Machine:
    """The machine as the benchmarks see it."""

    processor: str
    cores: int
    threads: int
    memory_gib: float
    gpu: str | None
    products: str
    """What it multiplies fastest with: amx, avx512-bf16, bf16 (a GPU's) or f32."""
    python: str
    torch: str

    @property
    def slug(self) -> str:
        """A file name for it: what computes, and how wide."""
        name = self.gpu or f"{re.sub(r'[(](R|TM)[)]|CPU|@.*', '', self.processor)} {self.cores} cores"
        return re.sub(r"[^a-z0-9]+", "-", f"{name} {self.products}".lower()).strip("-")


def device() -> str:
    """cuda where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def products() -> str:
    """The `products` of this machine, whatever it is told to compute in."""
    if device() == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "f32"
    if torch.cpu._is_amx_tile_supported():
        return "amx"
    return "avx512-bf16" if torch.cpu._is_avx512_bf16_supported() else "f32"


def precisions() -> list[str]:
    """What it has instructions for: float32, and bfloat16 or not."""
    return ["float32"] if products() == "f32" else ["float32", "bfloat16"]


def machine() -> Machine:
    """The machine this process runs on."""
    gpu = torch.cuda.get_device_name() if device() == "cuda" else None
    return Machine(
        processor(), os.cpu_count() or 1, torch.get_num_threads(), _memory_gib(), gpu, products(),
        platform.python_version(), torch.__version__,
    )  # fmt: skip


def _memory_gib() -> float:
    return round(int((cpu_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20, 1)
