"""How a machine is used for one network: what the settings leave open is decided here, once, for all that computes.

What the user sets comes first, then what `ancestral tune` measured of this network on this machine, then what is right
on most. No choice changes what is computed beyond rounding. Choices belong to a machine: a pipeline folder has none.
"""

import json
import os
import time
from contextlib import AbstractContextManager, suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from ancestral import bfloat16, native
from ancestral.errors import CannotWrite, InputError
from ancestral.files import cache_folder, read_json, write_whole
from ancestral.machine import processor, usable_cores
from ancestral.migrations import choices as migrated
from ancestral.names import meant
from ancestral.settings import ComputeSettings, ImageSpec, NetworkSettings, NumImages, Settings, Threads, parse

CPU = torch.device("cpu")
TORCHS_THREADS = torch.get_num_threads()  # what torch computes with unless told otherwise
LEAST_SIDE = 16  # pixels, from which vector units for bfloat16 pay; a step on 8x8 takes as long in either precision

PrecisionName = Literal["float32", "bfloat16"]
EngineName = Literal["torch", "onnxruntime", "openvino"]
ENGINES: tuple[EngineName, ...] = ("openvino", "onnxruntime")
"""Beside torch. Each is the name of its package and of our extra, which has the package onnx as well."""


class Choices(Settings):
    """Every choice made. The fields are those of `ComputeSettings`."""

    precision: PrecisionName = "float32"
    compile: Literal["no", "whole"] = "no"
    threads: Threads | None = None  # None: `TORCHS_THREADS`, and on a GPU
    micro_batch: NumImages | None = None  # None: the whole batch
    chunk: NumImages = 64
    engine: EngineName = "torch"

    @property
    def engine_precision(self) -> PrecisionName:
        """That of the engine: ONNX Runtime computes in float32 alone."""
        return "float32" if self.engine == "onnxruntime" else self.precision

    @property
    def by_torch(self) -> "Choices":
        """These, but that torch calls the network."""
        return self.model_copy(update={"engine": "torch"})

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """The network's precision on a device, for a `with` statement."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def overlaid(self, settings: ComputeSettings) -> "Choices":
        """These choices, under whatever the user has set."""
        return self.model_copy(update=given(settings))


def given(settings: ComputeSettings) -> dict[str, str | int]:
    """What the user has set, by name."""
    return {name: value for name, value in settings.model_dump().items() if value not in ("auto", None)}


def on_device(name: torch.device | str | None) -> torch.device:
    """The device of that name, if this machine has it; None: CUDA where there is one."""
    device = None
    with suppress(RuntimeError, TypeError):
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name is None else name)
    if device is None or device.type not in ("cpu", "cuda") or (device.type == "cpu" and device.index):
        raise InputError(f"expected a device, cpu or cuda, got {name}; {meant(str(name), ('cpu', 'cuda'))}")
    if device.type == "cuda" and not 0 <= (device.index or 0) < torch.cuda.device_count():
        raise InputError(f"expected a device of this machine, got {name}; it has {torch.cuda.device_count()} for CUDA")
    return device


def resolve(
    settings: ComputeSettings, network: NetworkSettings | None, spec: ImageSpec, device: torch.device
) -> Choices:
    """All choices for a network on this machine. OMP_NUM_THREADS outranks a measured number of threads."""
    if settings.engine != "auto" and settings.engine != "torch":
        check_engine(settings.engine, network, device)
    found = load_tuned(network, spec, device) or defaults(device, spec, measuring=settings.precision == "auto")
    if threads_are_given():
        found = found.model_copy(update={"threads": None})
    if found.engine != "torch" and (
        not is_installed(found.engine) or (found.engine, settings.precision) == ("onnxruntime", "bfloat16")
    ):
        found = found.by_torch
    return found.overlaid(settings)


def check_engine(engine: EngineName, network: NetworkSettings | None, device: torch.device) -> None:
    """Raises InputError where the engine that was asked for cannot call this network here."""
    if device.type != "cpu":
        raise InputError(f"expected compute.engine torch on {device.type}, got {engine}; add --device cpu")
    if network is None:
        raise InputError(f"expected compute.engine torch for a network of one's own, got {engine}; leave it out")
    if not is_installed(engine):
        raise InputError(f"expected {engine} to be installed; run: pip install 'ancestral[{engine}]'")


def is_installed(engine: EngineName) -> bool:
    """Whether an engine beside torch can be used."""
    return all(find_spec(name) is not None for name in (engine, "onnx"))


def in_words(
    choices: Choices, settings: ComputeSettings, network: NetworkSettings | None, spec: ImageSpec, device: torch.device
) -> str | None:
    """How training computes and by whose word, in one line; None where all is as usual."""
    common, asked = defaults(device, spec, measuring=settings.precision == "auto"), given(settings)
    measured = load_tuned(network, spec, device) or common
    phrase_of = {  # that training makes use of
        "precision": f"in {choices.precision}",
        "compile": "uncompiled" if choices.compile == "no" else f"compiled ({choices.compile})",
        "threads": "on one thread" if choices.threads == 1 else f"on {choices.threads} threads",
        "micro_batch": f"{choices.micro_batch} images at a time",
    }
    named: dict[str, list[str]] = {"set": [], "tuned": [], "before": []}
    for name, phrase in phrase_of.items():
        value = getattr(choices, name)
        if value != getattr(common, name):
            word = "set" if name in asked else "tuned" if value == getattr(measured, name) else "before"
            named[word].append(phrase)
    parts = [f"{', '.join(phrases)} (as {word})" for word, phrases in named.items() if phrases]
    return f"computing {', '.join(parts)}" if parts else None


def defaults(device: torch.device, spec: ImageSpec, measuring: bool = True) -> Choices:
    """What is right on most machines, as `benchmarks/choices.py` measures; `measuring` as `computes_in_bfloat16`."""
    in_bfloat16 = computes_in_bfloat16(device.type, min(spec.height, spec.width), measuring)
    cpu = Choices(precision="bfloat16" if in_bfloat16 else "float32")
    return cpu if device.type == "cpu" else cpu.model_copy(update={"compile": "whole", "chunk": 512})


def computes_in_bfloat16(device: str, side: int | None = None, measuring: bool = True) -> bool:
    """Whether bfloat16 is the machine's fast path: a GPU that has it; matrix units of the CPU (AMX); or vector units
    for it (AVX512-BF16), where a measurement says so. Units of the CPU that oneDNN, which computes torch's convolutions
    there, is kept from by its environment do not count.

    Args:
        side: the smaller one of the images, in pixels: below `LEAST_SIDE` vector units gain nothing. None: of any.
        measuring: whether to take half a second where it was never measured; else the answer then is no.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper()
    all_are = allowed in ("ALL", "DEFAULT")
    if (all_are or "AMX" in allowed) and torch.cpu._is_amx_tile_supported():
        return True
    may_use_vectors = all_are or any(unit in allowed for unit in ("AMX", "FP16", "BF16", "AVX10"))
    if not (may_use_vectors and torch.cpu._is_avx512_bf16_supported()) or (side is not None and side < LEAST_SIDE):
        return False
    return bfloat16.is_faster(f"{machine_name(CPU)}, oneDNN up to {allowed}", measuring)


def threads_are_given() -> bool:
    """Whether the environment says how many threads to compute with."""
    return "OMP_NUM_THREADS" in os.environ


def time_on(device: torch.device) -> float:
    """The clock, seconds, once a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def machine_name(device: torch.device) -> str:
    """What computes, how wide, by which torch and with kernels of our own or not: choices measured under one name say
    nothing of another."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    kernels = ", native kernels" if native.compiler() else ""
    return f"{processor()}, {usable_cores()} cores, torch {torch.__version__}{kernels}"


def load_tuned(network: NetworkSettings | None, spec: ImageSpec, device: torch.device) -> Choices | None:
    """What was measured of this network on this machine; None where nothing was, the file is no longer readable, or
    the network is the user's own, of which nothing is kept."""
    if network is None:
        return None
    try:
        return parse(Choices, migrated(read_json(tuned_file(network, spec, device))["choices"]), "the tuned choices")
    except (KeyError, InputError):
        return None


def save_tuned(choices: Choices, network: NetworkSettings, spec: ImageSpec, device: torch.device) -> Path:
    """Stores what was measured, for all that computes with this network on this machine; the file."""
    file = tuned_file(network, spec, device)
    about = {"machine": machine_name(device), "network": network.model_dump(), "images": spec.shape}
    write_whole(file, json.dumps({**about, "choices": choices.model_dump()}, indent=2) + "\n")
    return file


def remove_tuned(network: NetworkSettings, spec: ImageSpec, device: torch.device) -> bool:
    """Removes what was measured; whether there was anything."""
    file = tuned_file(network, spec, device)
    there = file.is_file()
    try:
        file.unlink(missing_ok=True)
    except OSError as fault:
        raise CannotWrite(f"cannot remove {file}: {fault.strerror}") from None
    return there


def tuned_file(network: NetworkSettings, spec: ImageSpec, device: torch.device) -> Path:
    """Where the choices for this network on this machine are kept."""
    parts = [machine_name(device), device.type, network.model_dump(mode="json", exclude={"name"}), spec.shape]
    key = json.dumps(parts if spec.text is None else [*parts, spec.text.model_dump()])
    return cache_folder() / "tuned" / f"{sha256(key.encode()).hexdigest()[:32]}.json"
