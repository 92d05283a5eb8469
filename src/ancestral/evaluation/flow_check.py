"""The cross-check of a likelihood: the same images under the probability flow, whose density is no bound.

Let t be the last timestep that a chain visits before 0, q(x_t..T | x_0) and p(x_t..T) its two directions, and f the
density that the flow gives to x_t. Below t both models use one decoder, and here one draw of x_t, so L_0 is the same
number in both. Above, by the Markov property of q, the expected difference is

    bound - flow = E log f(x_t) / p(x_t) + E KL( q(x_>t | x_t) || p(x_>t | x_t) )                       (1)

For the exact denoiser more can be said. The flow carries q(x_t) onto q(x_T), and N(0, I) onto f; an invertible map
leaves a divergence as it is, so E log q(x_t) / f(x_t) = KL(q(x_T) || N(0, I)). The chain loses the same at T, and then
in every step what a Gaussian with independent elements and the chosen variance misses of the true q(x_s | x):

    bound - flow = sum over steps, E KL( q(x_s | x_t) || p(x_s | x_t) ) >= 0                            (2)

0 for Gaussian data with independent elements and the exact variance; elsewhere it falls as 1 / steps.

With a trained network the bound rises by the square of the network's error, weighted by signal-to-noise (Kingma et al.
2021), the flow by a product of that error with the error of f's own score, of the same size and either sign (Song et
al. 2021a, theorem 2; Lu et al. 2022). So the flow lies below by (2), give or take an error that both have. It may lie
above; that shows a network far from the score of any density, and no fault of either sum. The network need not be
the gradient of anything: f is the density of the flow that it drives, and its figure is a bound on -log P of the model
"flow, then decoder" in its own right. Only the solver's steps err, at third order: twice the steps tell.

Of latents both are bounds on -log p(z), of one draw of z and with the density as decoder: see latent_likelihood.py.

Uniform dequantisation, bound (4) of diffusion/probability_flow.py, is not compared: it costs at least 0.18 nats, 0.25
bits, more for every pixel whose level is certain.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.likelihood import DENSITY, PIXELS, Decoder, bits_per_dim, bound_terms
from ancestral.diffusion.probability_flow import Denoise, Divergence, Exact, Hutchinson, forward_flow_bound, rademacher
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import Schedule
from ancestral.errors import InputError, NonFinite
from ancestral.evaluation.bound_sums import Subsample
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.latent_likelihood import check_likelihood, variance_of_steps
from ancestral.evaluation.likelihood import POSTERIOR, FlowCheck, Likelihood, mean
from ancestral.networks.latents import KLCodec
from ancestral.pipeline import Pipeline
from ancestral.progress import StepwiseWork
from ancestral.rng import ImageNoise, mix
from ancestral.settings import ReverseVariance, SamplingSettings
from ancestral.tensors import Data, PerImage, Pixels, Timesteps


class BoundPair(NamedTuple):
    """The variational bound and the flow's bound of the same images from the same draw of x_t, nats, each (B,)."""

    bound: PerImage
    flow: PerImage


def paired(
    diffusion: GaussianDiffusion,
    denoise: Denoise,
    x0: Data,
    chain: Timesteps,
    grid: Timesteps,
    divergence: Divergence,
    noise: Callable[[], Data],
    decoder: Decoder = PIXELS,
) -> BoundPair:
    """One draw of either bound for every image. The expected difference is (1).

    Args:
        chain: falls from T to 0, grid: from T to the last timestep of `chain` before 0; the flow's steps.
        noise: the next standard normal draw, (B, ...): as many as the chain has steps.
    """
    assert grid[-1] == chain[-2], "both end where the decoder begins"
    last = noise()
    draws = itertools.chain((noise() for _ in chain[2:]), [last])
    with torch.no_grad():
        terms = [term.nats for term in bound_terms(diffusion, denoise, x0, chain, partial(next, draws), decoder)]
    flow = forward_flow_bound(diffusion, denoise, x0, grid, divergence, last, decoder)
    return BoundPair(torch.stack(terms).sum(0), flow.nats)


def flow_grid(schedule: Schedule, steps: int, last: int = 1) -> Timesteps:
    """Timesteps from T to `last`, as even in the flow's own variable u as the table allows: at most `steps` steps."""
    t = torch.arange(schedule.num_timesteps, last - 1, -1)
    alpha_bar = schedule.alpha_bar_at(t)
    u = torch.log((1 + alpha_bar.sqrt()) / (1 - alpha_bar).sqrt())
    wanted = torch.lerp(u[0], u[-1], torch.linspace(0, 1, steps + 1, dtype=torch.float64))
    nearest = torch.searchsorted(0.5 * (u[1:] + u[:-1]), wanted)
    return t[torch.unique_consecutive(nearest)]


def flow_check(
    pipeline: Pipeline,
    images: Pixels,
    condition: Condition,
    steps: int = 100,
    probes: int = 4,
    seed: int = 0,
    chain: Timesteps | None = None,
    variance: ReverseVariance | None = None,
) -> StepwiseWork[FlowCheck]:
    """Both bounds of `images`, and their paired difference, in bits per dimension with standard errors over images.

    An image costs two network calls and `probes` backward passes for every step of the flow, and a call for every step
    of the chain. The errors hold the spread over images, draws and probes; the solver's error is not in them.

    Args:
        condition: what is told of each of N.
        steps: of the flow; at most as many as the table has.
        probes: of the divergence at every step; 0: exactly, one backward pass for every number in an image.
        seed: image i of any call with this seed meets the same noise.
        chain: timesteps from T to 0 of the variational bound. None: all.
        variance: of its reverse steps. None: the pipeline's own, of latents as `variance_of_steps` has it.
    """
    check_likelihood(pipeline.codec)
    if len(images) < 2 or steps < 1 or probes < 0 or probes == 1:
        got = f"{len(images)}, {steps} and {probes}"
        raise InputError(f"expected at least 2 images, 1 step and 2 probes (0: an exact divergence), got {got}")
    # without bfloat16, the Jacobian of which is a staircase's
    in_float32 = pipeline.compute.model_copy(update={"precision": "float32"})
    pipeline = pipeline.with_compute(in_float32).by_torch("the flow check, which needs gradients")
    diffusion = pipeline.process(variance_of_steps(pipeline, variance))
    decoder = DENSITY if isinstance(pipeline.codec, KLCodec) else PIXELS
    chain = torch.arange(diffusion.num_timesteps, -1, -1) if chain is None else chain
    grid = flow_grid(diffusion.schedule, steps, int(chain[-2]))
    pairs: list[BoundPair] = []
    for part in torch.split(torch.arange(len(images)), pipeline.compute.chunk):
        denoise = pipeline.denoiser(condition.rows(part), SamplingSettings(clip="none"))
        seeds, streams = [mix(seed, "flow check", i) for i in part.tolist()], (POSTERIOR, "chain", "probes")
        draws = [ImageNoise(seeds, pipeline.latent_shape, pipeline.device, stream=name) for name in streams]
        posterior, noise, signs = draws
        x0 = pipeline.codec.encode(images[part].to(pipeline.device), posterior)
        divergence: Divergence = Hutchinson(probes, rademacher(signs)) if probes else Exact()
        pairs.append(paired(diffusion, denoise, x0, chain, grid, divergence, noise, decoder))
        yield int(part[-1]) + 1, len(images)
    bound, flow = (bits_per_dim(torch.cat(nats).cpu(), images[0].numel()) for nats in zip(*pairs, strict=True))
    if not bool((bound + flow).isfinite().all()):
        raise NonFinite(f"the flow has {float(flow.mean())} bits per dimension: it grew beyond all images; more steps")
    of_images = {"bound": bound, "flow": flow, "difference": bound - flow}
    amounts = {name: mean(bits.tolist()) for name, bits in of_images.items()}
    return FlowCheck(num_images=len(images), steps=len(grid) - 1, probes=probes, **amounts)


def add_flow_check(
    pipeline: Pipeline,
    test: ImageSet,
    measured: Likelihood,
    num_images: int,
    variance: ReverseVariance | None = None,
    steps: int = 100,
    probes: int = 4,
) -> StepwiseWork[Likelihood]:
    """`measured`, of the images of `test`, with the flow check of the first `num_images` of them, along its own chain;
    `variance` is that of its reverse steps, None: as in `flow_check`.
    """
    if pipeline.weights_hash() != measured.weights or not num_images <= measured.num_images <= len(test):
        count = measured.num_images
        raise InputError(f"expected at most the {count} images measured by these weights, got others; measure it again")
    places = Subsample(measured.seed, len(test), measured.num_images, 0, 0).images()[:num_images].numpy()
    chosen = test.ordered(places)
    condition = pipeline.known_of(chosen) if measured.given_classes else NOTHING_TOLD
    chain, pixels = pipeline.diffusion.schedule.uniform_log_snr(measured.steps), as_pixels(chosen)
    check = yield from flow_check(pipeline, pixels, condition, steps, probes, measured.seed, chain, variance)
    return measured.model_copy(update={"flow": check})
