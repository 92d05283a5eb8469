"""What the verbs say: results on stdout, the rest on stderr; texts that are never taken for markup."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase, UnsupportedOperation
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ancestral.text import printable
from ancestral.training.logs import finite

if TYPE_CHECKING:
    from rich.console import Console

    from ancestral.data.listing import LeftOut

LISTED = 5
"""Bad files that a warning names."""


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
    """Writes to `stream` for as long as it can be written to, and from then on to nowhere; `gone`: whether that is so.

    So work whose output nobody reads any more, because a pipe or a terminal was closed, ends as its verb decides.
    """

    def __init__(self, stream: Any) -> None:
        self.stream, self.gone = stream, False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return self.stream.encoding

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Its descriptor."""
        return self.stream.fileno()

    def write(self, text: str) -> int:
        """Writes `text` if it can."""
        self._tried(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Hands over what is buffered if it can."""
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
    from ancestral.cli.screen import Screen

    return Screen(stderr=stderr, markup=False, highlight=False, soft_wrap=True)


@runtime_checkable
class Warned(Protocol):
    """What there is to say of images that were read."""

    @property
    def bad(self) -> tuple[tuple[str, str], ...]: ...
    @property
    def left_out(self) -> "tuple[LeftOut, ...]": ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def warn_of_data(images: Warned, source: str) -> None:
    """How the images were read where they can be read otherwise, and what is not used."""
    from ancestral.data.listing import BY_A_SYSTEM, by_reason

    for note in images.notes:
        say(f"ancestral: note: {note}")
    warn_of_bad_files(images.bad, source)
    left_out = by_reason(each for each in images.left_out if each.reason != BY_A_SYSTEM)
    if left_out:
        words = "; ".join(f"{reason}: {suffixes}" for reason, suffixes in left_out.items())
        say(f"ancestral: note: left out of {printable(source)}: {words}")


def warn_of_bad_files(bad: Sequence[tuple[str, str]], source: str) -> None:
    """How many files could not be used, and the first of them."""
    if not bad:
        return
    first = "; ".join(f"{name} {reason}" for name, reason in bad[:LISTED])
    more = f"; ... `ancestral data check {shlex.quote(source)}` lists them all" if len(bad) > LISTED else ""
    files = "1 file" if len(bad) == 1 else f"{len(bad)} files"
    say(f"ancestral: warning: {files} cannot be used: {first}{more}")


def warn_of_classes(untrained: Sequence[str]) -> None:
    """The classes that a network is to generate and never sees."""
    if untrained:
        more = " ..." if len(untrained) > LISTED else ""
        names = ", ".join(untrained[:LISTED]) + more
        classes = "1 class" if len(untrained) == 1 else f"{len(untrained)} classes"
        say(f"ancestral: warning: no image to train on in {classes}, which cannot be learned: {names}")


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
