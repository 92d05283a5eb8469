"""The work of `ancestral train`: data, pipeline, steps shown as they come, and how it ends."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from ancestral.cli.output import console, counting, say, tell, tell_json, warn_of_bad_files
from ancestral.cli.signals import Asked, stop_asked
from ancestral.cli.target import Plan
from ancestral.cli.together import together
from ancestral.cli.training_display import Clock, Pace, display
from ancestral.data.datasets import load
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes
from ancestral.training.parallel import Parallel
from ancestral.training.run import RunFolder
from ancestral.training.trainer import Progress
from ancestral.training.trainer import train as steps_of


def train(wanted: Plan, device_name: str | None, as_json: bool, tensorboard: bool, parallel: Parallel) -> int:
    """Trains to the end of the budget, or to the first signal; the exit code."""
    config, folder = wanted.config, RunFolder(wanted.out)
    with stop_asked() as asked, together(device_name) as (on, processes):
        with processes.first_here(), counting() as counted:
            parts = load(config.data, counted)
        warn_of_bad_files(parts.bad, config.data.source)
        pipeline = Pipeline.fresh(config, parts.train.spec, on)
        (say if as_json else tell)(_beginning(pipeline, len(parts.train), folder, processes))

        def start(say: Callable[[str], None]) -> Iterator[Progress]:
            return steps_of(pipeline, parts, folder, say, lambda: asked.signal != 0, processes, parallel)

        with recorder(folder, tensorboard and processes.lead) as record:
            last = _follow(start, as_json, record)
        return _end(last, asked, folder, as_json)


@contextmanager
def recorder(folder: RunFolder, tensorboard: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What is done with each record beside the log: nothing, or curves for TensorBoard in RUN/tensorboard."""
    if not tensorboard:
        yield lambda record: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("expected TensorBoard for --tensorboard, got none; pip install 'ancestral[track]'") from None
    with ExitStack() as open_files:
        # opened with the first record: before training has claimed the folder, it must stay as it was
        writer: SummaryWriter | None = None

        def write(record: dict[str, Any]) -> None:
            nonlocal writer
            writer = writer or open_files.enter_context(closing(SummaryWriter(folder.path / "tensorboard")))
            for name, value in record.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, record["step"])

        yield write


def _beginning(pipeline: Pipeline, images: int, folder: RunFolder, processes: Processes) -> str:
    channels, height, width = pipeline.spec.shape
    kind = f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
    classes = f", {pipeline.num_classes} classes" if pipeline.num_classes else ""
    weights = sum(parameter.numel() for parameter in pipeline.network.parameters())
    on = pipeline.device.type if processes.alone else f"{pipeline.device.type} by {processes.world} processes"
    return f"training {weights:,} weights on {images:,} images {kind}{classes}, on {on}, in {folder.path}"


def _follow(
    start: Callable[[Callable[[str], None]], Any],
    as_json: bool,
    record: Callable[[dict[str, Any]], None],
) -> Progress | None:
    """Steps until the end or a signal, shown as they come; the last one, None where there was none left to take."""
    to, clock, last = console(stderr=as_json), Clock(), None
    with display(to) as show, closing(start(to.print)) as steps:
        for last in steps:
            pace = clock.pace(last)
            show(last, pace)
            if last.record:
                record(last.record)
                if as_json:
                    tell_json(_line(last, pace))
            if last.stop:
                break
    return last


def _line(progress: Progress, pace: Pace) -> dict[str, Any]:
    """What --json prints of a record."""
    where = {"fraction": progress.fraction, "seconds": progress.seconds}
    return {**(progress.record or {}), **where, "images_per_second": pace.images_per_second}


def _end(last: Progress | None, asked: Asked, folder: RunFolder, as_json: bool) -> int:
    """Says how it ended and how to go on; the exit code."""
    stopped = last is not None and last.stop and last.fraction < 1
    if as_json:
        tell_json({"finished": not stopped, "run": str(folder.path), "pipeline": str(folder.pipeline)})
    speak = say if as_json else tell
    if stopped and last is not None:
        speak(f"stopped and saved after step {last.step:,} in {folder.path}; the same command goes on from there")
        return 128 + (asked.signal or signal.SIGTERM)
    state = "is finished already" if last is None else f"is finished after step {last.step:,}"
    speak(f"{folder.path} {state}; its pipeline is {folder.pipeline}")
    speak(f"draw with: ancestral sample {folder.path}")
    return 0
