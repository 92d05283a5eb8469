"""The job `likelihood`: the bound on bits per dimension of test images, with a record to go on from."""

import json
from collections.abc import Generator

import torch

from ancestral.errors import InputError
from ancestral.evaluation.bound_sums import Sums
from ancestral.evaluation.flow_check import add_flow_check
from ancestral.evaluation.likelihood import Measurement, planned
from ancestral.evaluation.likelihood_file import ChunkFile, record
from ancestral.files import write_whole
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.jobs.measurement_settings import LikelihoodJobSettings
from ancestral.jobs.measuring import data_of, followed, priced
from ancestral.jobs.running import together
from ancestral.outputs import BOUND, Output, claim, place_for
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes
from ancestral.progress import StagedWork
from ancestral.report.likelihood import FILE, picture, read_likelihood
from ancestral.settings import SamplingSettings
from ancestral.training.run import RunFolder
from ancestral.tuning.price import Price, of_chains

USUAL_IMAGES = 1000
PARTIAL = "likelihood.partial.jsonl"


def likelihood(job: LikelihoodJobSettings) -> Generator[Event, None, None]:
    """Measures and writes likelihood.json; the result's value is the likelihood.

    Several processes deal the chunks among them; the first one keeps the record, and does the rest.
    """
    with together(job.device) as (device, processes, notes):
        yield from notes
        measurement = yield from prepared(job, device, processes)
        if processes.is_main:
            yield from _recorded(job, measurement)
        else:
            yield from finished(job, measurement, None)


def _recorded(job: LikelihoodJobSettings, measurement: Measurement) -> Generator[Event, None, None]:
    count = measurement.num_images
    if (job.flow or 0) > count:
        raise InputError(f"expected --flow of at most the {count} images measured, got {job.flow}")
    file = place_for(job.run / FILE, count, lambda file: read_likelihood(file).num_images, job.overwrite)
    figure, partial = file.with_suffix(".png"), job.run / PARTIAL
    claim([Output(figure, BOUND)], job.overwrite)
    with record(partial, json.loads(json.dumps(measurement.belongs_to()))) as kept:
        if kept.restarted:
            yield NoteEvent(f"{partial} belongs to other settings, weights or images: starting anew")
        try:
            price = yield from finished(job, measurement, kept)
        except KeyboardInterrupt as stop:
            done = min(len(kept.sums) * measurement.pipeline.compute.chunk, count)
            stop.add_note(f"{done:,} of {count:,} images were measured; the same command goes on")
            raise
        result = measurement.result(kept.sums)
        if job.flow is not None:
            work = add_flow_check(measurement.pipeline, measurement.images, result, measurement.settings, job.flow)
            result = yield from followed("checking against the flow", work)
        write_whole(file, result.model_dump_json(indent=2) + "\n")
        yield FileEvent(file)
        if result.stretches:  # a chain of one step has no terms to show
            write_whole(figure, picture(result, measurement.pipeline.diffusion.schedule))
        partial.unlink(missing_ok=True)
    yield ResultEvent(result.model_dump(mode="json") | {"price": price.as_tree()}, result)


def prepared(job: LikelihoodJobSettings, device: torch.device, processes: Processes) -> StagedWork[Measurement]:
    """The run with its test images, and what is to be measured.

    Raises:
        InputError: run, images and settings that do not go together.
    """
    config, compute = RunFolder(job.run).read_config(), job.compute
    if compute.precision == "auto":  # what bfloat16 rounds away would count as bits
        compute = compute.model_copy(update={"precision": "float32"})
    pipeline = Pipeline.load(job.run, device, compute)
    if job.num_timesteps is not None:
        pipeline = pipeline.with_num_timesteps(job.num_timesteps)
    pipeline = pipeline.with_processes(processes)
    images = (yield from data_of(job.run, config, pipeline)).test
    usual = {} if "num_images" in job.model_fields_set else {"num_images": min(USUAL_IMAGES, len(images)) or None}
    return planned(pipeline, images, job.model_copy(update=usual))


def finished(
    job: LikelihoodJobSettings, measurement: Measurement, kept: ChunkFile | None
) -> Generator[Event, None, Price]:
    """Measures the chunks that are not yet in the record, after telling what that costs, together; the price.

    Args:
        kept: the record, on the first process.
    """
    pipeline, total = measurement.pipeline, measurement.num_images
    first = int(pipeline.processes.broadcast("" if kept is None else str(len(kept.sums))))
    left = total - min(first * pipeline.compute.chunk, total)
    if first:
        yield NoteEvent(f"going on after {total - left:,} of {total:,} images")
    if not left:
        return Price(0, 0.0, 0)
    work = f"{left:,} images x {measurement.calls:,} calls"
    price = of_chains(pipeline, SamplingSettings(clip="none"), left, measurement.calls)
    price = yield from priced(price, job, pipeline, job.run, "lower --images or --timesteps", work)
    chunks = range(first, measurement.num_chunks)
    texts = pipeline.processes.map(chunks, lambda chunk: measurement.sums(chunk).model_dump_json())
    for chunk, text in zip(chunks, texts, strict=True):
        if kept is not None:
            kept.append(Sums.model_validate_json(text))
        yield ProgressEvent("measuring", chunk + 1, measurement.num_chunks)
    return price
