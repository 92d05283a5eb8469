"""The jobs of `show`: schedule curves, the forward process, a contact sheet."""

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from ancestral.colors import NAMES
from ancestral.data.datasets import loading
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.schedules import Schedule
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import as_pixels
from ancestral.files import write_whole
from ancestral.jobs.data_notes import notes_on
from ancestral.jobs.data_settings import ShowDataSettings, ShowForwardSettings, ShowScheduleSettings
from ancestral.jobs.events import Event, FileEvent, ResultEvent
from ancestral.outputs import SHOWN, Output, claim
from ancestral.pipeline.building import build_schedule
from ancestral.rng import ImageNoise
from ancestral.settings import ScheduleSettings
from ancestral.tensors import Images, from_pixels, to_pixels
from ancestral.viz import pictures, plots
from ancestral.viz.boxes import Box


def show(job: ShowScheduleSettings | ShowForwardSettings | ShowDataSettings) -> Generator[Event, None, None]:
    """Makes the picture that is asked for; of schedules it gives tables too."""
    if isinstance(job, ShowScheduleSettings):
        yield from show_schedules(job)
        return
    claim([Output(job.out, SHOWN)], job.overwrite)
    parts = yield from loading(job.data)
    yield from notes_on(parts, job.data.source)
    train = parts.train
    if isinstance(job, ShowForwardSettings):
        picture = forward(job, train)
    else:  # the first images of the training part, which is shuffled
        channels, height, width = train.shape
        kinds = f", {train.spec.kinds}" if train.spec.kinds else ""
        kind = f"{height}x{width} {NAMES[channels]}{kinds}"
        title = f"{Path(job.source).name}: {len(train):,} training images, {kind}"
        picture = contact_sheet(train.sliced(0, job.num_images), title)
    pictures.save_png(picture, job.out, {"Software": SHOWN.decode()})
    yield FileEvent(job.out)
    yield ResultEvent({"file": str(job.out)})


def show_schedules(job: ShowScheduleSettings) -> Generator[Event, None, None]:
    """The three curves of each schedule as a picture, where a file is named; the result has the tables."""
    if job.out:
        claim([Output(job.out, SHOWN)], job.overwrite)
    found = schedules(job.settings)
    if job.out:
        curves = {name: (each.betas, each.alpha_bar, _log_snr(each)) for name, each in found.items()}
        write_whole(job.out, plots.figure_to_png(plots.schedule_curves(curves), writer=SHOWN.decode()))
        yield FileEvent(job.out)
    tables = {name: table(schedule) for name, schedule in found.items()}
    yield ResultEvent({"file": job.out and str(job.out), "schedules": tables})


def schedules(settings: Iterable[ScheduleSettings]) -> dict[str, Schedule]:
    return {each.name: build_schedule(each) for each in settings}


def table(schedule: Schedule) -> dict[str, list[Any]]:
    """For t = 0..T: alpha_bar_t and log-SNR_t; beta_t, null at t = 0, is the variance of the step t - 1 -> t."""
    return {
        "t": [*range(schedule.num_timesteps + 1)],
        "beta": [None, *schedule.betas.tolist()],
        "alpha_bar": schedule.alpha_bar.tolist(),
        "log_snr": _log_snr(schedule).tolist(),
    }


def forward(job: ShowForwardSettings, train: ImageSet) -> Box:
    """x_t of one image with one noise, a row for each schedule: what differs between rows is the schedule alone."""
    if job.image >= len(train):
        raise InputError(f"expected --image in 0..{len(train) - 1}, got {job.image}")
    x0 = from_pixels(as_pixels(train.sliced(job.image, job.image + 1)))  # no pipeline, so no codec: pixels
    eps = ImageNoise([job.seed], train.shape)()
    rows = {name: _chain(schedule, x0, eps) for name, schedule in schedules(job.settings).items()}
    times = next(iter(rows.values()))[0]
    return pictures.strip([(name, states) for name, (_, states) in rows.items()], times)


def contact_sheet(images: ImageSet, title: str) -> Box:
    """The images in their order, each above its class where they have classes."""
    names = None if images.labels is None else [images.class_names[label] for label in images.labels]
    return pictures.grid(as_pixels(images), labels=names, title=title)


def _chain(schedule: Schedule, x0: Images, eps: Images) -> tuple[list[int], UInt8[Tensor, "_ C H W"]]:
    """Timesteps 0..T, evenly, and q_sample at each."""
    times = pictures.pick(range(schedule.num_timesteps + 1), 9)
    states = [schedule.alpha(t, x0) * x0 + schedule.sigma(t, x0) * eps for t in map(torch.tensor, times)]
    return times, to_pixels(torch.cat(states))


def _log_snr(schedule: Schedule) -> Tensor:
    return schedule.log_snr(torch.arange(schedule.num_timesteps + 1))
