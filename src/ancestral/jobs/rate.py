"""The job `rate`: the bytes of a codec's latents against what its images are worth, beside PCA, JPEG and WebP."""

from collections.abc import Generator

import torch

from ancestral.data.datasets import loading
from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.rate import FILE, Sets, beside, measuring_rate, picturing, read_rate, save
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.jobs.events import Event, FileEvent, ResultEvent
from ancestral.jobs.measurement_settings import RateJobSettings
from ancestral.jobs.running import device_named
from ancestral.networks.weights import weights_hash
from ancestral.outputs import RATED, Output, check_folder, claim, place_for


def rate(job: RateJobSettings) -> Generator[Event, None, None]:
    """Measures, and writes rate.json with its two pictures; the result's value is the `RateDistortion`."""
    device, (folder, data, out) = device_named(job.device), job.plan
    check_folder(out)
    codec = read_autoencoder(folder)
    weights = weights_hash(codec.network)
    codec.network.to(device)
    parts = yield from loading(data)
    codec.shape(parts.train.shape)  # an InputError where they have other channels than its own
    sets = _sets(parts, job, device)
    count = len(sets.held_out)
    file = place_for(out / FILE, count, lambda file: read_rate(file).restored.num_images, job.overwrite)
    claim([Output(picture, RATED) for picture in beside(file)], job.overwrite)
    found = yield from measuring_rate(codec, *sets, job)
    found = found.model_copy(update={"weights": weights})
    shown = yield from picturing(codec, *sets, job)
    files = save(file, found, shown)
    yield from map(FileEvent, files)
    yield ResultEvent(found.model_dump(mode="json") | {"files": [str(each) for each in files]}, found)


def _sets(parts: Parts, job: RateJobSettings, device: torch.device) -> Sets:
    """The images that are learned from, and those that are coded."""
    fitted, held_out = parts.train.sliced(0, job.num_fitted), parts.test.sliced(0, job.num_images)
    if min(len(fitted), len(held_out)) < 2:
        got = f"{len(parts.train):,} and {len(parts.test):,}"
        raise InputError(f"expected at least 2 images to fit to and 2 held out, got {got}; name others by --data")
    return Sets(*(as_pixels(each).to(device) for each in (fitted, held_out)))
