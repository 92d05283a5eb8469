"""The work of `ancestral tune`: the pipeline that is measured, what is shown meanwhile, the table, what is stored."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.table import Table

from ancestral import compute
from ancestral.cli.output import console, counting, say, tell, tell_json
from ancestral.data.datasets import loading
from ancestral.jobs.running import device_named
from ancestral.machine import usable_cores
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.settings import ComputeSettings, Config, ImageSpec, NetworkSettings
from ancestral.tuning import Trial, Tuning, tuner
from ancestral.tuning.choosing import TOGETHER, shown

BUSY = 0.5
"""Load for each core, above which other work is in the way."""


def pipeline_of(source: Path | Config, settings: ComputeSettings, device_name: str | None) -> Pipeline:
    """The pipeline in a folder, or a new one for the images that the settings name.

    Raises:
        InputError: no pipeline or no images there, or no such device.
    """
    on = device_named(device_name)
    if isinstance(source, Path):
        return Pipeline.load(source, on, settings)
    with counting() as counted:
        parts = finish(loading(source.data), counted)
    return Pipeline.fresh(source, parts.train.spec, on)


def tune(pipeline: Pipeline, minutes: float, compiling: bool, store: bool, as_json: bool) -> int:
    """Measures, stores what was found and says what it is; the exit code."""
    say(f"measuring on {compute.machine_name(pipeline.device)}, for {minutes:g} minutes or little more")
    if (load_now := os.getloadavg()[0]) > BUSY * usable_cores():
        say(f"ancestral: warning: this machine is busy (load {load_now:.1f}): what is found holds where it stays so")
    with telling() as told:
        found = tuner.tune(pipeline, minutes, told, compiling)
    file = compute.save_tuned(found.choices, *_key(pipeline)) if store else None
    if as_json:
        tell_json(as_tree(found, pipeline, file))
        return 0
    console(stderr=False).print(table(found))
    tell(*speeds(found), outcome(found))
    tell(f"stored in {file}" if file else "nothing is stored (--dry-run)")
    return 0


def forget(pipeline: Pipeline, as_json: bool) -> int:
    """Takes what is stored for the pipeline away; the exit code."""
    file, there = compute.tuned_file(*_key(pipeline)), compute.remove_tuned(*_key(pipeline))
    if as_json:
        tell_json({"forgotten": str(file) if there else None})
    else:
        tell(f"took away {file}: the usual choices count" if there else "nothing was stored: the usual choices count")
    return 0


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """A function that shows what is being measured: a line that moves on a terminal, plain lines elsewhere."""
    to = console(stderr=True)
    if not to.is_terminal:
        yield to.print
        return
    with to.status("preparing ...") as status:
        yield status.update


def table(found: Tuning) -> Table:
    """All comparisons, in their order."""
    made = Table("choice", "tried", "against", "speed", "pairs", "", box=box.SIMPLE)
    for comparison in found.comparisons:
        made.add_row(*row(comparison))
    return made


def row(comparison: Trial) -> list[str]:
    """A comparison as the table has it."""
    choice = f"all, {comparison.work}" if comparison.choice == TOGETHER else comparison.choice
    names = [choice, shown(comparison.candidate), shown(comparison.best)]
    if comparison.outcome is None:
        return [*names, "", "", comparison.note]
    ratio, pairs = comparison.outcome.ratio, len(comparison.outcome.ratios)
    return [*names, f"{ratio:.2f} x", str(pairs), "taken" if comparison.taken else comparison.note or "not taken"]


def speeds(found: Tuning) -> list[str]:
    """Images per second, before and after."""
    return [
        f"{work}: {speed.after:,.1f} images/s, with the usual choices {speed.before:,.1f}"
        for work, speed in found.speeds.items()
    ]


def outcome(found: Tuning) -> str:
    """The choices that are not the usual ones."""
    usual = found.usual.model_dump()
    other = [f"{name} {value}" for name, value in found.choices.model_dump().items() if value != usual[name]]
    return f"chosen: {', '.join(other)}" if other else "the usual choices are the fastest"


def as_tree(found: Tuning, pipeline: Pipeline, file: Path | None) -> dict[str, Any]:
    """What --json prints."""
    return {
        "machine": compute.machine_name(pipeline.device),
        "usual": found.usual.model_dump(),
        "choices": found.choices.model_dump(),
        "comparisons": [_comparison_tree(comparison) for comparison in found.comparisons],
        "images_per_second": {work: vars(speed) for work, speed in found.speeds.items()},
        "stored": str(file) if file else None,
    }


def _comparison_tree(comparison: Trial) -> dict[str, Any]:
    ratios = comparison.outcome.ratios if comparison.outcome else []
    ratio = comparison.outcome.ratio if comparison.outcome else None
    told = {name: value for name, value in vars(comparison).items() if name != "outcome"}
    return {**told, "ratio": ratio, "ratios": ratios}


def _key(pipeline: Pipeline) -> tuple[NetworkSettings, ImageSpec, torch.device]:
    """What choices are stored under."""
    return pipeline.config.network, pipeline.spec, pipeline.device
