"""The job `import`: the weights of another program as a pipeline folder."""

import os
from collections.abc import Generator, Mapping
from typing import NamedTuple

from torch import Tensor

from ancestral.codec import PIXELS
from ancestral.colors import COLOR_OF
from ancestral.data.datasets import loading
from ancestral.errors import InputError
from ancestral.hub import DiffusersFolder, NetworkFolder, ScheduleDescription
from ancestral.hub.foreign import read_foreign
from ancestral.hub.lucidrains import is_milestone, read_milestone
from ancestral.hub.openai import OpenAIOptions, read_openai
from ancestral.jobs.events import Event, ProgressEvent, ResultEvent
from ancestral.jobs.import_settings import NOT_IN_MILESTONES, STEPS, ImportSettings
from ancestral.outputs import check_folder
from ancestral.pipeline.building import build_schedule
from ancestral.pipeline.folder import Contents, as_ours, network_of, write_folder
from ancestral.progress import StagedWork
from ancestral.settings import Config, DiffusionSettings, ImageSpec, merged
from ancestral.text import printable
from ancestral.training.run import RunFolder

WHAT = "importing"


class Imported(NamedTuple):
    """What a checkpoint has become."""

    config: Config
    spec: ImageSpec
    num_weights: int


def import_weights(job: ImportSettings) -> Generator[Event, None, None]:
    """Reads and writes; the result's value is what was `Imported`."""
    if os.path.lexists(job.folder) and any(job.folder.iterdir()):
        raise InputError(f"expected a new folder, got {printable(job.folder)}, which holds something; choose another")
    check_folder(job.folder, room=2 * job.source.stat().st_size if job.source.is_file() else 0)  # of weights in float16
    yield ProgressEvent(WHAT, 0, 3)
    tensors = read_foreign(job.source)
    yield ProgressEvent(WHAT, 1, 3)
    found, diffusion = (_of_milestone if is_milestone(tensors) else _of_openai)(job, tensors)
    betas = tuple(build_schedule(diffusion.schedule).betas.tolist())
    said = ScheduleDescription(betas, diffusion.prediction, diffusion.variance, clip="static", time=diffusion.time)
    config, spec = as_ours(DiffusersFolder(found, said), job.null_class, None)
    schedule = diffusion.schedule.model_dump()
    changes = {"diffusion": {"schedule": schedule}, "sampling": {"steps": min(STEPS, len(betas))}}
    config = merged(config, changes, "command line")
    network, run, place = network_of(config, spec, found), RunFolder(job.folder), job.folder
    yield ProgressEvent(WHAT, 2, 3)
    if job.data:
        config, spec = yield from _of_images(job.data, config, spec)
        place = run.pipeline
    write_folder(place, Contents(config, spec, PIXELS, network))
    if job.data:
        run.adopt(config)
    imported = Imported(config, spec, sum(tensor.numel() for tensor in found.tensors.values()))
    tree = {
        "folder": str(job.folder),
        "shape": spec.shape,
        "classes": len(spec.class_names),
        "weights": imported.num_weights,
        "network": config.network.model_dump(mode="json"),
        "diffusion": config.diffusion.model_dump(mode="json"),
    }
    yield ProgressEvent(WHAT, 3, 3)
    yield ResultEvent(tree, imported)


def _of_openai(job: ImportSettings, tensors: Mapping[str, Tensor]) -> tuple[NetworkFolder, DiffusionSettings]:
    heads = job.heads or (None if job.head_width else 4)
    asked = OpenAIOptions(job.size, heads, job.head_width, job.new_attention_order)
    found = read_openai(tensors, asked, job.source)
    return found, job.diffusion(learned=found.out_channels == 2 * found.in_channels)


def _of_milestone(job: ImportSettings, tensors: Mapping[str, Tensor]) -> tuple[NetworkFolder, DiffusionSettings]:
    typed = (name for name in job.model_fields_set if getattr(job, name) is not False)  # a flag that is not is False
    if said := sorted({*typed} - NOT_IN_MILESTONES):
        option = said[0].replace("_", "-")
        raise InputError(f"expected no --{option} with {job.source}, a milestone, which says it itself; leave it out")
    return read_milestone(tensors, job.size, job.source)


def _of_images(source: str, config: Config, spec: ImageSpec) -> StagedWork[tuple[Config, ImageSpec]]:
    """The same of images that are there, which name the classes."""
    size, color = (spec.height, spec.width), COLOR_OF.get(spec.channels, "auto")
    labels = "auto" if spec.class_names else "none"
    data = {"source": source, "size": size, "color": color, "labels": labels, "attributes": "none", "captions": "none"}
    config = merged(config, {"data": data}, "command line")
    images = (yield from loading(config.data)).train
    if len(images.class_names) != len(spec.class_names) or images.shape != spec.shape:
        wanted, got = (
            f"{each.shape[0]}x{each.shape[1]}x{each.shape[2]} images of {len(each.class_names) or 'no'} classes"
            for each in (spec, images)
        )
        raise InputError(f"expected {wanted} in {source}, got {got}; name others by --data, or none")
    return config, spec.model_copy(update={"class_names": images.class_names})
