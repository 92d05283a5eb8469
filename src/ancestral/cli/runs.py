"""`ancestral runs`: the runs in a folder, in what state they are and what was measured of them. Loads no torch."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from ancestral.cli.options import Options
from ancestral.cli.output import tell, tell_json
from ancestral.errors import InputError
from ancestral.run_states import RunState, find_runs, state_of

ABOUT = """\
List the runs in FOLDER and below it: what each is doing, how far it has come, and its last numbers.

A run is training (another process holds it), stopped (the same command goes on), finished, or damaged.
"""
EXAMPLES = ("ancestral runs", "ancestral runs ~/experiments --json")
HEADERS = ("run", "state", "steps", "images", "loss", "bits/dim", "Fréchet", "size", "changed")


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = Options("ancestral runs", "[FOLDER]", ABOUT, EXAMPLES)
    options.option("folder", nargs="?", default="runs", metavar="FOLDER", help="where to look [runs]")
    options.option("--json", action="store_true", help="print the list as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    found = options.words(argv)
    folder = Path(found.folder)
    if not folder.is_dir():
        raise InputError(
            f"expected a folder with runs in it, got {folder}, which is none; `ancestral train` makes runs"
        )
    states = [state_of(path) for path in find_runs(folder)]
    if found.json:
        tell_json([state._asdict() for state in states])
    else:
        show(states, folder)
    return 0


def show(states: Sequence[RunState], folder: Path) -> None:
    """The runs as a table that is never cut; what is damaged says how."""
    rows = [HEADERS, *map(cells, states)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADERS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    tell(*(lines if states else [f"no runs in {folder}"]))


def cells(state: RunState) -> list[str]:
    """What the table says of a run, in the order of `HEADERS`."""
    numbers = [state.loss, state.bits_per_dim, state.frechet]
    changed = datetime.fromtimestamp(state.changed, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    fault = f" ({state.fault})" if state.fault else ""
    return [
        state.run,
        state.state + fault,
        "" if state.steps is None else f"{state.steps:,}",
        "" if state.images is None else f"{state.images:,}",
        *("" if number is None else f"{number:.4g}" for number in numbers),
        state.size,
        changed,
    ]
