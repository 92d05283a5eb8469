"""How training shows itself: two lines that move on a terminal, plain lines elsewhere, and how it ended."""

import signal
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ancestral.cli.output import console, counting, say, tell, tell_json, until_unread
from ancestral.cli.signals import StopRequest, stop_asked
from ancestral.cli.view import Job, main_process_speaks
from ancestral.jobs.events import NoteEvent, ProgressEvent, ResultEvent, StartEvent, StepEvent
from ancestral.text import printable

QUIET_SECONDS = 5.0  # plain lines are at least this far apart, unless they hold a held-out loss or are the last
LOSSES = {"loss": "loss", "held_out_loss": "held-out"}  # numbers of a record, and what they are called


def show_training(
    train: Callable[[Callable[[], bool]], Job], as_json: bool, finish: Callable[[ResultEvent], None], lines: bool = True
) -> int:
    """Trains to the end of the budget, to the first signal, or until nobody reads the output; the exit code. `train` is
    given what tells whether to stop; `finish` shows the result, but for its JSON. `lines`: of a record, as JSON.
    """
    requests: list[StopRequest] = []  # none while there is nothing to save, so that a signal stops at once
    with until_unread() as out, main_process_speaks(), ExitStack() as stack:
        events = train(lambda: out.gone or any(request.signal for request in requests))
        stack.enter_context(closing(events))
        beginning = _begun(events)
        requests.append(stack.enter_context(stop_asked()))
        (say if as_json else tell)(beginning)
        result = _followed(events, as_json, lines)
        if as_json:
            tell_json(result.tree)
        speak = say if as_json or out.gone else tell
        run, number = result.tree["run"], requests[0].signal
        if not result.tree["finished"]:
            why = "nobody reads the output any more: " if out.gone and not number else ""
            after = "" if result.value is None else f" after step {result.value:,}"
            speak(f"{why}stopped and saved{after} in {run}; the same command goes on from there")
            return 128 + (number or (signal.SIGPIPE if out.gone else signal.SIGTERM))
        finish(result)
        return 0


def show_finished(as_json: bool, result: ResultEvent) -> None:
    """What a run has become, in two lines."""
    speak, run, step = say if as_json else tell, result.tree["run"], result.value
    state = "is finished already" if step is None else f"is finished after step {step:,}"
    speak(f"{run} {state}; its pipeline is {result.tree['pipeline']}")
    speak(f"generate with: ancestral sample {run}")


def _begun(events: Job) -> str:
    """Shows all that comes before training; its first line."""
    with counting() as counted:
        for event in events:
            match event:
                case ProgressEvent():
                    counted(*event)
                case NoteEvent(text):
                    say(text)
                case StartEvent(text):
                    return text
    raise AssertionError("training begins, or says why not")


def _followed(events: Job, as_json: bool, lines: bool) -> ResultEvent:
    """Shows all steps as they come; the result."""
    shown = StepDisplay(console(stderr=as_json))
    moving = Live(console=shown.console, get_renderable=shown.render, refresh_per_second=4)
    with moving if shown.console.is_terminal else nullcontext():
        for event in events:
            match event:
                case NoteEvent(text) | StartEvent(text):
                    shown.console.print(printable(text))
                case ProgressEvent(what, done, total):
                    shown.wait_for(f"{what}: {done:,} of {total:,}")
                case StepEvent(record=record):
                    shown.show(event)
                    if record and as_json and lines:
                        more = {name: getattr(event, name) for name in ("fraction", "seconds", "images_per_second")}
                        tell_json({**record, **more})
                case ResultEvent():
                    return event
    raise AssertionError("training ends with a result, or says why not")


class StepDisplay:
    """Two lines that move, a bar over counters and losses; where there is no terminal, a line for each record due."""

    def __init__(self, console: Console) -> None:
        self.console, self.last = console, -QUIET_SECONDS
        self.step: StepEvent | None = None
        self.losses: dict[str, float] = {}
        self.waiting = "the first step ..."

    def show(self, step: StepEvent) -> None:
        """Remembers the state, with the newest losses; prints a record if it is time. A terminal refreshes itself."""
        self.step, record = step, step.record or {}
        self.losses |= {name: record[name] for name in LOSSES if record.get(name) is not None}
        due = step.seconds - self.last >= QUIET_SECONDS or step.fraction >= 1 or "held_out_loss" in record
        if record and due and not self.console.is_terminal:
            self.last = step.seconds
            self.console.print(f"{step.fraction:4.0%}  {self.summary(step, *time_left(step))}".rstrip())

    def wait_for(self, what: str) -> None:
        """What is done before the next step, in words."""
        self.step, self.waiting = None, what
        self.losses.clear()

    def render(self) -> RenderableType:
        if self.step is None:
            return Text(self.waiting, style="dim")
        step, line = self.step, Table.grid(padding=(0, 1))
        bar = ProgressBar(1.0, step.fraction, width=40)
        line.add_row(bar, f"{step.fraction:.0%}", *time_left(step) or [""])
        return Group(line, Text(self.summary(step), overflow="ellipsis"))

    def summary(self, step: StepEvent, *left: str) -> str:
        """Step, images, rate, time left, and losses."""
        rate = [f"{step.images_per_second:,.0f} images/s"] if step.images_per_second else []
        losses = "  ".join(f"{words} {self.losses[name]:.4f}" for name, words in LOSSES.items() if name in self.losses)
        return "  ".join([f"step {step.step:,}", f"{step.images:,} images", *rate, *left, losses])


def time_left(step: StepEvent) -> list[str]:
    """In words, where it is known."""
    return [f"{clock(step.seconds_left)} left"] if step.seconds_left else []


def clock(seconds: float) -> str:
    """m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
