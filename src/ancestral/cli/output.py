"""What the verbs say: results on stdout, the rest on stderr; texts that are never taken for markup."""

import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ancestral.text import printable_lines

if TYPE_CHECKING:
    from rich.console import Console

LISTED = 5
"""Bad files that a warning names."""


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(printable_lines(text), file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """A line of the result, on stdout."""
    print(printable_lines(text), flush=True)


def tell_json(value: Any) -> None:
    """One JSON value on one line of stdout."""
    tell(json.dumps(finite(value), allow_nan=False))


def finite(value: Any) -> Any:
    """`value` with null for what JSON has no number for: infinities and NaN."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def console(stderr: bool) -> "Console":
    """Rich's console on stdout or stderr, which neither colours numbers nor reads [markup]."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, soft_wrap=True)


def warn_of_bad_files(bad: Sequence[tuple[str, str]], source: str) -> None:
    """How many files could not be used, and the first of them."""
    if not bad:
        return
    first = "; ".join(f"{name} {reason}" for name, reason in bad[:LISTED])
    more = f"; ... `ancestral data check {shlex.quote(source)}` lists them all" if len(bad) > LISTED else ""
    files = "1 file" if len(bad) == 1 else f"{len(bad)} files"
    say(f"ancestral: warning: {files} cannot be used: {first}{more}")


@contextmanager
def counting() -> Iterator[Callable[[str, int, int], None]]:
    """A function (what is being done, how much is done, of how much) that draws a bar on a terminal, else nothing."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    to = console(stderr=True)
    with Progress(*columns, console=to, transient=True, disable=not to.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield show
