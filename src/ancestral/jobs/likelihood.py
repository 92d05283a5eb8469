"""The job `likelihood`: the bound on bits per dimension of test images, with a record to go on from.

The record of an unfinished measurement is one line of JSON that says what it belongs to, then a line for each chunk. A
chunk is written whole and forced to disk before the next one begins, so whatever ends the process, what is lost is the
chunk it was at; a line torn by that is cut off.
"""

import fcntl
import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pydantic import ValidationError

from ancestral.data.imageset import ImageSet
from ancestral.errors import InputError
from ancestral.evaluation.bound_sums import Sums
from ancestral.evaluation.flow_check import add_flow_check
from ancestral.evaluation.latent_likelihood import check_likelihood
from ancestral.evaluation.likelihood import FILE, Measurement, planned, read_likelihood
from ancestral.evaluation.pixel_likelihood import LaplaceDecoder, fitting_decoder
from ancestral.files import cannot_write, open_to_append, parse_json, read_bytes, write_whole
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.jobs.measurement_settings import LikelihoodJobSettings
from ancestral.jobs.measuring import data_of, followed, priced, run_and_results
from ancestral.jobs.running import Load, together
from ancestral.networks.latents import KLCodec
from ancestral.outputs import BOUND, Output, claim, place_for
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes
from ancestral.progress import StagedWork
from ancestral.report.measurements import picture
from ancestral.settings import SamplingSettings
from ancestral.training.default_sampling import config_of
from ancestral.tuning.price import Price, of_chains

USUAL_IMAGES = 1000
PARTIAL = "likelihood.partial.jsonl"
MOST_BYTES = 2**30  # of a record


@dataclass
class ChunkFile:
    """The open record, locked. `sums` are those of the first chunks, in their order."""

    path: Path
    file: BinaryIO
    sums: list[Sums]
    restarted: bool = False  # whether what it held belonged to something else, and is gone

    def append(self, sums: Sums) -> None:
        """Keeps the sums of the next chunk."""
        self.write(_line({"chunk": len(self.sums), "sums": sums.model_dump()}))
        self.sums.append(sums)

    def write(self, line: bytes) -> None:
        """Adds a line, which is on the disk then."""
        try:
            self.file.write(line)
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as fault:
            raise cannot_write(self.path, fault) from None


@contextmanager
def record(path: Path, belongs_to: dict[str, Any]) -> Iterator[ChunkFile]:
    """The record at `path`, cut back to what can be used; anew where it belongs to something else than `belongs_to`."""
    with open_to_append(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{path} is being written by another process; wait for it") from None
        lines = read_bytes(path, MOST_BYTES).splitlines(keepends=True)
        here = ChunkFile(path, file, [])
        if lines[:1] != [_line(belongs_to)]:
            here.restarted = bool(lines)
            file.truncate(0)
            here.write(_line(belongs_to))
        else:
            here.sums = [*_readable(lines[1:])]
            file.truncate(sum(map(len, lines[: 1 + len(here.sums)])))
        yield here


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _readable(lines: list[bytes]) -> Iterator[Sums]:
    """The sums of chunk 0, 1, ... up to the first line that does not hold them, or is torn."""
    for number, text in enumerate(lines):
        try:
            line = parse_json(text, "a line")
            sums = Sums.model_validate(line["sums"])
            if line["chunk"] != number or not text.endswith(b"\n"):
                return
        except (InputError, KeyError, TypeError, ValidationError):
            return
        yield sums


def likelihood(job: LikelihoodJobSettings, load: Load = Pipeline.load) -> Generator[Event, None, None]:
    """Measures and writes likelihood.json; the result's value is the likelihood.

    Several processes deal the chunks among them; the first one keeps the record, and does the rest.
    """
    with together(job.device) as (device, processes, notes):
        yield from notes
        measurement = yield from prepared(job, device, processes, load)
        if processes.is_main:
            yield from _recorded(job, measurement)
        else:
            yield from finished(job, measurement, None)


def _recorded(job: LikelihoodJobSettings, measurement: Measurement) -> Generator[Event, None, None]:
    pipeline, count = measurement.pipeline, measurement.subsample.num_images
    if (job.flow or 0) > count:
        raise InputError(f"expected --flow of at most the {count} images measured, got {job.flow}")
    out = run_and_results(job.run)[1]
    file = place_for(out / FILE, count, lambda file: read_likelihood(file).num_images, job.overwrite)
    figure, partial = file.with_suffix(".png"), out / PARTIAL
    claim([Output(figure, BOUND)], job.overwrite)
    with record(partial, measurement.belongs_to()) as kept:
        if kept.restarted:
            yield NoteEvent(f"{partial} belongs to other settings, weights or images: starting anew")
        try:
            price = yield from finished(job, measurement, kept)
        except KeyboardInterrupt as stop:
            done = min(len(kept.sums) * pipeline.compute.chunk, count)
            stop.add_note(f"{done:,} of {count:,} images were measured; the same command goes on")
            raise
        result = measurement.result(kept.sums)
        if job.flow is not None:
            variance = measurement.settings.variance
            work = add_flow_check(pipeline, measurement.images, result, job.flow, variance)
            result = yield from followed("checking against the flow", work)
        write_whole(file, result.model_dump_json(indent=2) + "\n")
        yield FileEvent(file)
        if result.stretches:  # a chain of one step has no terms to show
            write_whole(figure, picture(result, pipeline.diffusion.schedule))
        partial.unlink(missing_ok=True)
    yield ResultEvent(result.model_dump(mode="json") | {"price": price.as_tree()}, result)


def prepared(
    job: LikelihoodJobSettings, device: torch.device, processes: Processes, load: Load
) -> StagedWork[Measurement]:
    """The run with its test images, and what is to be measured."""
    run, compute = run_and_results(job.run)[0], job.compute
    config = config_of(run)
    if compute.precision == "auto":  # what bfloat16 rounds away would count as bits
        compute = compute.model_copy(update={"precision": "float32"})
    pipeline = load(run, device, compute).by_torch("bits per dimension")
    if job.num_timesteps is not None:
        pipeline = pipeline.with_num_timesteps(job.num_timesteps)
    pipeline = pipeline.with_processes(processes)
    check_likelihood(pipeline.codec)
    parts = yield from data_of(run, config, pipeline)
    images, decoder = parts.test, (yield from decoder_of(pipeline, parts.train, job.seed))
    usual = {} if "num_images" in job.model_fields_set else {"num_images": min(USUAL_IMAGES, len(images)) or None}
    return planned(pipeline, images, job.model_copy(update=usual), decoder)


def decoder_of(pipeline: Pipeline, train: ImageSet, seed: int) -> StagedWork[LaplaceDecoder | None]:
    """How likely pixels are given latents, as the main process measures it; None where x0 is pixels."""
    codec, processes = pipeline.codec, pipeline.processes
    if not isinstance(codec, KLCodec):
        return None
    measured = ""
    if processes.is_main:
        work = fitting_decoder(codec, train, seed, pipeline.device, pipeline.compute.chunk)
        measured = (yield from followed("measuring the decoder", work)).model_dump_json()
    return LaplaceDecoder.model_validate_json(processes.broadcast(measured))


def finished(
    job: LikelihoodJobSettings, measurement: Measurement, kept: ChunkFile | None
) -> Generator[Event, None, Price]:
    """Measures the chunks not yet in `kept`, the first process's record, after telling what that costs; the price."""
    pipeline, total, calls = measurement.pipeline, measurement.subsample.num_images, measurement.subsample.draws + 1
    first = int(pipeline.processes.broadcast("" if kept is None else str(len(kept.sums))))
    left = total - min(first * pipeline.compute.chunk, total)
    if first:
        yield NoteEvent(f"going on after {total - left:,} of {total:,} images")
    if not left:
        return Price(0, 0.0, 0)
    price = of_chains(pipeline, SamplingSettings(clip="none"), left, calls)
    work, remedy = f"{left:,} images x {calls:,} calls", "lower --images or --timesteps"
    price = yield from priced(price, job, pipeline, run_and_results(job.run)[1], remedy, work)
    chunks = range(first, measurement.num_chunks)
    texts = pipeline.processes.map(chunks, lambda chunk: measurement.sums(chunk).model_dump_json())
    for chunk, text in zip(chunks, texts, strict=True):
        if kept is not None:
            kept.append(Sums.model_validate_json(text))
        yield ProgressEvent("measuring", chunk + 1, measurement.num_chunks)
    return price
