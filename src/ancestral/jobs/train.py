"""The job `train`: a network is trained on images, or a run goes on; Algorithm 1 and its loop are in training/."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager

from ancestral.colors import NAMES
from ancestral.data.datasets import loading
from ancestral.errors import InputError
from ancestral.jobs.data_notes import notes_on, notes_on_classes, notes_on_text
from ancestral.jobs.events import Event, NoteEvent, ResultEvent, StartEvent, StepEvent
from ancestral.jobs.running import allow, together
from ancestral.jobs.target import TrainSettings
from ancestral.machine import started_together
from ancestral.outputs import check_folder
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import build_schedule
from ancestral.pipeline.folder import with_tokens
from ancestral.processes import Processes
from ancestral.settings import ImageSpec
from ancestral.training import loop
from ancestral.training.logs import Record
from ancestral.training.loop import Progress
from ancestral.training.run import RunFolder
from ancestral.training.vocabulary import existing_tokenizer, tokenizer_of
from ancestral.tuning.price import check_training, of_training, unusual


def train(job: TrainSettings, stop: Callable[[], bool] = lambda: False) -> Generator[Event, None, None]:
    """Trains to the end of the budget; the result's value is the last step, None where none was left to take.

    Closed between two steps it saves first, and the same job goes on from there. `stop` is asked at each step whether
    to save and end; of several processes all end after the same step.
    """
    config, out, notes = job.plan
    yield from map(NoteEvent, notes)
    build_schedule(config.diffusion.schedule)  # its faults are told before images are read
    if job.parallel == "fsdp" and not started_together():
        raise InputError(
            "expected several processes for --parallel fsdp, got one; "
            "start with torchrun --nproc-per-node N -m ancestral train"
        )
    check_folder(out)
    folder = RunFolder(out)
    with together(job.device) as (device, processes, more):
        yield from more
        known = existing_tokenizer(config.text, folder)
        if (size := config.data.height_width) is not None:  # before an image of that size is read
            least = with_tokens(config, ImageSpec(channels=1, height=size[0], width=size[1]), known)
            check_training(config, least, device, processes.world_size)
        with processes.main_first():
            parts = yield from loading(config.data)
        yield from notes_on(parts, config.data.source)
        yield from notes_on_classes(parts.untrained)
        tokenizer = tokenizer_of(config.text, parts.train, folder, config.data.source)
        yield from notes_on_text(tokenizer, parts.train)
        spec = with_tokens(config, parts.train.spec, tokenizer)
        check_training(config, spec, device, processes.world_size)
        if unusual(config, spec):
            price = of_training(config, spec, device, processes.world_size, tokenizer)
            remedy = "lower --compute.micro_batch, data.size or the width of the network"
            yield NoteEvent(f"training takes about {allow(price, job.yes, device, processes, out, remedy).words}")
        pipeline = Pipeline.fresh(config, spec, device, tokenizer=tokenizer)
        yield StartEvent(_beginning(pipeline, len(parts.train), folder, processes))
        with curves(folder, job.tensorboard and processes.is_main) as write:
            said: list[str] = []
            extends = "lr_schedule" in job.settings.get("training", {})  # so the learning rate may rise again
            steps = loop.train(pipeline, parts, folder, said.append, stop, processes, job.parallel, extends)
            last = yield from shown(steps, said, write)
        stopped = last is not None and last.stop and last.fraction < 1
        tree = {"finished": not stopped, "run": str(folder.path), "pipeline": str(folder.pipeline)}
        yield ResultEvent(tree, last and last.step)


def _beginning(pipeline: Pipeline, images: int, folder: RunFolder, processes: Processes) -> str:
    channels, height, width = pipeline.spec.shape
    kinds = f", {pipeline.spec.kinds}" if pipeline.spec.kinds else ""
    weights = sum(parameter.numel() for parameter in pipeline.network.parameters())
    on = pipeline.device.type if processes.is_single else f"{pipeline.device.type} by {processes.world_size} processes"
    return (
        f"training {weights:,} weights on {images:,} images {height}x{width} {NAMES[channels]}{kinds}, on {on}, "
        f"in {folder.path}"
    )


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
