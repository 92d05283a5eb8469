"""`ancestral runs`: the runs in a folder, in what state they are and what was measured of them. Loads no torch."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from ancestral.cli.job_options import asked
from ancestral.cli.output import tell, tell_json
from ancestral.errors import InputError
from ancestral.jobs.settings import Typed
from ancestral.run_states import RunState, find_runs, state_of
from ancestral.settings import Settings

ABOUT = """\
List the runs in FOLDER and below it: what each is doing, how far it has come, and its last numbers.

A run is training (another process holds it), stopped (the same command goes on), finished, or damaged.
"""
EXAMPLES = ("ancestral runs", "ancestral runs ~/experiments --json")
HEADERS = ("run", "state", "steps", "images", "loss", "bits/dim", "Fréchet", "PSNR", "size", "changed")


class RunsSettings(Settings):
    """What `runs` is asked."""

    folder: Annotated[Path, Typed("FOLDER", nargs="?")] = Path("runs")
    """where to look [runs]"""


def run(argv: Sequence[str]) -> None:
    job, as_json = asked(argv, "runs [FOLDER]", ABOUT, EXAMPLES, RunsSettings)
    if not job.folder.is_dir():
        raise InputError(f"expected a folder with runs in it, got {job.folder}; `ancestral train` makes runs")
    states = [state_of(path) for path in find_runs(job.folder)]
    if as_json:
        tell_json([state._asdict() for state in states])
    else:
        tell(*table(states) if states else [f"no runs in {job.folder}"])


def table(states: Sequence[RunState]) -> list[str]:
    """The lines of a table that is never cut; what is damaged says how."""
    rows = [HEADERS, *map(cells, states)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def cells(state: RunState) -> list[str]:
    """What the table says of a run, in the order of `HEADERS`."""
    counts = (state.steps, state.images)
    numbers = (state.loss, state.bits_per_dim, state.frechet, state.psnr)
    return [
        state.run,
        f"{state.state} ({state.fault})" if state.fault else state.state,
        *("" if count is None else f"{count:,}" for count in counts),
        *("" if number is None else f"{number:.4g}" for number in numbers),
        state.size,
        datetime.fromtimestamp(state.changed, UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
    ]
