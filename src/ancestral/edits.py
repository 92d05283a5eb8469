"""What `editing` does, with a pipeline: one call for each task, which yields steps; the last one's `x_s` is the result.

    *_, last = inpaint(pipeline, images, outside_box(28, 28, 8, 8, 20, 20), seeds=range(4))

All take the same words after their own: `seeds`, one for each result, the same of which give the same image in any
batch; `labels`, as in a call of the pipeline, or None for no class; `settings`, or None for those of the pipeline.
Images are one for each seed, or one for all: Pillow's, uint8, or floating point in [-1, 1] (`image_inputs`). What is
larger than the pipeline's own images is seen through windows (`editing.canvas`). What is edited is the x0 that the
pipeline's codec makes of them: strides count its rows, and a mask of pixels becomes one of x0. All raise InputError
for what does not fit the pipeline or lies out of range, before the first step.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ancestral.codec import PixelCodec, check_pixels
from ancestral.condition import Condition
from ancestral.editing.canvas import Windows
from ancestral.editing.from_image import from_image, timestep_of_strength, timesteps_below
from ancestral.editing.inpaint import Mask, Rounds, extended
from ancestral.editing.inpaint import inpaint as repaint
from ancestral.editing.interpolate import path
from ancestral.editing.inversion import DDIMInversion, HeunInversion, no_noise, timesteps_above
from ancestral.editing.inversion import invert as upwards
from ancestral.editing.operators import Operator
from ancestral.editing.posterior import Measured, PosteriorGuided
from ancestral.editing.tile import Circular, RolledEachStep
from ancestral.errors import InputError
from ancestral.image_inputs import AnyImages, AnyMask, ImageBatch, as_images, as_mask
from ancestral.networks.backbone import Backbone
from ancestral.networks.latents import LatentCodec
from ancestral.pipeline import Pipeline
from ancestral.pipeline.calling import Classes, one_of, real, sampling_of, seeds_of, whole
from ancestral.rng import ImageNoise
from ancestral.sampling.denoiser import Denoiser, Finite, clipped
from ancestral.sampling.loop import Chain, Step, computed
from ancestral.sampling.samplers import DDIM, Sampler
from ancestral.settings import SamplingSettings
from ancestral.tensors import Data, Pixels, Timesteps, to_pixels

MOST = 2**31  # of whole numbers
AROUND = 16  # latents around a tile that its decoder is shown
Seeds = Iterable[object]
Sampling = SamplingSettings | None
By = Literal["padding", "rolls", "windows"]
RestorationMethod = Literal["projection", "gradient", "moments"]


class Margins(NamedTuple):
    """Pixels added on each side, in the order of CSS."""

    top: int
    right: int
    bottom: int
    left: int


def inpaint(
    pipeline: Pipeline,
    images: AnyImages,
    keep: AnyMask,
    seeds: Seeds,
    labels: Classes = None,
    settings: Sampling = None,
    rounds: Rounds | None = None,
    stride: int | None = None,
) -> Iterator[Step]:
    """Fillings of what `keep` does not hold; what it holds is the images' to the bit, in x0.

    Args:
        keep: True where a pixel is known; (H, W), or what broadcasts over the images.
        rounds: None: 10 of every step, which takes ten times the network calls of a sample.
        stride: of the windows, where the images are larger than the pipeline's; None: half a window.
    """
    given, rounds = as_images(images, pipeline.spec.shape), rounds or Rounds()
    x0 = _encoded(pipeline, given)
    chain = _chain(pipeline, seeds, labels, settings, x0.shape[-2:], stride)
    known, (denoise, sampler, x_T, timesteps, noise) = _one_each(x0, chain), chain
    mask = _mask_of_x0(pipeline, as_mask(keep, given.expand(len(known), *given.shape[1:])), x0.shape[-2:])
    steps = repaint(denoise, sampler, pipeline.diffusion, known, mask, x_T, timesteps, noise, rounds)
    return computed(steps, rounds.steps(timesteps))


def outpaint(
    pipeline: Pipeline,
    images: AnyImages,
    margins: Margins,
    seeds: Seeds,
    labels: Classes = None,
    settings: Sampling = None,
    rounds: Rounds | None = None,
    stride: int | None = None,
) -> Iterator[Step]:
    """Images continued past their edges. As `inpaint`, on a canvas larger by the margins."""
    if not isinstance(margins, tuple) or len(margins) != 4:
        raise InputError(f"expected margins as (top, right, bottom, left), got {margins!r}")
    top, right, bottom, left = (whole(margin, "a margin", 0, MOST) for margin in margins)
    canvas, keep = extended(as_images(images, pipeline.spec.shape), top, bottom, left, right)
    return inpaint(pipeline, canvas, keep, seeds, labels, settings, rounds, stride)


def vary(
    pipeline: Pipeline,
    images: AnyImages,
    strength: float,
    seeds: Seeds,
    labels: Classes = None,
    settings: Sampling = None,
) -> Iterator[Step]:
    """Variations of the images, or what the pipeline makes of a sketch.

    `strength` is the share of the signal's amplitude that is lost before sampling starts; 0 changes nearly nothing.
    """
    given, schedule = _encoded(pipeline, as_images(images, pipeline.spec.shape)), pipeline.diffusion.schedule
    chain = _chain(pipeline, seeds, labels, settings, given.shape[-2:])
    begun, grid = _one_each(given, chain), grid_of_strength(pipeline, strength, settings)
    return computed(from_image(chain.denoise, chain.sampler, schedule, begun, grid, chain.noise), len(grid) - 1)


def grid_of_strength(pipeline: Pipeline, strength: float, settings: Sampling = None) -> Timesteps:
    """The timesteps that `vary` takes: those of the settings below the noise that the strength asks for."""
    t = timestep_of_strength(pipeline.diffusion.schedule, real(strength, "a strength"))
    return timesteps_below(pipeline.timesteps(settings or pipeline.config.sampling), t)


def invert(
    pipeline: Pipeline,
    images: AnyImages,
    labels: Classes = None,
    settings: Sampling = None,
    corrections: int = 1,
    grain: float = 0.0,
    seeds: Sequence[int] | None = None,
) -> Iterator[Step]:
    """Upwards from the images to the noise they come from; the last step's `x_s` is x_T, for `from_noise`.

    Args:
        settings: of a sampler that draws no noise.
        corrections: more network calls a step, for a better return, where the sampler is DDIM; others take Heun's rule.
        grain: noise over signal that the images are given first. 0 returns them best; from 0.1 on their x_T is as good
            as noise, and paths between them stay among images.
        seeds: of the grain, one for each image; None: 0, 1, 2, ...
    """
    settings = sampling_of(settings, pipeline.config.sampling)
    ends = _encoded(pipeline, as_images(images, pipeline.spec.shape).to(pipeline.device))
    grain, corrections = real(grain, "a grain"), whole(corrections, "corrections", 0, MOST)
    schedule, sampler = pipeline.diffusion.schedule, _without_noise(pipeline, settings)
    inversion = DDIMInversion(schedule, corrections) if isinstance(sampler, DDIM) else HeunInversion(schedule)
    denoise = _denoiser(pipeline, pipeline.condition(labels, len(ends)), settings, ends.shape[-2:])
    grid = timesteps_above(schedule, pipeline.timesteps(settings), grain)
    fresh = ImageNoise(range(len(ends)) if seeds is None else seeds, ends.shape[1:], pipeline.device, stream="grain")
    start = pipeline.diffusion.q_sample(ends, grid[-1], fresh())
    return computed(upwards(denoise, inversion, start, grid), len(grid) - 1)


def from_noise(pipeline: Pipeline, x_T: Data, labels: Classes = None, settings: Sampling = None) -> Iterator[Step]:
    """The images of given noises (B, C, H, W), by a sampler that adds none of its own."""
    settings, x_T = sampling_of(settings, pipeline.config.sampling), _noise(pipeline, x_T)
    denoise = _denoiser(pipeline, pipeline.condition(labels, len(x_T)), settings, x_T.shape[-2:])
    sampler, timesteps = _without_noise(pipeline, settings), pipeline.timesteps(settings)
    return Chain(denoise, sampler, x_T.to(pipeline.device), timesteps, no_noise).steps()


def interpolate(
    pipeline: Pipeline, ends: tuple[Data, Data], points: int, labels: Classes = None, settings: Sampling = None
) -> Iterator[Step]:
    """Images between two noises x_T (1, C, H, W), those of `invert` or `noise_of`, both ends among them."""
    first, last = (_noise(pipeline, end) for end in ends)
    if first.shape != last.shape:
        raise InputError(f"expected two noises of one shape, got {tuple(first.shape)} and {tuple(last.shape)}")
    return from_noise(pipeline, path(first, last, whole(points, "points", 2, MOST)).flatten(0, 1), labels, settings)


def noise_of(pipeline: Pipeline, seeds: Sequence[int]) -> Data:
    """The x_T that images of these seeds start from, (B, C, H, W)."""
    return ImageNoise(seeds_of(None, None, 0, seeds), pipeline.latent_shape, pipeline.device)()


def restore(
    pipeline: Pipeline,
    operator: Operator,
    y: AnyImages,
    seeds: Seeds,
    labels: Classes = None,
    settings: Sampling = None,
    sigma: float = 0.02,
    how: RestorationMethod = "gradient",
    data_variance: float = 0.25,
) -> Iterator[Step]:
    """Images of the pipeline's size of which `operator` made `y`: enlarged, deblurred, coloured.

    The estimate of x0 is clipped after it was guided: clipped before, it has no gradient wherever it is black or white.

    Args:
        y: (1 or B, c, h, w), in [-1, 1] but for its noise; or as other images.
        sigma: deviation of the noise in y.
        data_variance: mean variance of a pixel of the training images in [-1, 1]; of MNIST 0.27.
    """
    check_pixels(pipeline.codec, "restoring, since pixels are what was measured")
    settings, how = sampling_of(settings, pipeline.config.sampling), one_of(how, get_args(RestorationMethod), "how")
    if how != "projection":
        pipeline = pipeline.by_torch(f"restoring by {how}, which needs gradients")
    chain = _chain(pipeline, seeds, labels, settings.model_copy(update={"clip": "none"}))
    channels, height, width = operator(torch.zeros(1, *pipeline.spec.shape, device=pipeline.device)).shape[1:]
    seen = as_images(y, (channels, height, width), bounded=False)
    if seen.shape[1:] != (channels, height, width):
        raise InputError(
            f"expected images of {height}x{width} pixels to restore, got {seen.shape[2]}x{seen.shape[3]}; resize them"
        )
    measured, schedule = Measured(operator, _one_each(seen, chain), sigma), pipeline.diffusion.schedule
    guided = PosteriorGuided(chain.denoise, schedule, measured, how, data_variance)
    cause = "what was measured pulls too hard: take a larger sigma, a smaller data_variance, or projection"
    finite = Finite(guided, schedule, lambda x_t: cause)
    return chain._replace(denoise=clipped(finite, schedule, settings.clip, pipeline.codec.bound)).steps()


def canvas(
    pipeline: Pipeline,
    height: int,
    width: int,
    seeds: Seeds,
    labels: Classes = None,
    settings: Sampling = None,
    stride: int | None = None,
) -> Iterator[Step]:
    """Images of another size than the pipeline's, not smaller, from noise, by windows `stride` pixels apart."""
    size, (_, own_height, own_width) = _size(pipeline, height, width), pipeline.spec.shape
    if any(side < own for side, own in zip(size, pipeline.latent_shape[1:], strict=True)):
        raise InputError(f"expected a canvas of at least {own_height} x {own_width} pixels, got {height} x {width}")
    return _chain(pipeline, seeds, labels, settings, size, stride).steps()


def tile(
    pipeline: Pipeline,
    height: int,
    width: int,
    seeds: Seeds,
    labels: Classes = None,
    settings: Sampling = None,
    by: By = "rolls",
) -> Iterator[Step]:
    """Textures that tile, of any size that the way allows.

    Args:
        by: padding: convolutions see around the edges; sides must be multiples of the network's coarsest pixel. rolls:
            each step rolls the image around. windows: of the pipeline's size, around the edges; the sides not smaller.
    """
    size, by = _size(pipeline, height, width), one_of(by, get_args(By), "by")
    factor = pipeline.codec.network.settings.factor if isinstance(pipeline.codec, LatentCodec) else 1
    if height % factor or width % factor:
        raise InputError(
            f"expected sides of multiples of {factor}, so that tiles are of whole latents, got {height}x{width}"
        )
    if by == "padding":
        pipeline = pipeline.by_torch("tiling by padding, which pads otherwise than the network does")
    chain, settings = _chain(pipeline, seeds, labels, settings, size), sampling_of(settings, pipeline.config.sampling)
    denoise = pipeline.denoiser(pipeline.condition(labels, len(chain.x_T)), settings)
    match by:
        case "padding":
            network = pipeline.network
            coarsest = network.roll_multiple if isinstance(network, Backbone) else 1
            if coarsest is None:
                raise InputError("expected a network of convolutions to tile by padding, got another; tile by rolls")
            if any(side % coarsest for side in size):
                of, got = "" if isinstance(pipeline.codec, PixelCodec) else " latents", f"{size[0]}x{size[1]}"
                raise InputError(f"expected sides of multiples of {coarsest}{of}, got {got}; tile by rolls instead")
            denoise = Circular(denoise, tuple(each.network for each in (pipeline, pipeline.weaker) if each is not None))
        case "rolls":
            denoise = RolledEachStep(denoise)
        case "windows":
            denoise = Windows(denoise, *pipeline.latent_shape[1:], stride_of(pipeline), wraps=True)
    return chain._replace(denoise=denoise).steps()


def decoded_tiles(pipeline: Pipeline, x0: Data) -> Pixels:
    """The images that tile of the x0 of `tile`. A decoder of latents is shown what lies around the edges, as far as it
    looks."""
    if isinstance(pipeline.codec, PixelCodec):
        return pipeline.codec.decode(x0)
    height, width = x0.shape[-2:]
    around = min(AROUND, height, width)
    images = pipeline.codec.decode(F.pad(x0, (around,) * 4, mode="circular"))
    rows, columns = images.shape[-2] // (height + 2 * around), images.shape[-1] // (width + 2 * around)
    return images[..., around * rows : (around + height) * rows, around * columns : (around + width) * columns]


def _chain(
    pipeline: Pipeline,
    seeds: Seeds,
    labels: Classes,
    settings: Sampling,
    size: Sequence[int] | None = None,
    stride: int | None = None,
) -> Chain:
    """A chain for x0 of (height, width), by windows where that is not the pipeline's own."""
    settings, seeds = sampling_of(settings, pipeline.config.sampling), seeds_of(None, None, 0, seeds)
    channels, *own = pipeline.latent_shape
    size = size or own
    denoise = _denoiser(pipeline, pipeline.condition(labels, len(seeds)), settings, size, stride)
    noise = ImageNoise(seeds, (channels, *size), pipeline.device)
    x_T = noise().contiguous(memory_format=torch.channels_last)
    return Chain(denoise, pipeline.sampler(settings), x_T, pipeline.timesteps(settings), noise)


def _denoiser(
    pipeline: Pipeline, condition: Condition, settings: SamplingSettings, size: Sequence[int], stride: object = None
) -> Denoiser:
    if settings.cache > 1:
        raise InputError(f"expected cache 1 where images are edited, got {settings.cache}; leave out the cache")
    denoise, own = pipeline.denoiser(condition, settings), pipeline.latent_shape[1:]
    return denoise if tuple(size) == own else Windows(denoise, *own, stride_of(pipeline, stride))


def stride_of(pipeline: Pipeline, stride: object = None) -> int:
    """Rows of x0 from one window to the next; those at which windows overlap by half for None."""
    return max(1, min(pipeline.latent_shape[1:]) // 2) if stride is None else whole(stride, "a stride", 0, MOST)


def _size(pipeline: Pipeline, height: object, width: object) -> tuple[int, int]:
    """Height and width of the x0 of images of these."""
    size = whole(height, "a height", 1, MOST), whole(width, "a width", 1, MOST)
    return pipeline.codec.shape((pipeline.spec.channels, *size))[1:]


def _encoded(pipeline: Pipeline, images: ImageBatch) -> Data:
    """The x0 of images. A PixelCodec's are those, and not rounded to the 256 levels that other codecs are given."""
    return images if isinstance(pipeline.codec, PixelCodec) else pipeline.codec.encode(to_pixels(images))


def _mask_of_x0(pipeline: Pipeline, keep: Mask, size: Sequence[int]) -> Mask:
    """A mask of pixels as one of x0, of (height, width): known is what stands for known pixels alone."""
    if isinstance(pipeline.codec, PixelCodec):
        return keep
    unknown = (~keep if keep.ndim > 2 else ~keep[None]).any(-3, keepdim=True)
    return F.adaptive_max_pool2d(unknown.float(), [*size]) == 0


def _noise(pipeline: Pipeline, x_T: object) -> Float[Tensor, "B C H W"]:
    """Noise of any size for the pipeline's network."""
    channels = pipeline.latent_shape[0]
    noise = torch.as_tensor(x_T) if isinstance(x_T, np.ndarray | Tensor) else None
    if noise is None or noise.ndim != 4 or noise.shape[1] != channels or not noise.is_floating_point():
        shape = type(x_T).__name__ if noise is None else f"{tuple(noise.shape)} {noise.dtype}"
        raise InputError(f"expected noise of (B, {channels}, H, W) floating-point numbers, got {shape}")
    if not bool(noise.isfinite().all()):
        raise InputError("expected noise of finite numbers, got some that are not")
    return noise.float()


def _one_each(images: Data, chain: Chain) -> Float[Tensor, "N ..."]:
    """One image for each of the chain, on its device."""
    count = len(chain.x_T)
    if len(images) not in (1, count):
        raise InputError(f"expected one image, or one for each of {count} seeds, got {len(images)}")
    return images.expand(count, *images.shape[1:]).to(chain.x_T.device)


def _without_noise(pipeline: Pipeline, settings: SamplingSettings) -> Sampler:
    sampler = pipeline.sampler(settings)
    if sampler.stochastic:
        raise InputError(f"expected a sampler that draws no noise, got {settings.sampler}; take ddim with eta 0")
    return sampler
