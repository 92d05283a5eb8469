"""How training shows itself: two lines that move on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ancestral.training.loop import Progress

QUIET_SECONDS = 5.0
"""Plain lines are at least this far apart, unless they hold a held-out loss or are the last."""


class RunPace(NamedTuple):
    """How fast this start of the run is."""

    images_per_second: float
    seconds_left: float


class Clock:
    """Measures the pace since the first step it is shown."""

    def __init__(self) -> None:
        self.first: Progress | None = None

    def pace(self, progress: Progress) -> RunPace:
        """Images per second since the first step, and the seconds that the rest of the budget takes at that rate."""
        first = self.first = self.first or progress
        seconds, share = progress.seconds - first.seconds, progress.fraction - first.fraction
        if seconds <= 0 or share <= 0:
            return RunPace(0.0, 0.0)
        return RunPace((progress.images - first.images) / seconds, (1 - progress.fraction) / share * seconds)


class StepDisplay(Protocol):
    """Something that is shown every step."""

    def __call__(self, progress: Progress, pace: RunPace) -> None:
        """Shows the state after a step."""


class Lines:
    """A line for each record that is due."""

    def __init__(self, console: Console) -> None:
        self.console, self.last, self.losses = console, -QUIET_SECONDS, Losses()

    def __call__(self, progress: Progress, pace: RunPace) -> None:
        """Prints the record of this step, if it has one and it is time."""
        if progress.record is None:
            return
        self.losses.update(progress.record)
        due = progress.seconds - self.last >= QUIET_SECONDS or progress.fraction >= 1
        if due or "held_out_loss" in progress.record:
            self.last = progress.seconds
            self.console.print(f"{progress.fraction:4.0%}  {summary(progress, pace)}  {self.losses}".rstrip())


class Bar:
    """A bar with percent and time left, and below it the counters and losses."""

    def __init__(self) -> None:
        self.state: tuple[Progress, RunPace] | None = None
        self.losses = Losses()

    def __call__(self, progress: Progress, pace: RunPace) -> None:
        """Remembers the state; the display refreshes itself."""
        self.state = progress, pace
        self.losses.update(progress.record or {})

    def render(self) -> RenderableType:
        """The two lines."""
        if self.state is None:
            return Text("the first step ...", style="dim")
        progress, pace = self.state
        line = Table.grid(padding=(0, 1))
        left = f"{clock(pace.seconds_left)} left" if pace.seconds_left else ""
        line.add_row(ProgressBar(1.0, progress.fraction, width=40), f"{progress.fraction:.0%}", left)
        return Group(line, Text(f"{summary(progress, pace, left=False)}  {self.losses}", overflow="ellipsis"))


class Losses:
    """The newest training and held-out loss."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def update(self, record: dict[str, Any]) -> None:
        """Takes what a record has of them."""
        self.values |= {k: v for k, v in record.items() if k in ("loss", "held_out_loss") and v is not None}

    def __str__(self) -> str:
        names = {"loss": "loss", "held_out_loss": "held-out"}
        return "  ".join(f"{names[key]} {self.values[key]:.4f}" for key in names if key in self.values)


@contextmanager
def display(console: Console) -> Iterator[StepDisplay]:
    """The bar on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield Lines(console)
        return
    bar = Bar()
    with Live(console=console, get_renderable=bar.render, refresh_per_second=4):
        yield bar


def summary(progress: Progress, pace: RunPace, left: bool = True) -> str:
    """Step, images, rate and time left."""
    parts = [f"step {progress.step:,}", f"{progress.images:,} images"]
    if pace.images_per_second:
        parts.append(f"{pace.images_per_second:,.0f} images/s")
    if left and pace.seconds_left:
        parts.append(f"{clock(pace.seconds_left)} left")
    return "  ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
