"""The job `train-codec`: an autoencoder is trained on images, or a run goes on, and is measured on held-out ones."""

from collections.abc import Callable, Generator
from math import log, prod
from pathlib import Path
from typing import Any

import torch

from ancestral.colors import NAMES
from ancestral.data.datasets import loading
from ancestral.data.imageset import ImageSet
from ancestral.evaluation.codec_quality import code_counts, codebook_use, decoded, quality
from ancestral.gaussian import DiagonalGaussian
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.jobs.codec_target import TrainCodecSettings
from ancestral.jobs.data_notes import notes_on
from ancestral.jobs.events import Event, ResultEvent, StartEvent
from ancestral.jobs.running import together
from ancestral.jobs.training_events import curves, shown
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.backbone import weightless
from ancestral.networks.latents import KLCodec, LatentCodec, VQCodec
from ancestral.outputs import check_folder
from ancestral.processes import Processes
from ancestral.settings import CodecConfig
from ancestral.tensors import Images, PerImage
from ancestral.training import loop
from ancestral.training.codec import CodecTask
from ancestral.training.codec_losses import kl_nats
from ancestral.training.run import CodecRunFolder
from ancestral.tuning.price import COPIES, refuse_more_than_is_free

MEASURED = 1000  # held-out images, at most
AT_ONCE = 64


def train_codec(job: TrainCodecSettings, stop: Callable[[], bool] = lambda: False) -> Generator[Event, None, None]:
    """Trains to the end of the budget and measures what came of it; the result's value is the last step, None where
    none was left to take. Closed between two steps it saves first, and goes on from there, as `jobs.train` does.
    """
    config, out = job.plan
    check_folder(out)
    folder = CodecRunFolder(out)
    with together(job.device) as (device, processes, more):
        yield from more
        with processes.main_first():
            parts = yield from loading(config.data)
        yield from notes_on(parts, config.data.source)
        check_memory(config, parts.train, device, processes)
        task = CodecTask(config, parts.train, device)
        yield StartEvent(beginning(task, folder, processes))
        with curves(folder, job.tensorboard and processes.is_main) as write:
            said: list[str] = []
            extends = "lr_schedule" in job.settings.get("training", {})  # so the learning rate may rise again
            steps = loop.train(task, parts, folder, said.append, stop, processes, extend=extends)
            last = yield from shown(steps, said, write)
        processes.barrier()  # the main one has saved
        tree: dict[str, Any] = {"finished": False, "run": str(folder.path), "codec": str(folder.codec)}
        if last is None or not last.stop or last.fraction >= 1:
            tree |= {"finished": True, **(measured(folder.codec, parts.test, device) if processes.is_main else {})}
        yield ResultEvent(tree, last and last.step)


def check_memory(config: CodecConfig, images: ImageSet, device: torch.device, processes: Processes) -> None:
    """An InputError where weights in all copies and a batch of pixels are more than is free."""
    with torch.random.fork_rng(devices=[]), weightless():
        weights = sum(each.nbytes for each in Autoencoder(config.codec, images.shape[0]).parameters())
    batch = 8 * -(-config.training.batch_size // processes.world_size) * prod(images.shape)
    remedy = "lower training.batch_size, data.size or codec.widths"
    refuse_more_than_is_free(COPIES * weights + batch, device, remedy)


@torch.no_grad()
def measured(folder: Path, images: ImageSet, device: torch.device) -> dict[str, Any]:
    """What the codec in a folder is worth on at most `MEASURED` held-out images; empty where there are none.

    `latent_means` and `latent_stds` are of each channel of what diffusion would be trained on: near 0 and 1 where the
    statistics, measured on other images, are right.
    """
    count = min(MEASURED, len(images))
    if not count:
        return {"num_held_out": 0}
    codec = read_autoencoder(folder)
    codec.network.to(device)
    pixels = torch.tensor(images.pixels(slice(0, count))).permute(0, 3, 1, 2)
    moments = [codec.moments(part.to(device)) for part in torch.split(pixels, AT_ONCE)]
    mean, std = (torch.cat(each) for each in zip(*moments, strict=True))
    channels, height, width = images.shape
    found = quality(pixels, decoded(codec, mean, (height, width)).cpu())
    means, stds = _of_channels(mean.double(), std.double())
    about: dict[str, Any] = {
        "num_held_out": count,
        "psnr": found.psnr.value,
        "psnr_error": found.psnr.standard_error,
        "ssim": found.ssim.value,
        "ssim_error": found.ssim.standard_error,
        "latents": list(codec.shape((channels, height, width))),
        "latent_means": means,
        "latent_stds": stds,
    }
    return about | _of_its_kind(codec, mean, std)


def _of_channels(mean: Images, std: Images) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel of x0, over what is drawn."""
    m = mean.mean(dim=(0, 2, 3), keepdim=True)
    deviations = ((mean - m).square() + std.square()).mean(dim=(0, 2, 3)).sqrt()
    return m.flatten().tolist(), deviations.tolist()


def _of_its_kind(codec: LatentCodec, mean: Images, std: Images) -> dict[str, Any]:
    """The nats that a variational one sends, or how many codes are in use."""
    if isinstance(codec, VQCodec):
        use = codebook_use(code_counts(codec.indices(mean), codec.codes))
        return {"codes_used": use.used, "bits_per_code": use.entropy}
    return {"kl_bits_per_image": float(_bits(mean, std).mean())} if isinstance(codec, KLCodec) else {}


def _bits(mean: Images, std: Images) -> PerImage:
    """What images cost beside the normal distribution that has the mean and deviation of each channel of latents."""
    return kl_nats(DiagonalGaussian(mean.double(), 2 * std.double().log())) / log(2)


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
