"""The work of `ancestral train`: data, pipeline, steps shown as they come, and how it ends."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch

from ancestral.cli.output import (
    UnfailingStream,
    console,
    counting,
    say,
    tell,
    tell_json,
    until_unread,
    warn_of_classes,
    warn_of_data,
)
from ancestral.cli.signals import StopRequest, stop_asked
from ancestral.cli.target import RunPlan
from ancestral.cli.together import together
from ancestral.cli.training_display import Clock, RunPace, display
from ancestral.colors import NAMES
from ancestral.data.datasets import loading
from ancestral.errors import InputError
from ancestral.jobs.running import allow
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes
from ancestral.progress import finish
from ancestral.settings import ImageSpec
from ancestral.text import printable
from ancestral.training.engine import Parallel
from ancestral.training.loop import Progress
from ancestral.training.loop import train as steps_of
from ancestral.training.run import RunFolder
from ancestral.tuning.price import check_training, of_training, unusual


def train(
    wanted: RunPlan,
    device_name: str | None,
    as_json: bool,
    tensorboard: bool,
    parallel: Parallel,
    extend: bool,
    dear: bool,
) -> int:
    """Trains to the end of the budget, to the first signal, or until nobody reads the output; the exit code."""
    config, folder = wanted.config, RunFolder(wanted.out)
    with until_unread() as out, together(device_name) as (on, processes), ExitStack() as training:
        if (size := config.data.height_width) is not None:  # before an image of that size is read
            check_training(config, ImageSpec(channels=1, height=size[0], width=size[1]), on, processes.world_size)
        with processes.main_first(), counting() as counted:
            parts = finish(loading(config.data), counted)
        warn_of_data(parts, config.data.source)
        warn_of_classes(parts.untrained)
        _afford(wanted, parts.train.spec, on, processes, dear)
        asked = training.enter_context(stop_asked())  # only from here on there is something to save
        pipeline = Pipeline.fresh(config, parts.train.spec, on)
        (say if as_json else tell)(_beginning(pipeline, len(parts.train), folder, processes))

        def start(say: Callable[[str], None]) -> Iterator[Progress]:
            return steps_of(
                pipeline, parts, folder, say, lambda: asked.signal != 0 or out.gone, processes, parallel, extend
            )

        with recorder(folder, tensorboard and processes.is_main) as record:
            last = _follow(start, as_json, record)
        return _end(last, asked, out, folder, as_json)


def _afford(wanted: RunPlan, spec: ImageSpec, on: torch.device, processes: Processes, dear: bool) -> None:
    """That it fits, before anything is allocated; what it takes is said where that is not usual.

    Raises:
        InputError: it takes more than is usual and is not meant, or does not fit.
    """
    check_training(wanted.config, spec, on, processes.world_size)
    if unusual(wanted.config, spec):
        price = of_training(wanted.config, spec, on, processes.world_size)
        remedy = "lower --compute.micro_batch, data.size or network.widths"
        say(f"training takes about {allow(price, dear, on, processes, wanted.out, remedy).words}")


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
    kind = f"{height}x{width} {NAMES[channels]}"
    classes = f", {pipeline.num_classes} classes" if pipeline.num_classes else ""
    weights = sum(parameter.numel() for parameter in pipeline.network.parameters())
    on = pipeline.device.type if processes.is_single else f"{pipeline.device.type} by {processes.world_size} processes"
    return f"training {weights:,} weights on {images:,} images {kind}{classes}, on {on}, in {folder.path}"


def _follow(
    start: Callable[[Callable[[str], None]], Any],
    as_json: bool,
    record: Callable[[dict[str, Any]], None],
) -> Progress | None:
    """Steps until the end or a signal, shown as they come; the last one, None where there was none left to take."""
    to, clock, last = console(stderr=as_json), Clock(), None
    with display(to) as show, closing(start(lambda text: to.print(printable(text)))) as steps:
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


def _line(progress: Progress, pace: RunPace) -> dict[str, Any]:
    """What --json prints of a record."""
    where = {"fraction": progress.fraction, "seconds": progress.seconds}
    return {**(progress.record or {}), **where, "images_per_second": pace.images_per_second}


def _end(last: Progress | None, asked: StopRequest, out: UnfailingStream, folder: RunFolder, as_json: bool) -> int:
    """Says how it ended and how to go on; the exit code."""
    stopped = last is not None and last.stop and last.fraction < 1
    if as_json:
        tell_json({"finished": not stopped, "run": str(folder.path), "pipeline": str(folder.pipeline)})
    speak = say if as_json or out.gone else tell
    if stopped and last is not None:
        why = "nobody reads the output any more: " if out.gone and not asked.signal else ""
        speak(f"{why}stopped and saved after step {last.step:,} in {folder.path}; the same command goes on from there")
        return 128 + (asked.signal or (signal.SIGPIPE if out.gone else signal.SIGTERM))
    state = "is finished already" if last is None else f"is finished after step {last.step:,}"
    speak(f"{folder.path} {state}; its pipeline is {folder.pipeline}")
    speak(f"generate with: ancestral sample {folder.path}")
    return 0
