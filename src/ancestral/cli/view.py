"""A job seen from the command line: a bar for its progress, its notes on stderr, its files, its result."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from ancestral.cli.output import counting, say, tell, tell_json
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.machine import is_main_process

Job = Generator[Event, None, None]


def watch(
    events: Job, partly: Callable[[ResultEvent], None] = lambda result: None
) -> tuple[list[Path], ResultEvent | None]:
    """The files that a job wrote, in order, and its result, both in the main process alone. Of a job that was stopped
    and tells what was finished, `partly` shows that.
    """
    files, result = list[Path](), None
    try:
        with main_process_speaks(), counting() as counted:
            for event in events:
                match event:
                    case ProgressEvent():
                        counted(*event)
                    case NoteEvent(text):
                        say(text)
                    case FileEvent(file):
                        files.append(file)
                    case ResultEvent():
                        result = event
    except KeyboardInterrupt as stop:
        if result is None:  # of an interruption between two events the job has not told yet
            with suppress(KeyboardInterrupt):
                told = events.throw(stop)
                result = told if isinstance(told, ResultEvent) else None
        if result is not None:
            partly(result)
        raise
    return files, result


def show_files(job: Job, as_json: bool) -> None:
    """Runs a job that writes files, and prints them, also where it is interrupted, and the numbers that it measured."""

    def show(result: ResultEvent) -> None:
        numbers = result.value if isinstance(result.value, dict) else {}
        if as_json:
            tell_json(result.tree)
        elif files := result.tree["files"]:
            tell(*files, *(_line(*number) for number in numbers.items()))

    _, result = watch(job, show)
    if result is not None:
        show(result)


def show_result(
    job: Job, as_json: bool, show: Callable[[ResultEvent], None] = lambda result: None
) -> ResultEvent | None:
    """Runs a job, and prints its result: as JSON, or by `show` and then the files it wrote; the result."""
    files, result = watch(job)
    if result is not None and as_json:
        tell_json(result.tree)
    elif result is not None:
        show(result)
        if files:
            tell(*map(str, files))
    return result


def _line(name: str, value: float | list[float]) -> str:
    numbers = value if isinstance(value, list) else [value]
    return f"{name.replace('_', ' ')} {', '.join(f'{number:.3g}' for number in numbers)}"


@contextmanager
def main_process_speaks() -> Iterator[None]:
    """Whatever another process says is dropped."""
    if is_main_process():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
