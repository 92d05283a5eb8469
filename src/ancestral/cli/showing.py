"""The work of `ancestral show`: schedule curves, the forward process, a contact sheet."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from ancestral.building import build_schedule
from ancestral.cli.output import counting, warn_of_data
from ancestral.colors import NAMES
from ancestral.data.datasets import loading
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.schedules import Schedule
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import as_pixels
from ancestral.files import write_whole
from ancestral.outputs import SHOWN
from ancestral.progress import finish
from ancestral.rng import ImageNoise
from ancestral.settings import DataSettings, ScheduleSettings
from ancestral.tensors import Images, from_pixels, to_pixels
from ancestral.viz import pictures, plots
from ancestral.viz.boxes import Box

WRITER = {"Software": SHOWN.decode()}
"""What pictures say of themselves."""
COLUMNS = 9
"""Timesteps that a strip shows."""

Tables = Mapping[str, Schedule]


def tables(settings: Iterable[ScheduleSettings]) -> dict[str, Schedule]:
    """The schedules by name."""
    return {each.name: build_schedule(each) for each in settings}


def numbers(schedules: Tables) -> dict[str, dict[str, list[Any]]]:
    """For t = 0..T: alpha_bar_t and log-SNR_t; beta_t, null at t = 0, is the variance of the step t - 1 -> t."""
    return {
        name: {
            "t": [*range(schedule.num_timesteps + 1)],
            "beta": [None, *schedule.betas.tolist()],
            "alpha_bar": schedule.alpha_bar.tolist(),
            "log_snr": _log_snr(schedule).tolist(),
        }
        for name, schedule in schedules.items()
    }


def write_curves(schedules: Tables, file: Path) -> None:
    """The three curves of each schedule."""
    curves = {name: (each.betas, each.alpha_bar, _log_snr(each)) for name, each in schedules.items()}
    write_whole(file, plots.figure_to_png(plots.schedule_curves(curves), writer=SHOWN.decode()))


def write_forward(
    settings: DataSettings, schedules: Iterable[ScheduleSettings], image: int, seed: int, file: Path
) -> Path:
    """x_t of one image with one noise, a row for each schedule: what differs between rows is the schedule alone."""
    train = _train(settings)
    if not 0 <= image < len(train):
        raise InputError(f"expected --image in 0..{len(train) - 1}, got {image}")
    x0 = from_pixels(as_pixels(train.sliced(image, image + 1)))
    eps = ImageNoise([seed], train.shape)()
    rows = {name: _chain(schedule, x0, eps) for name, schedule in tables(schedules).items()}
    times = next(iter(rows.values()))[0]
    pictures.save_png(pictures.strip([(name, states) for name, (_, states) in rows.items()], times), file, WRITER)
    return file


def write_contact_sheet(settings: DataSettings, count: int, file: Path) -> Path:
    """The first images of the training part, which is shuffled, with their classes."""
    train = _train(settings)
    title = f"{Path(settings.source).name}: {len(train):,} training images, {kind_of(train)}"
    pictures.save_png(contact_sheet(train.sliced(0, count), title), file, WRITER)
    return file


def contact_sheet(images: ImageSet, title: str) -> Box:
    """The images in their order, each above its class where they have classes."""
    names = None if images.labels is None else [images.class_names[label] for label in images.labels]
    return pictures.grid(as_pixels(images), labels=names, title=title)


def kind_of(images: ImageSet) -> str:
    """Size, colours and classes in words."""
    channels, height, width = images.shape
    classes = f", {len(images.class_names)} classes" if images.class_names else ""
    return f"{height}x{width} {NAMES[channels]}{classes}"


def _chain(schedule: Schedule, x0: Images, eps: Images) -> tuple[list[int], UInt8[Tensor, "_ C H W"]]:
    """Timesteps 0..T, evenly, and q_sample at each."""
    times = pictures.pick(range(schedule.num_timesteps + 1), COLUMNS)
    states = [schedule.alpha(t, x0) * x0 + schedule.sigma(t, x0) * eps for t in map(torch.tensor, times)]
    return times, to_pixels(torch.cat(states))


def _log_snr(schedule: Schedule) -> Tensor:
    return schedule.log_snr(torch.arange(schedule.num_timesteps + 1))


def _train(settings: DataSettings) -> ImageSet:
    with counting() as counted:
        parts = finish(loading(settings), counted)
    warn_of_data(parts, settings.source)
    return parts.train
