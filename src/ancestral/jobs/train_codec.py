"""The job `train-codec`: an autoencoder is trained on images, or a run goes on, and is measured on held-out ones."""

from collections.abc import Callable, Generator
from math import prod
from typing import Any

import torch

from ancestral.colors import NAMES
from ancestral.data.datasets import loading
from ancestral.data.imageset import ImageSet
from ancestral.evaluation.codec_measurement import FILE, CodecMeasurement, measured
from ancestral.files import check_replaceable, write_whole
from ancestral.jobs.codec_target import TrainCodecSettings
from ancestral.jobs.data_notes import notes_on
from ancestral.jobs.events import Event, ResultEvent, StartEvent
from ancestral.jobs.perceptual import learned
from ancestral.jobs.running import together
from ancestral.jobs.target import extends
from ancestral.jobs.training_events import curves, shown
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.backbone import weightless
from ancestral.outputs import check_folder
from ancestral.processes import Processes
from ancestral.run_states import state_of
from ancestral.settings import CodecConfig
from ancestral.training import loop
from ancestral.training.codec import CodecTask
from ancestral.training.run import CodecRunFolder
from ancestral.tuning.price import COPIES, refuse_more_than_is_free

NOT_MEASURED = {"num_held_out": 0}


def train_codec(job: TrainCodecSettings, stop: Callable[[], bool] = lambda: False) -> Generator[Event, None, None]:
    """Trains to the end of the budget and measures what came of it; the result's value is the last step, None where
    none was left to take. Closed between two steps it saves first, and goes on from there, as `jobs.train` does.
    """
    config, out = job.plan
    check_folder(out)
    folder = CodecRunFolder(out)
    check_replaceable(folder.path / FILE)
    with together(job.device) as (device, processes, more):
        yield from more
        with processes.main_first():
            parts = yield from loading(config.data)
        yield from notes_on(parts, config.data.source)
        check_memory(config, parts.train, device, processes)
        perceive = yield from learned(config, parts, folder, processes)
        task = CodecTask(config, parts.train, device, perceive=perceive)
        yield StartEvent(beginning(task, folder, processes))
        with curves(folder, job.tensorboard and processes.is_main) as write:
            said: list[str] = []
            steps = loop.train(task, parts, folder, said.append, stop, processes, extend=extends(job.settings))
            last = yield from shown(steps, said, write)
        processes.barrier()  # the main one has saved
        tree: dict[str, Any] = {"finished": False, "run": str(folder.path), "codec": str(folder.codec)}
        if last is None or not last.stop or last.fraction >= 1:
            step = state_of(folder.path).steps if last is None else last.step
            found = keep_measurement(folder, step, parts.test, device) if processes.is_main else None
            tree |= {"finished": True, **(found.model_dump(mode="json", exclude_none=True) if found else NOT_MEASURED)}
        yield ResultEvent(tree, last and last.step)


def check_memory(config: CodecConfig, images: ImageSet, device: torch.device, processes: Processes) -> None:
    """An InputError where weights in all copies and a batch of pixels are more than is free."""
    with torch.random.fork_rng(devices=[]), weightless():
        weights = sum(each.nbytes for each in Autoencoder(config.codec, images.shape[0]).parameters())
    batch = 8 * -(-config.training.batch_size // processes.world_size) * prod(images.shape)
    remedy = "lower training.batch_size, data.size or codec.widths"
    refuse_more_than_is_free(COPIES * weights + batch, device, remedy)


def keep_measurement(
    folder: CodecRunFolder, step: int | None, images: ImageSet, device: torch.device
) -> CodecMeasurement | None:
    """What the finished codec is worth, which is kept in the run; of no images, None."""
    if not len(images):
        return None
    found = measured(folder.codec, step, images, device)
    write_whole(folder.path / FILE, found.model_dump_json(indent=2, exclude_none=True) + "\n")
    return found


def beginning(task: CodecTask, folder: CodecRunFolder, processes: Processes) -> str:
    """What is trained on what, and where, in words."""
    height, width = task.size
    z, h, w = task.spec.shape
    weights = sum(parameter.numel() for parameter in task.autoencoder.parameters())
    on = task.device.type if processes.is_single else f"{task.device.type} by {processes.world_size} processes"
    return (
        f"training an autoencoder of {weights:,} weights on {len(task.images):,} images {height}x{width} "
        f"{NAMES[task.autoencoder.image_channels]}, {h}x{w} latents of {z} channels, on {on}, in {folder.path}"
    )
