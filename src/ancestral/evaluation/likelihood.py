"""Held-out bits per dimension as a measurement: the bound on test images, term by term, with its errors.

For one image the bound is L_T + sum L_(t,s) + L_0 (`diffusion.likelihood`). L_T is exact; L_0 takes one call of the
network; of the other terms each image visits some, so that its estimate of their sum is unbiased (`bound_sums`). The
figure is the mean over images, and its standard error is that of a mean of independent images: their spread holds
what images differ by, what noise does, and what the choice of timesteps does,

    error^2 = error_from_images^2 + error_from_timesteps^2                                        (1)

The second is estimated within images, by (3) of `bound_sums`. The one draw of noise in L_0 is counted with the images.

Nothing is clipped and nothing is guided: the bound is on the model that was trained. The network computes in the
pipeline's precision, the terms in float64.

Of a pipeline of latents these are the terms of the bound on -log p(z), of one draw of z for each image, and the figure
is the whole of (2) of `latent_likelihood`. Bits are per dimension of the image all the same.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain as chain_of
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from ancestral.condition import NOTHING_TOLD
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.likelihood import bits_per_dim
from ancestral.errors import InputError
from ancestral.evaluation.bound_sums import Subsample, Sums, Walk, chunk_sums, divided
from ancestral.evaluation.latent_likelihood import check_likelihood, codec_nats, posterior_of, variance_of_steps
from ancestral.evaluation.metrics import few_images
from ancestral.evaluation.pixel_likelihood import LaplaceDecoder
from ancestral.evaluation.settings import LikelihoodSettings
from ancestral.files import read_json
from ancestral.networks.latents import KLCodec
from ancestral.networks.weights import tensors_hash
from ancestral.pipeline import Pipeline
from ancestral.rng import ImageNoise
from ancestral.settings import SamplingSettings, Settings, parse
from ancestral.tensors import Data, Pixels

FILE = "likelihood.json"  # where `ancestral likelihood RUN` leaves it in a run
POSTERIOR = "posterior"  # the stream of the noise that latents are drawn by


class Amount(Settings):
    """Bits per dimension."""

    value: float
    standard_error: float


class Stretch(Settings):
    """A run of consecutive steps of the chain, from t to the smaller s."""

    t: int
    s: int
    log_snr: float  # in its middle
    bits: float  # sum of its terms, bits per dimension
    standard_error: float
    rmse: float
    """root of the mean squared error of the predicted x0 over it: in pixel levels 0..255; of latents, as they are"""


class FlowCheck(Settings):
    """The bound beside the likelihood under the probability flow, of the same images; of latents, that on -log p(z)."""

    num_images: int
    steps: int
    probes: int  # of the divergence, for each image; 0: it is exact
    bound: Amount
    flow: Amount
    difference: Amount  # paired over the images


class LatentTerms(Settings):
    """Of a model of latents, the terms of `Likelihood.total`, which are the first three, and the autoencoder alone: (2)
    and (5) of `latent_likelihood`."""

    pixels: Amount  # -log p(x|z)
    posterior: Amount  # log q(z|x), a density of x0
    prior: Amount  # the bound on -log p(z), a density of x0: L_T, all L_(t,s) and L_0
    kl: Amount  # KL(q(z|x) || N(0, I))
    autoencoder: Amount  # `pixels` and `kl`: its evidence lower bound
    gain: Amount  # `autoencoder` less the total, image by image
    dims: int  # numbers of the x0 of an image
    decoder: LaplaceDecoder  # p(x|z), and on how many images it was measured
    codec: str  # hash of the autoencoder and the statistics of its latents


class Likelihood(Settings):
    """Held-out bits per dimension with every term: what `likelihood.json` holds."""

    part: str = "test"
    num_images: int
    dims: int  # C * H * W of an image
    num_timesteps: int  # T of the process
    steps: int  # of the chain; at most T
    timesteps: int  # terms drawn for each image besides L_0; steps - 1 where all were
    seed: int
    weights: str  # hash of the network's weights
    given_classes: bool  # whether it is the bound on p(x | class)
    variance: str = "beta_tilde"  # of the reverse steps
    total: Amount
    prior: Amount  # L_T
    diffusion: Amount  # all L_(t,s), s > 0
    reconstruction: Amount  # L_0
    error_from_images: float  # share of the total's standard error, in squares, that images are the cause of
    error_from_timesteps: float  # that of the choice of timesteps and the noise at them; the true one is not above it
    stretches: tuple[Stretch, ...]  # at most 64, by falling t, without L_0; their sum is `diffusion`
    seconds: float
    flow: FlowCheck | None = None
    too_few: str = ""  # why the figure says little, so few images were measured; "" where it does
    latents: LatentTerms | None = None  # where x0 is latents, of which prior, diffusion and reconstruction are then


def read_likelihood(file: Path) -> Likelihood:
    """What `ancestral likelihood` wrote; an InputError where it cannot be read."""
    return parse(Likelihood, read_json(file), str(file))


@dataclass(frozen=True)
class Measurement:
    """A measurement that is planned: chunk after chunk gives its sums, in any order and more than once alike."""

    pipeline: Pipeline
    images: ImageSet
    settings: LikelihoodSettings
    subsample: Subsample
    walk: Walk
    decoder: LaplaceDecoder | None = None  # p(x|z), where x0 is latents

    @property
    def num_chunks(self) -> int:
        """Of at most `compute.chunk` images."""
        return math.ceil(self.subsample.num_images / self.pipeline.compute.chunk)

    @property
    def variance(self) -> str:
        """Of the reverse steps, by name."""
        return self.settings.variance or self.pipeline.config.diffusion.variance

    def belongs_to(self) -> dict[str, Any]:
        """Everything that the sums depend on, fit for JSON."""
        pipeline = self.pipeline
        codec = {} if self.decoder is None else {"codec": self._codec_hash, "decoder": self.decoder.model_dump()}
        return {
            "weights": pipeline.weights_hash(),
            "diffusion": pipeline.config.diffusion.model_dump(mode="json"),
            "images": self.images.hash,
            "num_images": self.subsample.num_images,
            "steps": self.subsample.steps,
            "timesteps": self.subsample.draws,
            "seed": self.settings.seed,
            "given_classes": self.settings.given_classes,
            "variance": self.variance,
            "computed": [pipeline.device.type, pipeline.compute.precision, pipeline.compute.chunk],
            **codec,
        }

    @torch.inference_mode()
    def sums(self, chunk: int) -> Sums:
        """The sums of one chunk; an InputError where no bound can be taken of these images by these settings."""
        size, begun = self.pipeline.compute.chunk, time.perf_counter()
        start, stop = chunk * size, min((chunk + 1) * size, self.subsample.num_images)
        pipeline, places = self.pipeline, self.subsample.images()[start:stop]
        pixels = torch.tensor(self.images.pixels(places.numpy()), device=pipeline.device).permute(0, 3, 1, 2)
        seeds = self.subsample.noise_seeds(places)
        x0, of_codec = self._encoded(pixels, seeds)
        noise = ImageNoise(seeds, pipeline.latent_shape, pipeline.device)
        condition = NOTHING_TOLD
        if self.settings.given_classes:
            condition = pipeline.known_of(self.images, places.numpy())
        denoise = pipeline.denoiser(condition, SamplingSettings(clip="none"))
        visits = self.subsample.visits(start, stop)
        try:
            process = pipeline.process(self.settings.variance)
            latents_of = None if self.decoder is None else pixels[0].numel()
            found = chunk_sums(process, denoise, x0, self.walk, self.subsample, visits, noise, latents_of)
        except ValueError as fault:
            raise InputError(f"the bound cannot be taken: {' '.join(str(fault).split())}") from None
        return found.model_copy(update={**of_codec, "seconds": time.perf_counter() - begun})

    def _encoded(self, pixels: Pixels, seeds: Sequence[int]) -> tuple[Data, dict[str, tuple[float, ...]]]:
        """x0, and what the codec adds to `Sums`. Latents are drawn, from the seed of each image."""
        codec = self.pipeline.codec
        if not isinstance(codec, KLCodec) or self.decoder is None:
            return codec.encode(pixels).contiguous(memory_format=torch.channels_last), {}
        posterior = posterior_of(codec, pixels)
        noise = ImageNoise(seeds, posterior.mean.shape[1:], pixels.device, stream=POSTERIOR)
        x0 = posterior.sample(noise().double()).float().contiguous(memory_format=torch.channels_last)
        nats = codec_nats(codec, self.decoder, pixels, posterior, x0)
        bits = (bits_per_dim(each, pixels[0].numel()).tolist() for each in nats)
        return x0, dict(zip(nats._fields, map(tuple, bits), strict=True))

    @property
    def _codec_hash(self) -> str:
        codec = self.pipeline.codec
        assert isinstance(codec, KLCodec)
        return tensors_hash({**codec.network.state_dict(), "mean": codec.mean, "std": codec.std})

    def result(self, sums: Sequence[Sums]) -> Likelihood:
        """The figures, from the sums of all chunks."""
        assert len(sums) == self.num_chunks
        of_images = zip(*((s.prior, s.diffusion, s.reconstruction) for s in sums), strict=True)
        priors, diffusions, reconstructions = map(joined, of_images)
        bounds = [sum(terms) for terms in zip(priors, diffusions, reconstructions, strict=True)]
        prior, reconstruction = mean(priors), mean(reconstructions)
        stretches = tuple(self._stretches(sums))
        diffusion = mean(diffusions).model_copy(update={"value": float(sum(stretch.bits for stretch in stretches))})
        total = summed(bounds, prior, diffusion, reconstruction)
        total, latents = (total, None) if self.decoder is None else self._whole(sums, bounds, total, self.decoder)
        from_timesteps = min(error_within(sums), total.standard_error)
        return Likelihood(
            num_images=self.subsample.num_images,
            dims=math.prod(self.images.shape),
            num_timesteps=self.pipeline.diffusion.num_timesteps,
            steps=self.subsample.steps + 1,
            timesteps=self.subsample.draws,
            seed=self.settings.seed,
            weights=self.pipeline.weights_hash(),
            given_classes=self.settings.given_classes,
            variance=self.variance,
            total=total,
            prior=prior,
            diffusion=diffusion,
            reconstruction=reconstruction,
            error_from_images=math.sqrt(total.standard_error**2 - from_timesteps**2),
            error_from_timesteps=from_timesteps,
            stretches=stretches,
            seconds=math.fsum(s.seconds for s in sums),
            too_few=few_images(self.subsample.num_images),
            latents=latents,
        )

    def _whole(
        self, sums: Sequence[Sums], bounds: Sequence[float], bound: Amount, decoder: LaplaceDecoder
    ) -> tuple[Amount, LatentTerms]:
        """The total and the terms of latents, from the bound on -log p(z) of each image and its mean."""
        pixels, posteriors, kls = map(joined, zip(*((s.pixels, s.posterior, s.kl) for s in sums), strict=True))
        wholes = [sum(terms) for terms in zip(pixels, posteriors, bounds, strict=True)]
        alone = [sum(terms) for terms in zip(pixels, kls, strict=True)]
        pixel, posterior, kl = mean(pixels), mean(posteriors), mean(kls)
        total, autoencoder = summed(wholes, pixel, posterior, bound), summed(alone, pixel, kl)
        gained = mean([one - other for one, other in zip(alone, wholes, strict=True)])
        return total, LatentTerms(
            pixels=pixel,
            posterior=posterior,
            prior=bound,
            kl=kl,
            autoencoder=autoencoder,
            gain=gained.model_copy(update={"value": autoencoder.value - total.value}),
            dims=math.prod(self.pipeline.latent_shape),
            decoder=decoder,
            codec=self._codec_hash,
        )

    def _stretches(self, sums: Sequence[Sums]) -> Iterator[Stretch]:
        bits, squares = added([s.bits for s in sums]), added([s.bits_squared for s in sums])
        errors, visits = added([s.errors_squared for s in sums]), added([s.visits for s in sums])
        ends, count = pairwise(self.walk.chain[list(self.walk.edges)].tolist()), self.subsample.num_images
        for i, (t, s) in enumerate(ends):
            levels = self.pipeline.diffusion.schedule.log_snr(torch.tensor([s, t, t - 1]))
            yield Stretch(
                t=t,
                s=s,
                # where no signal is left at t, the step above it stands for it
                log_snr=float(levels[:2].mean() if levels[1].isfinite() else levels[[0, 2]].mean()),
                bits=bits[i] / count,
                standard_error=error_of_mean(bits[i], squares[i], count),
                rmse=math.sqrt(errors[i] / visits[i]),
            )


def planned(
    pipeline: Pipeline, images: ImageSet, settings: LikelihoodSettings, decoder: LaplaceDecoder | None = None
) -> Measurement:
    """The measurement of `images`, which the pipeline was not trained on; an InputError where they do not fit.

    `decoder`: how likely pixels are given latents, measured on images to train on (`fitting_decoder`); None: of pixels.
    """
    check_likelihood(pipeline.codec)
    if isinstance(pipeline.codec, KLCodec) and decoder is None:
        raise InputError("expected how likely pixels are given latents, got None; give what fitting_decoder measures")
    assert decoder is None or isinstance(pipeline.codec, KLCodec), "pixels are not decoded"
    settings = settings.model_copy(update={"variance": variance_of_steps(pipeline, settings.variance)})
    pipeline.process(settings.variance)
    _check(pipeline, images, settings)
    schedule = pipeline.diffusion.schedule
    chain = schedule.uniform_log_snr(settings.chain or schedule.num_timesteps)
    steps = len(chain) - 2
    draws = steps if settings.timesteps is None else min(settings.timesteps, steps)
    if draws == 1 < steps:
        raise InputError("expected at least 2 timesteps, got 1: what their choice adds to the error would stay unknown")
    subsample = Subsample(settings.seed, len(images), settings.num_images or len(images), steps, draws)
    return Measurement(pipeline, images, settings, subsample, divided(schedule, chain, subsample.widest_gap), decoder)


def _check(pipeline: Pipeline, images: ImageSet, settings: LikelihoodSettings) -> None:
    count, T = settings.num_images or len(images), pipeline.diffusion.num_timesteps
    if images.shape != pipeline.spec.shape:
        raise InputError(f"expected images of shape {pipeline.spec.shape}, got {images.shape}; restore the data set")
    if len(images) < 2:
        raise InputError(f"expected at least 2 test images, got {len(images)}; set data.test when training")
    if not 2 <= count <= len(images):
        raise InputError(f"expected 2 to {len(images)} images, which is all there are, got {count}")
    if settings.chain is not None and not min(2, T) <= settings.chain <= T:
        raise InputError(f"expected a chain of 2 to T = {T} steps, got {settings.chain}")
    if settings.given_classes and pipeline.known_of(images, slice(0, 1)) == NOTHING_TOLD:
        raise InputError("expected no --given-classes: this pipeline was trained without them, or the images have none")
    if pipeline.spec.kinds and not settings.given_classes and not pipeline.config.training.label_dropout:
        raise InputError("expected --given-classes: trained with label_dropout 0, it knows no image without its class")


def mean(values: Sequence[float]) -> Amount:
    """Of one value for each image, with its standard error."""
    centre = math.fsum(values) / len(values)
    spread = math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1)
    return Amount(value=centre, standard_error=math.sqrt(spread / len(values)))


def summed(values: Sequence[float], *parts: Amount) -> Amount:
    """Of one value for each image, the mean, to the digit the sum of its `parts`, with its standard error."""
    return mean(values).model_copy(update={"value": sum(part.value for part in parts)})


def error_of_mean(total: float, squares: float, count: int) -> float:
    """Standard error of a mean, from the sum of `count` values and of their squares."""
    return math.sqrt(max(squares - total**2 / count, 0.0) / (count - 1) / count)


def error_within(sums: Sequence[Sums]) -> float:
    """Standard error that the choice of timesteps and the noise at them make up: (3) of `bound_sums`."""
    count = sum(len(s.prior) for s in sums)
    of_means = math.fsum(total**2 for total in added([s.differences for s in sums]))
    squares = math.fsum(s.differences_squared for s in sums)
    return error_of_mean(math.sqrt(of_means), squares, count)


def joined(rows: Sequence[Sequence[float]]) -> list[float]:
    """All rows in one."""
    return [*chain_of.from_iterable(rows)]


def added(rows: Sequence[Sequence[float] | Sequence[int]]) -> list[float]:
    """The sums of the columns."""
    return [math.fsum(column) for column in zip(*rows, strict=True)]
