"""The first part of the job `train` where latents are diffused: an autoencoder, in a run of its own inside the run, and
what it makes of the images.

It is trained by its share of the budget, or taken from a folder, and stays as it is once diffusion has begun.
"""

from collections.abc import Callable, Generator
from contextlib import closing, suppress

import torch

from ancestral.codec import PIXELS, Codec
from ancestral.data.imageset import ImageSet, Parts
from ancestral.data.latents import LatentRows
from ancestral.errors import InputError
from ancestral.evaluation.codec_measurement import FILE, read_measurement
from ancestral.files import as_path, put_in_place, writing
from ancestral.folders import CODEC, autoencoder_in, kind_of
from ancestral.hub.autoencoder import read_autoencoder, write_autoencoder
from ancestral.hub.weights import WEIGHTS
from ancestral.jobs.events import Event, NoteEvent, StartEvent
from ancestral.jobs.perceptual import learned
from ancestral.jobs.target import TrainSettings, extends
from ancestral.jobs.train_codec import beginning, check_memory, keep_measurement
from ancestral.jobs.training_events import curves, shown
from ancestral.networks.latents import LatentCodec, latent_codec, latent_statistics
from ancestral.networks.weights import weights_hash
from ancestral.presets import autoencoder_of
from ancestral.processes import Processes
from ancestral.progress import StagedWork, finish
from ancestral.settings import Config, FrozenSettings, PixelSettings
from ancestral.training import loop
from ancestral.training.codec import CodecTask, some_images
from ancestral.training.latents import latents_of
from ancestral.training.loop import Progress
from ancestral.training.run import CodecRunFolder, RunFolder


def codec_of(
    config: Config,
    parts: Parts,
    run: RunFolder,
    job: TrainSettings,
    device: torch.device,
    processes: Processes,
    stop: Callable[[], bool],
) -> Generator[Event, None, Codec | Progress]:
    """What x0 is made by in this run, once it is there; the last step where its training was stopped, which goes on the
    next time."""
    if isinstance(config.codec, PixelSettings):
        return PIXELS
    place = CodecRunFolder(run.autoencoder)
    if not _has_begun(run):
        if isinstance(config.codec, FrozenSettings):
            with processes.main_first():
                yield from _take_over(config.codec, parts.train, place, device)
        else:
            own = autoencoder_of(config)
            check_memory(own, parts.train, device, processes)
            perceive = yield from learned(own, parts, place, processes)
            task = CodecTask(own, parts.train, device, perceive=perceive)
            share = f"first, by {config.codec.share:.0%} of the budget: "
            yield StartEvent(share + beginning(task, place, processes))
            with curves(place, job.tensorboard and processes.is_main) as write:
                said: list[str] = []
                steps = loop.train(task, parts, place, said.append, stop, processes, extend=extends(job.settings))
                last = yield from shown(_keeping(config, run, steps) if processes.is_main else steps, said, write)
            if last is not None and last.stop and last.fraction < 1:
                return last
            processes.barrier()  # the main one has saved
    codec = read_autoencoder(place.codec).to(device)
    _check_same(codec, run)
    if processes.is_main and not _is_measured(place, codec):
        found = keep_measurement(place, None, parts.test, device)
        if found is not None:
            psnr = f"PSNR {found.psnr:.2f} dB, SSIM {found.ssim:.3f}"
            yield NoteEvent(f"{found.num_held_out:,} held-out images through the autoencoder: {psnr}")
    return codec


def encoded(
    codec: LatentCodec,
    images: ImageSet,
    mirrored: bool,
    run: RunFolder,
    processes: Processes,
    stop: Callable[[], bool],
) -> StagedWork[LatentRows | None]:
    """The latents of the images to train on, in a file of the run, which the main process makes; None: it was stopped,
    and goes on the next time."""
    stopped = False
    if processes.is_main:
        with closing(latents_of(codec, images, mirrored, run.latents)) as work:
            for event in work:
                yield event
                if stopped := event.done < event.total and stop():
                    break
    if processes.broadcast("stopped" if stopped else ""):
        return None
    return finish(latents_of(codec, images, mirrored, run.latents))


def _keeping(config: Config, run: RunFolder, steps: Generator[Progress, None, None]) -> Generator[Progress, None, None]:
    """The same steps. With the first of them, when nothing is refused any more, the run takes the settings over."""
    with closing(steps):
        for number, step in enumerate(steps):
            if not number:
                run.adopt(config)
            yield step


def _has_begun(run: RunFolder) -> bool:
    """Whether diffusion has."""
    return run.checkpoints.is_dir() and any(run.checkpoints.iterdir())


def _take_over(
    settings: FrozenSettings, images: ImageSet, run: CodecRunFolder, device: torch.device
) -> Generator[Event, None, None]:
    """Writes an autoencoder that exists already into a run, its latents standardised for these images."""
    if (run.codec / WEIGHTS).is_file():
        return
    place = as_path(settings.folder)
    inside = place / CODEC if kind_of(place) == "codec run" else autoencoder_in(place) or place
    found = read_autoencoder(inside).to(device)
    found.shape(images.shape)  # or an InputError
    yield NoteEvent(f"taking the autoencoder in {place}; its latents are standardised for these images")
    codec = latent_codec(found.network, *latent_statistics(found.network, some_images(images, device)))
    building = run.path / f".{CODEC}.new"
    with writing(run.path, "free space, or choose another folder with --out"):
        building.mkdir(parents=True, exist_ok=True)
        write_autoencoder(building, codec, min(images.shape[1:]))
        put_in_place(building, run.codec)


def _check_same(codec: LatentCodec, run: RunFolder) -> None:
    """That the pipeline of the run, where there is one, has the same autoencoder."""
    place = autoencoder_in(run.pipeline)
    if place is not None and read_autoencoder(place) != codec:
        raise InputError(
            f"expected the autoencoder that {run.pipeline} has in {run.autoencoder / CODEC}, got another; restore it, "
            "or train into another folder with --out"
        )


def _is_measured(run: CodecRunFolder, codec: LatentCodec) -> bool:
    """Whether it is kept what this codec is worth, and not one of before it was trained on."""
    with suppress(InputError):
        return read_measurement(run.path / FILE).weights == weights_hash(codec.network)
    return False
