"""What the verbs say: results on stdout, the rest on stderr; texts that are never taken for markup."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase, UnsupportedOperation
from typing import TYPE_CHECKING, Any

from ancestral.text import printable, printable_lines
from ancestral.training.logs import finite

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def say(text: str) -> None:
    """A line for people, on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def tell(*lines: str) -> None:
    """Lines of the result, on stdout; a name that holds the end of a line is still on one."""
    print("\n".join(map(printable, lines)), flush=True)


def tell_json(value: Any) -> None:
    """One JSON value on one line of stdout."""
    tell(json.dumps(finite(value), allow_nan=False))


class UnfailingStream(TextIOBase):
    """Writes to `stream` for as long as it can be written to, and from then on to nowhere; `gone`: whether that is so,
    because a pipe or a terminal was closed. Then work ends as its verb decides.
    """

    def __init__(self, stream: Any) -> None:
        self.stream, self.gone = stream, False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def write(self, text: str) -> int:
        self._tried(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._tried(self.stream.flush)

    def _tried(self, work: Callable[[], object]) -> None:
        try:
            work()
        except OSError:
            self.gone = True
            write_nowhere(self.stream)


def write_nowhere(stream: Any) -> None:
    """What is still written to a stream that is closed at its other end, and what is buffered in it, is dropped."""
    try:
        number = stream.fileno()
    except UnsupportedOperation:
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


@contextmanager
def until_unread() -> Iterator[UnfailingStream]:
    """Stdout and stderr that fail nobody who writes to them; the former, which knows whether it is still read."""
    out = UnfailingStream(sys.stdout)
    with redirect_stdout(out), redirect_stderr(UnfailingStream(sys.stderr)):
        yield out


def console(stderr: bool) -> "Console":
    """Rich's console on stdout or stderr, which neither colours numbers nor reads [markup]."""
    from rich.console import Console
    from rich.segment import Segment

    class Screen(Console):
        def render(self, renderable: Any, options: Any = None) -> "Iterator[Segment]":
            """The pieces of text to show: control characters but its own are escaped."""
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else printable_lines(text), style, control)

        def on_broken_pipe(self) -> None:
            """Goes on with the BrokenPipeError that is being handled, as `print` does; rich ends the process."""
            raise

    return Screen(stderr=stderr, markup=False, highlight=False, soft_wrap=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    from rich import box
    from rich.table import Table

    made = Table(*headers, box=box.SIMPLE)
    for row in rows:
        made.add_row(*row)
    return made


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


def rounded(value: float, error: float | None) -> str:
    """A value with its standard error, where there is one, to the error's second digit."""
    if not error:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 6:  # with an exponent
        return f"{value:.2g} ± {error:.1g}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"
