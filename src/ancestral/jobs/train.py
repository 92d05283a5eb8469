"""The job `train`: a network is trained on images, or a run goes on; Algorithm 1 and its loop are in training/."""

from collections.abc import Callable, Generator
from contextlib import nullcontext
from typing import Any

from ancestral.codec import PixelCodec
from ancestral.colors import NAMES
from ancestral.data.datasets import loading
from ancestral.data.shapes import is_endless
from ancestral.errors import InputError
from ancestral.jobs.autoencoder import codec_of, encoded
from ancestral.jobs.data_notes import notes_on, notes_on_classes, notes_on_text
from ancestral.jobs.events import Event, NoteEvent, ResultEvent, StartEvent
from ancestral.jobs.running import allow, together
from ancestral.jobs.target import TrainSettings, extends
from ancestral.jobs.training_events import curves, shown
from ancestral.machine import started_together
from ancestral.networks.latents import LatentCodec
from ancestral.outputs import check_folder
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import build_schedule, planned_spec
from ancestral.pipeline.folder import with_tokens
from ancestral.processes import Processes
from ancestral.settings import ImageSpec
from ancestral.training import loop
from ancestral.training.denoiser import Denoising
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
    if folder.pipeline.is_dir() and not folder.checkpoints.is_dir():
        got = f"none beside {folder.pipeline}, which would be written over"
        raise InputError(f"expected checkpoints in {out} to go on from, got {got}; train into another folder by --out")
    with together(job.device) as (device, processes, more):
        yield from more
        known = existing_tokenizer(config.text, folder)
        if (size := config.data.height_width) is not None:  # before an image of that size is read
            least = with_tokens(config, ImageSpec(channels=1, height=size[0], width=size[1]), known)
            check_training(config, planned_spec(config.codec, least), device, processes.world_size)
        with processes.main_first():
            parts = yield from loading(config.data)
        yield from notes_on(parts, config.data.source)
        yield from notes_on_classes(parts.untrained)
        tokenizer = tokenizer_of(config.text, parts.train, folder, config.data.source)
        yield from notes_on_text(tokenizer, parts.train)
        spec = with_tokens(config, parts.train.spec, tokenizer)
        seen = planned_spec(config.codec, spec)
        check_training(config, seen, device, processes.world_size)
        if unusual(config, seen):
            price = of_training(config, seen, device, processes.world_size, tokenizer)
            remedy = "lower --compute.micro_batch, data.size or the width of the network"
            yield NoteEvent(f"training takes about {allow(price, job.yes, device, processes, out, remedy).words}")
        idle = loop.idle_settings(parts.train)
        with folder.claimed(config, idle) if processes.is_main else nullcontext():  # also for its autoencoder
            codec = yield from codec_of(config, parts, folder, job, device, processes, stop)
            if isinstance(codec, Progress):
                yield ResultEvent(_outcome(folder, False), codec.step)
                return
            latents = None
            if isinstance(codec, LatentCodec) and not is_endless(parts.train):
                latents = yield from encoded(codec, parts.train, config.data.flip, folder, processes, stop)
                if latents is None:
                    yield ResultEvent(_outcome(folder, False))
                    return
        pipeline = Pipeline.fresh(config, spec, device, codec=codec, tokenizer=tokenizer)
        yield StartEvent(_beginning(pipeline, len(parts.train), folder, processes))
        with curves(folder, job.tensorboard and processes.is_main) as write:
            said: list[str] = []
            task = Denoising(pipeline, latents)
            steps = loop.train(task, parts, folder, said.append, stop, processes, job.parallel, extends(job.settings))
            last = yield from shown(steps, said, write)
        stopped = last is not None and last.stop and last.fraction < 1
        yield ResultEvent(_outcome(folder, not stopped), last and last.step)


def _outcome(folder: RunFolder, finished: bool) -> dict[str, Any]:
    return {"finished": finished, "run": str(folder.path), "pipeline": str(folder.pipeline)}


def _beginning(pipeline: Pipeline, images: int, folder: RunFolder, processes: Processes) -> str:
    channels, height, width = pipeline.spec.shape
    kinds = f", {pipeline.spec.kinds}" if pipeline.spec.kinds else ""
    weights = sum(parameter.numel() for parameter in pipeline.network.parameters())
    z, h, w = pipeline.latent_shape
    latents = "" if isinstance(pipeline.codec, PixelCodec) else f", {h}x{w} latents of {z} channels"
    on = pipeline.device.type if processes.is_single else f"{pipeline.device.type} by {processes.world_size} processes"
    shown = f"{images:,} images {height}x{width} {NAMES[channels]}{latents}{kinds}"
    return f"training {weights:,} weights on {shown}, on {on}, in {folder.path}"
