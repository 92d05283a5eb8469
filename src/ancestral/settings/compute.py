"""Settings of the use of a machine."""

from __future__ import annotations

from typing import Literal

from ancestral.settings.base import NumImages, Settings, Threads


class ComputeSettings(Settings):
    """How the machine is used, which changes nothing beyond rounding. Left open, `ancestral tune`'s measurements of
    this network on this machine decide, or without them what is right on most machines."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the network's products. auto: bfloat16 where the machine computes in it (AMX, CUDA), else float32."""
    compile: Literal["auto", "no", "whole"] = "auto"
    """Compile the network for training (no; whole on CUDA)."""
    threads: Threads | None = None
    """Threads to compute with on a CPU."""
    micro_batch: NumImages | None = None
    """Images of a batch that are computed at once: fewer take less memory, the gradient is the same (the whole)."""
    chunk: NumImages | None = None
    """Images generated at once (64; 512 on CUDA)."""
