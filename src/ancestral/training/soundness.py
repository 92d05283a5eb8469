"""Whether training can go on from a checkpoint whose files are whole.

A manifest vouches for bytes, not for sense. A tensor of another shape may broadcast in silence, a moment that is
missing breaks at the next step, a counter out of range moves the run to another place of its own randomness. So names,
shapes, types and counters are held against the network and the optimiser that are to go on.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from safetensors import SafetensorError
from torch import Tensor

from ancestral.errors import InputError
from ancestral.files import read_json
from ancestral.settings import Settings, parse
from ancestral.training.checkpoint import Tensors, tensor_files, tensors_in

WholeNumber = Annotated[int, Field(ge=0, lt=2**53, strict=True)]


class Counters(Settings):
    """The `state.json` of a checkpoint; of a newer version it may say more, of the first one it says less."""

    model_config = ConfigDict(extra="ignore")

    step: WholeNumber
    images: WholeNumber
    seconds: Annotated[float, Field(ge=0, lt=1e12, strict=True)]
    ema_updates: WholeNumber
    skipped: WholeNumber
    skipped_in_a_row: WholeNumber = 0
    rollbacks: Annotated[WholeNumber, Field(le=2**20)] = 0
    window: Annotated[list[Annotated[float, Field(strict=True)]], Field(min_length=10, max_length=10)]
    good_step: WholeNumber | None = None
    data: str
    log_bytes: WholeNumber

    @model_validator(mode="after")
    def _fit_together(self) -> "Counters":
        for name in ("ema_updates", "skipped", "good_step"):
            if (getattr(self, name) or 0) > self.step:
                raise ValueError(f"expected at most step = {self.step} for {name}, got {getattr(self, name)}")
        if self.skipped_in_a_row > self.skipped:
            raise ValueError(f"expected at most skipped = {self.skipped}, got {self.skipped_in_a_row} in a row")
        return self


def unsound(batch_size: int, expected: Callable[[int], Tensors], folder: Path) -> str | None:
    """Why training cannot go on from a checkpoint whose files are whole, or None; `expected`: tensors like those that
    are to be there after a number of steps. One tensor is read at a time.
    """
    try:
        counters = parse(Counters, read_json(folder / "state.json"), "state.json")
    except InputError as fault:
        return str(fault)
    counted = (int(folder.name.rpartition("-")[2]), counters.step * batch_size)
    if (counters.step, counters.images) != counted:
        return f"state.json says step {counters.step} and {counters.images} images, not {counted[0]} and {counted[1]}"
    wanted, groups = expected(counters.step), tensor_files(folder)
    if groups.keys() != wanted.keys():
        return f"it holds {', '.join(sorted(groups)) or 'no tensors'}, not {', '.join(sorted(wanted))}"
    try:
        faults = (_misfit(tensors_in(paths), wanted[group]) for group, paths in groups.items())
        moments = (_moment_fault(counters.step, *moment) for moment in tensors_in(groups["optimizer"]))
        return next((fault for fault in chain(faults, moments) if fault is not None), None)
    except (OSError, RuntimeError, SafetensorError) as fault:
        return str(fault)


def _misfit(found: Iterable[tuple[str, Tensor]], wanted: Mapping[str, Tensor]) -> str | None:
    """How tensors differ from those of a network or an optimiser in name, shape or type, or what in them is no number;
    None: not at all. Infinity is a number where `wanted` holds one.
    """
    missing = set(wanted)
    for name, tensor in found:
        if name not in wanted:
            return f"it holds {name}, which nothing here is called"
        missing.remove(name)
        like = wanted[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            return f"{name} is {_kind(tensor)}, not {_kind(like)}"
        may_be_infinite = not like.is_meta and bool(like.isinf().any())
        if bool(tensor.isnan().any() if may_be_infinite else (~tensor.isfinite()).any()):
            return f"{name} is not finite"
    return f"{min(missing)} is missing" if missing else None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"


def _moment_fault(steps: int, name: str, moment: Tensor) -> str | None:
    """Why so many steps cannot have left a tensor of the optimiser as it is, or None."""
    kind = name.rpartition(".")[2]
    if kind == "exp_avg_sq" and bool((moment < 0).any()):
        return f"{name} is a mean of squares and negative"
    if kind == "step" and not (0 <= float(moment) <= steps and float(moment).is_integer()):
        return f"{name} counts {float(moment):g} of {steps} steps"
    return None
