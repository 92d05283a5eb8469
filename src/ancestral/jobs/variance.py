"""The job `variance`: a network's errors on held-out images, and the variance of the reverse steps they call for."""

from collections.abc import Generator
from dataclasses import replace

import torch

from ancestral.condition import NOTHING_TOLD
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.analytic import errors_of_x0, from_errors
from ancestral.diffusion.variances import Analytic
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import as_pixels
from ancestral.files import read_json
from ancestral.jobs.events import Event, FileEvent, ResultEvent
from ancestral.jobs.measurement_settings import VarianceSettings
from ancestral.jobs.measuring import data_of, followed, priced
from ancestral.jobs.running import device_named
from ancestral.outputs import check_part, check_writable
from ancestral.pipeline import Pipeline
from ancestral.pipeline.folder import VARIANCE_FILE, write_variance
from ancestral.progress import StepwiseWork
from ancestral.rng import ImageNoise, mix
from ancestral.settings import SamplingSettings
from ancestral.tensors import Timesteps
from ancestral.training.run import RunFolder
from ancestral.tuning.price import of_chains

UNCLIPPED = SamplingSettings(clip="none")


def estimate_variance(job: VarianceSettings) -> Generator[Event, None, None]:
    """Measures and stores it; the result's value is a sentence."""
    folder = RunFolder(job.run)
    check_part(folder.pipeline)
    config, pipeline = folder.read_config(), Pipeline.load(job.run, device_named(job.device))
    check_writable(folder.pipeline)
    if config.diffusion.variance == "learned":
        raise InputError(f"expected a run with a fixed variance, got {job.run}, whose network has learned its own")
    parts, file = (yield from data_of(job.run, config, pipeline)), folder.pipeline / VARIANCE_FILE
    held_out = (parts.validation if len(parts.validation) else parts.train).sliced(0, job.images)
    before = read_json(file) if file.is_file() and not job.overwrite else {}
    known = before.get("images") if before.get("weights") == pipeline.weights_hash() else None
    if isinstance(known, int) and known > len(held_out):
        got = f"{len(held_out):,}; or --overwrite it"
        raise InputError(f"expected at least the {known:,} images that {file} was measured on, got {got}")
    grid = pipeline.diffusion.schedule.uniform_log_snr(min(job.timesteps, pipeline.diffusion.num_timesteps))[:-1]
    price = of_chains(pipeline, UNCLIPPED, len(held_out), len(grid))
    work = f"{len(held_out):,} images x {len(grid)} timesteps"
    price = yield from priced(price, job, pipeline, folder.pipeline, "lower --images or --timesteps", work)
    analytic = yield from followed("measuring", measured(pipeline, held_out, grid, job.seed))
    write_variance(folder.pipeline, pipeline.network, analytic)
    yield FileEvent(file)
    ratio, T = analytic.ratio.tolist(), len(analytic.ratio)
    tree = {"file": str(file), "images": len(held_out), "timesteps": len(grid), "ratio": ratio}
    said = (
        f"measured on {len(held_out):,} held-out images at {len(grid)} timesteps: of the way from beta_tilde to beta "
        f"the best variance goes {ratio[0]:.3f} at t = 1, {ratio[T // 2]:.3f} at t = {T // 2 + 1} and {ratio[-1]:.3f} "
        f"at t = {T}"
    )
    yield ResultEvent(tree | {"price": price.as_tree()}, said)


def measured(pipeline: Pipeline, images: ImageSet, grid: Timesteps, seed: int) -> StepwiseWork[Analytic]:
    """The analytic variance from all `images` at the timesteps of `grid`, as many at once as the machine generates."""
    starts = range(0, len(images), pipeline.compute.chunk)
    total = torch.zeros(len(grid), dtype=torch.float64)
    denoise = pipeline.denoiser(NOTHING_TOLD, UNCLIPPED)
    for number, start in enumerate(starts):
        part = images.sliced(start, start + pipeline.compute.chunk)
        seeds = [mix(seed, "variance", start + i) for i in range(len(part))]
        shape, device = pipeline.latent_shape, pipeline.device
        noise, drawn = ImageNoise(seeds, shape, device), ImageNoise(seeds, shape, device, stream="codec")
        x0 = pipeline.codec.encode(as_pixels(part).to(device), drawn).contiguous(memory_format=torch.channels_last)
        total += errors_of_x0(pipeline.diffusion, denoise, x0, grid, noise) * len(part)
        yield number + 1, len(starts)
    return replace(from_errors(pipeline.diffusion.schedule, grid, total / len(images)), num_images=len(images))
