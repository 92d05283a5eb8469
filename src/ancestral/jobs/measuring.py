"""What the jobs that measure a run or a pipeline share: its data, where results go, the price, and how far work is."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TypeVar

from ancestral.condition import Condition
from ancestral.data.datasets import loading
from ancestral.data.imageset import Parts
from ancestral.data.shapes import compared_with
from ancestral.errors import InputError
from ancestral.jobs.events import NoteEvent, ProgressEvent
from ancestral.jobs.running import allow
from ancestral.jobs.settings import CostlySettings
from ancestral.pipeline import Pipeline
from ancestral.pipeline.generate import collected, collecting
from ancestral.progress import StagedWork, StepwiseWork, mapped
from ancestral.settings import Config, SamplingSettings
from ancestral.tensors import Pixels
from ancestral.training.default_sampling import run_of
from ancestral.training.run import RunFolder
from ancestral.tuning.price import Price

T = TypeVar("T")


def run_and_results(folder: Path) -> tuple[Path, Path]:
    """The run that a folder is or belongs to, else itself, and where results go: into the run, or of a mere pipeline,
    which is left as it is, to the current folder."""
    run = run_of(folder)
    return run, run if RunFolder(run).config.is_file() else Path()


def data_of(run: Path, config: Config, pipeline: Pipeline) -> StagedWork[Parts]:
    """The data that the run was trained on, read by the main process first; of endless images the first."""
    with pipeline.processes.main_first():
        parts = yield from loading(config.data)
    same = parts.train.class_names == pipeline.spec.class_names and parts.train.has(pipeline.spec.attribute_names)
    if not same or (pipeline.spec.text and not parts.train.captions):
        what = "classes, attributes or captions"
        raise InputError(f"the {what} of {config.data.source} are no longer those {run} was trained on; restore them")
    return parts._replace(train=compared_with(parts.train))


def priced(
    price: Price, job: CostlySettings, pipeline: Pipeline, folder: Path, remedy: str, what: str
) -> Generator[NoteEvent, None, Price]:
    """The price of work (`what`, in a few words), which is told where it may be done; all as for `running.allow`."""
    price = allow(price, job.yes, pipeline.device, pipeline.processes, folder, remedy)
    yield NoteEvent(f"{what}: {price.words}")
    return price


def followed(what: str, work: StepwiseWork[T]) -> StagedWork[T]:
    return mapped(work, lambda progress: ProgressEvent(what, *progress))


def generated(
    pipeline: Pipeline, seeds: Sequence[int], condition: Condition, settings: SamplingSettings
) -> StepwiseWork[Pixels]:
    return collected((yield from collecting(pipeline.generating(seeds, condition, settings)))).images
