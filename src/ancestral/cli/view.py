"""A job seen from the command line: a bar for its progress, its notes on stderr, its files, its result."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

from ancestral.cli.output import counting, say, tell, tell_json
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.machine import is_main_process

Job = Generator[Event, None, None]


class JobOutcome(NamedTuple):
    """What a job has left: the files it wrote, in order, and its result; only the main process has any."""

    files: list[Path]
    result: ResultEvent | None


def watch(events: Job, partly: Callable[[ResultEvent], None] = lambda result: None) -> JobOutcome:
    """Runs a job to its end. Of several processes, the main one speaks for all.

    Args:
        partly: shows what was finished of a job that is interrupted, where it tells that.
    """
    files, result = list[Path](), None
    try:
        with main_process_speaks(), counting() as counted:
            for event in events:
                match event:
                    case ProgressEvent(what, done, total):
                        counted(what, done, total)
                    case NoteEvent(text):
                        say(text)
                    case FileEvent(file):
                        files.append(file)
                    case ResultEvent():
                        result = event
    except KeyboardInterrupt as stop:
        if (finished := result or _interrupted(events, stop)) is not None:
            partly(finished)
        raise
    return JobOutcome(files, result)


def show_files(job: Job, as_json: bool) -> None:
    """Runs a job that writes files, and prints them, also where it is interrupted, and the numbers that it measured."""

    def show(result: ResultEvent) -> None:
        files, numbers = result.tree["files"], result.value if isinstance(result.value, dict) else {}
        if as_json:
            tell_json(result.tree)
        elif files:
            tell(*files, *(_line(*number) for number in numbers.items()))

    if (result := watch(job, show).result) is not None:
        show(result)


def show_result(
    job: Job, as_json: bool, show: Callable[[ResultEvent], None] = lambda result: None
) -> ResultEvent | None:
    """Runs a job, and prints its result: as JSON, or by `show`, and the files it wrote after that.

    Returns:
        The result, which only the main process has.
    """
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


def _interrupted(events: Job, stop: KeyboardInterrupt) -> ResultEvent | None:
    """What a job tells that was interrupted between two events; one that the signal met inside has told already."""
    with suppress(KeyboardInterrupt):
        event = events.throw(stop)
        return event if isinstance(event, ResultEvent) else None
    return None


@contextmanager
def main_process_speaks() -> Iterator[None]:
    """Whatever another process says is dropped."""
    with ExitStack() as stack:
        if not is_main_process():
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield
