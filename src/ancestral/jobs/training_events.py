"""What jobs that train have in common: steps as events, and curves for TensorBoard."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager

from ancestral.errors import InputError
from ancestral.jobs.events import Event, NoteEvent, StepEvent
from ancestral.training.logs import Record
from ancestral.training.loop import Progress
from ancestral.training.run import RunFolder


def shown(
    steps: Generator[Progress, None, None], said: list[str], write: Callable[[Record], None] = lambda record: None
) -> Generator[Event, None, Progress | None]:
    """Steps until the end or a stop, and what training has said between them; the last one, if any was left to take."""
    first, last = None, None
    try:
        with closing(steps):
            for last in steps:
                first = first or last
                yield from _taken(said)
                if last.record:
                    write(last.record)
                yield step_event(first, last)
                if last.stop:
                    break
    except Exception:
        yield from _taken(said)
        raise
    yield from _taken(said)
    return last


def _taken(said: list[str]) -> Iterator[NoteEvent]:
    while said:
        yield NoteEvent(said.pop(0))


def step_event(first: Progress, now: Progress) -> StepEvent:
    """A step, with the pace since the first one of this start."""
    seconds, share = now.seconds - first.seconds, now.fraction - first.fraction
    known = seconds > 0 and share > 0
    images_per_second = (now.images - first.images) / seconds if known else 0.0
    seconds_left = (1 - now.fraction) / share * seconds if known else 0.0
    return StepEvent(now.step, now.images, now.fraction, now.seconds, images_per_second, seconds_left, now.record)


@contextmanager
def curves(folder: RunFolder, wanted: bool) -> Iterator[Callable[[Record], None]]:
    """What is done with each record beside the log: nothing, or curves for TensorBoard in RUN/tensorboard."""
    if not wanted:
        yield lambda record: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("expected TensorBoard for --tensorboard, got none; pip install 'ancestral[track]'") from None
    with ExitStack() as open_files:
        # opened with the first record: before training has claimed the folder, it must stay as it was
        writer: SummaryWriter | None = None

        def write(record: Record) -> None:
            nonlocal writer
            writer = writer or open_files.enter_context(closing(SummaryWriter(folder.path / "tensorboard")))
            for name, value in record.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, record["step"])

        yield write
