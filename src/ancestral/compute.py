"""How a machine is used for one network: what the settings leave open is decided here, once, for training and drawing.

What the user sets comes first, then what `ancestral tune` measured of this network on this machine, then what is right
on most. No choice changes what is computed beyond rounding. Choices belong to a machine: a pipeline folder has none.
"""

import json
import os
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch

from ancestral.config import ComputeSettings, ImageSpec, NetworkSettings, PositiveInt, Settings, parse
from ancestral.errors import InputError
from ancestral.files import cache_folder, write_whole
from ancestral.machine import processor


class Choices(Settings):
    """Every choice made. The fields are those of `ComputeSettings`."""

    precision: Literal["float32", "bfloat16"] = "float32"
    memory: Literal["channels-last", "channels-first"] = "channels-last"
    compile: Literal["no", "blocks", "whole", "graphs"] = "no"
    threads: PositiveInt | None = None
    """None: as many as torch chose, and on a GPU."""
    micro_batch: PositiveInt | None = None
    """None: the whole batch."""
    chunk: PositiveInt = 64
    guidance: Literal["one-call", "two-calls"] = "one-call"

    @property
    def memory_format(self) -> torch.memory_format:
        """Torch's name for the order in memory."""
        return torch.channels_last if self.memory == "channels-last" else torch.contiguous_format

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """The network's precision on a device, for a `with` statement."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def overlaid(self, settings: ComputeSettings) -> "Choices":
        """These choices, under whatever the user has set."""
        given = {name: value for name, value in settings.model_dump().items() if value not in ("auto", None)}
        return self.model_copy(update=given)


def decided(settings: ComputeSettings, network: NetworkSettings, spec: ImageSpec, device: torch.device) -> Choices:
    """All choices for a network on this machine."""
    return (recalled(network, spec, device) or usual(device)).overlaid(settings)


def usual(device: torch.device) -> Choices:
    """What is right on most machines, as `benchmarks/choices.py` measures."""
    precision: Literal["float32", "bfloat16"] = "bfloat16" if computes_in_bfloat16(device.type) else "float32"
    if device.type == "cpu":
        return Choices(precision=precision)
    return Choices(precision=precision, compile="whole", chunk=512)


def computes_in_bfloat16(device: str) -> bool:
    """Whether bfloat16 is the machine's fast path: matrix units of the CPU (AMX), or a GPU that has it."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and torch.cpu._is_amx_tile_supported()


def machine_name(device: torch.device) -> str:
    """What computes, how wide, and by which torch: choices measured under one name say nothing of another."""
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor()}, {os.cpu_count()} cores"
    return f"{what}, torch {torch.__version__}"


def recalled(network: NetworkSettings, spec: ImageSpec, device: torch.device) -> Choices | None:
    """What was measured of this network on this machine; None where nothing was, or the file is no longer readable."""
    try:
        return parse(Choices, json.loads(tuned_file(network, spec, device).read_text())["choices"], "the tuned choices")
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def remember(choices: Choices, network: NetworkSettings, spec: ImageSpec, device: torch.device) -> Path:
    """Keeps what was measured, for every run and every drawing of this network on this machine; the file.

    Raises:
        CannotWrite: the cache cannot be written.
    """
    file = tuned_file(network, spec, device)
    about = {"machine": machine_name(device), "network": network.model_dump(), "images": spec.shape}
    write_whole(file, json.dumps({**about, "choices": choices.model_dump()}, indent=2) + "\n")
    return file


def tuned_file(network: NetworkSettings, spec: ImageSpec, device: torch.device) -> Path:
    """Where the choices for this network on this machine are kept."""
    key = json.dumps([machine_name(device), device.type, network.model_dump(mode="json"), spec.shape])
    return cache_folder() / "tuned" / f"{sha256(key.encode()).hexdigest()[:32]}.json"
