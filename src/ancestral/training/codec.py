"""The task of an autoencoder: images through few numbers and back, and beside it a discriminator, where there is one.

With the losses of codec_losses.py, z drawn from q(z|x) and y the images made of it, a step of the autoencoder follows

    ( -log p(x|z) + kl_weight KL ) / D   +   f_P P(x, y)   +   f_A A(y)                                              (1)

P the perceptual distance, A how unlikely the discriminator takes y to be, D the numbers of an image. Of vq the
mean squared distance to the codes stands in place of the KL. The loss that is reported, of training and of held-out
images, is the first part alone: f_P and f_A change from step to step, and what is in nats means the same in every run.

The gradient of (1) at y is found term by term, where it costs nothing of the network; so the norms that f_P and f_A are
made of are known at each step, and the network is gone through once. With dL/dy held fixed, sum(y dL/dy) has the same
gradient in the network as L.

The discriminator has a loss of its own, learns and is heard from `adversarial_start` on, and sees pictures that carry
no gradient. The loop holds each of the two fixed while the other one's loss is followed.

Beside networks and optimisers, a resume needs the recent errors and norms, and the sums that the log is about to show;
of features that were learned, these too.
Codes are moved after a step, by what that step has encoded; none is moved where the step was not taken.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import log, prod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.compute import Choices, resolve
from ancestral.condition import NOTHING_TOLD
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Batch
from ancestral.errors import InputError
from ancestral.files import as_path
from ancestral.gaussian import DiagonalGaussian
from ancestral.hub.autoencoder import read_autoencoder, write_autoencoder
from ancestral.networks.autoencoder import Autoencoder, Coded
from ancestral.networks.discriminator import PatchDiscriminator, levels_for
from ancestral.networks.latents import LatentCodec, cropped, latent_codec, latent_statistics, reflected
from ancestral.networks.tiled import at_once
from ancestral.networks.weights import channels_last, weights_hash
from ancestral.processes import Processes
from ancestral.rng import generator, mix
from ancestral.settings import CodecConfig, ImageSpec, KLSettings, VQSettings
from ancestral.tensors import Images, PerImage, Pixels, from_pixels, to_pixels
from ancestral.training.codec_losses import (
    ImageGradients,
    RandomFilters,
    RecentMeans,
    factors,
    hinge,
    kl_nats,
    laplace_nats,
    laplace_scale,
    last_weight_gradient,
    unlikely,
)
from ancestral.training.lpips import read_lpips
from ancestral.training.memory import Footprint, fit, moment_bytes, peak_bytes
from ancestral.training.randomness import Randomness, randomness_of
from ancestral.training.run import RunFolder
from ancestral.training.task import Network, Task, Trainable

MEASURED = 10_000  # images to train on that the statistics of the latents are of, at most
GRID_IMAGES, GRID_COLUMNS = 20, 10
LEAST_SIDE = 8  # px, of images that a discriminator has patches of
PERCEIVE = "perceive."  # before the names of what a checkpoint has of the perceptual distance
REVIVAL_STEPS = 100  # between two looks for codes that nothing is near to
LAST_REVIVAL = 0.8  # share of the budget after which codes are left as they are
DISCRIMINATOR_BETAS = (0.5, 0.9)  # of its optimiser: what it has to tell apart changes all the time


class CodecTerms(NamedTuple):
    """What the loss of each image is made of, (B,) each; the first two in nats of an image."""

    nats: PerImage  # -log p(x|z)
    rate: PerImage  # the KL; of plain and vq 0
    commitment: PerImage  # mean squared distance of a number to its code; of plain and kl 0
    perceptual: PerImage
    adversarial: PerImage


class CodecTask(Task):
    """An autoencoder on the images of its settings, and how what is kept of it comes into a folder."""

    config: CodecConfig
    window: Tensor  # sums of the terms of `CodecTerms` since the last line of the log, and the images they are of

    def __init__(
        self,
        config: CodecConfig,
        images: ImageSet,
        device: torch.device,
        compute: Choices | None = None,
        perceive: nn.Module | None = None,
    ) -> None:
        """`images`: those to train on. Weights depend on the seed of `config` alone. `compute`: None: as its settings
        and the machine have it. `perceive`: the perceptual distance of images, (x, y) -> (B,), which must be given
        where that is by features; None: as the settings name it."""
        channels, height, width = images.shape
        self.config, self.images, self.device, self.settings = config, images, device, config.codec
        self.seed, self.size = mix(config.seed, "codec"), (height, width)
        if config.codec.adversarial and min(self.size) < LEAST_SIDE:
            raise InputError(
                f"expected images of at least {LEAST_SIDE} pixels a side with codec.adversarial, got {height}x{width}; "
                "set --codec.adversarial 0"
            )
        z, h, w = config.codec.channels, *(-(-side // config.codec.factor) for side in self.size)
        self.spec = ImageSpec(channels=z, height=h, width=w)  # of what noise is drawn for, and told nothing
        image_spec = ImageSpec(channels=channels, height=height, width=width)
        self.compute = compute or resolve(config.compute, None, image_spec, device)
        self.autoencoder, self.discriminator = self._networks(channels)
        self.perceive = (perceive or self._distance(channels)).to(device)
        self.modules = tuple(self._trainables())
        self.fraction, self.step = 0.0, 0
        self.recent_errors, self.norms = RecentMeans.none(channels, device), RecentMeans.none(3, device)
        self.window = torch.zeros(len(CodecTerms._fields) + 1, dtype=torch.float64, device=device)
        self._begin()

    def with_compute(self, choices: Choices) -> "CodecTask":
        if choices.threads is not None:
            torch.set_num_threads(choices.threads)
        return CodecTask(self.config, self.images, self.device, choices, self.perceive)

    def fitted(self, images: ImageSet, say: Callable[[str], None], processes: Processes) -> Choices:
        batch_size = self.config.training.batch_size
        return fit(self.compute, batch_size, self.footprint, images, self.device, say, processes)

    def footprint(self, at_once: int, batch_size: int) -> Footprint:
        """The estimate with so many images at once, of so many of a batch in one process: losses and their gradients
        are computed of 2 and of 4 images, by networks that nothing else is done with."""
        weights = sum(each.nbytes for module in self.modules for each in module.network.parameters())
        moments = sum(moment_bytes(module.network, module.settings) for module in self.modules)
        pixels = self.autoencoder.image_channels * prod(self.size)
        batch = pixels * batch_size + 4 * prod(self.spec.shape) * self.config.training.batch_size
        trial = CodecTask(self.config, self.images, self.device, self.compute, self.perceive)
        two, four = (peak_bytes(partial(trial._try, count)) for count in (2, 4))
        return Footprint(weights, weights, moments, weights, batch, two + (at_once - 2) * (four - two) // 2)

    def _try(self, count: int) -> None:
        """All that is computed of so many black images in a step, once the discriminator is heard."""
        self.before(1, 1.0)
        settings = self.config.training.model_copy(update={"batch_size": count})
        random = randomness_of(settings, self.seed, 1, self.spec.shape, 1, self.device, None)
        pixels = torch.zeros(count, self.autoencoder.image_channels, *self.size, dtype=torch.uint8, device=self.device)
        for module in self.modules:
            losses, _ = module.losses(module.network, Batch(pixels, NOTHING_TOLD, torch.arange(count)), random)
            torch.autograd.grad(losses.sum(), [*module.network.parameters()], allow_unused=True)

    @property
    def is_heard(self) -> bool:
        """Whether the discriminator is."""
        return self.settings.adversarial > 0 and self.fraction >= self.settings.adversarial_start

    def before(self, step: int, fraction: float) -> None:
        self.step, self.fraction = step, fraction
        self._begin()

    def losses(self, network: Network, batch: Batch, random: Randomness) -> tuple[PerImage, PerImage]:
        """The nats of (1) of each image, over D, with the gradient of all of (1)."""
        x = from_pixels(batch.pixels)
        padded = from_pixels(reflected(batch.pixels, self.settings.factor))
        learning = torch.is_grad_enabled()
        if learning and self.step == 0 and self.autoencoder.quantize is not None and not self.coded:
            self._start_codes(padded)
        coded = self._through(network, padded, random)
        if not learning:
            return self._in_nats(self._terms(x, coded, self._seen(coded.images)), x), _alike(x)
        seen = coded.images.detach().requires_grad_()
        terms = self._terms(x, coded, self._seen(seen))
        gradients = self._gradients(terms, seen)
        self._remember(x, coded, terms, gradients)
        factor = factors(self.norms).to(seen)[:, None, None, None, None]
        asked = torch.tensor([1.0, self.settings.perceptual, self.settings.adversarial]).to(factor)
        wanted = (gradients * factor * asked[:, None, None, None, None]).sum(0)
        through = (coded.images * wanted).flatten(1).sum(1) + self._in_latents(terms, x)  # see the header
        return self._in_nats(terms, x).detach() + (through - through.detach()), _alike(x)

    def discriminator_losses(self, network: Network, batch: Batch, random: Randomness) -> tuple[PerImage, PerImage]:
        """How badly it tells images from what is made of them; nothing while it is not heard."""
        x = from_pixels(batch.pixels)
        if not self.is_heard:
            side = 2 ** levels_for(*self.size)
            return (0 * network(x[:1, :, :side, :side])).sum().expand(len(x)), _alike(x)
        with torch.no_grad():
            padded = from_pixels(reflected(batch.pixels, self.settings.factor))
            made = self._seen(self._through(self.autoencoder, padded, random).images)
        with self.compute.autocast(self.device):
            real, unreal = network(torch.cat([x, made])).float().chunk(2)
        return hinge(real, unreal), _alike(x)

    @torch.no_grad()
    def after(self, random: Randomness, losses: PerImage, taken: Tensor, processes: Processes) -> None:
        """Recent errors and norms, and the codes, move by what all processes have seen."""
        images, (height, width) = self.config.training.batch_size, self.size
        parts = [self.errors, self.at_last_weight.double().flatten(), self.sums]
        errors, gradients, sums = torch.split(processes.sum(torch.cat(parts)), [len(each) for each in parts])
        self.recent_errors = self.recent_errors.after(errors / (images * height * width), taken)
        asked = torch.tensor([True, self.settings.perceptual > 0, self.is_heard]).to(taken.device)
        norms = gradients.reshape(len(asked), -1).norm(dim=1) / images
        self.norms = self.norms.after(norms, taken & asked)
        counted = torch.cat([sums, sums.new_tensor([images])])
        self.window = self.window + counted.masked_fill(~taken, 0)
        if self.coded:
            self._move_codes(taken)
        self._begin()

    def record(self) -> Mapping[str, Any]:
        """Means since the last line: nats of the reconstruction for each number of an image, and what the rest is."""
        *sums, images = self.window.tolist()
        self.window = torch.zeros_like(self.window)
        if not images:
            return {}
        means = dict(zip(CodecTerms._fields, (each / images for each in sums), strict=True))
        return self._in_words(means)

    def tensors(self) -> Mapping[str, Mapping[str, Tensor]]:
        recent = {"errors": self.recent_errors, "norms": self.norms}
        kept = {f"{name}.{key}": getattr(each, key) for name, each in recent.items() for key in ("sums", "counts")}
        distance = {f"{PERCEIVE}{name}": each for name, each in self._perceived().items()}
        return {"codec": {**kept, "window": self.window, **distance}}

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        kept = {name: each.to(self.device) for name, each in tensors["codec"].items()}
        self.recent_errors = RecentMeans(kept["errors.sums"], kept["errors.counts"])
        self.norms = RecentMeans(kept["norms.sums"], kept["norms.counts"])
        self.window = kept["window"]
        distance = {name.removeprefix(PERCEIVE): each for name, each in kept.items() if name.startswith(PERCEIVE)}
        if self.settings.perceptual_by == "features":
            self.perceive.load_state_dict(distance)
        elif not all(torch.equal(each, distance[name].cpu()) for name, each in self._perceived().items()):
            file = self.settings.perceptual_weights
            raise InputError(f"expected the codec.perceptual_weights that this run began with, got others in {file}")

    @torch.no_grad()
    def grid(self, average: nn.Module, images: ImageSet) -> Pixels:
        """Rows of images, and below each what is made of them."""
        assert isinstance(average, Autoencoder)
        count = min(GRID_IMAGES, len(images))
        pixels = torch.tensor(images.stretch(0, count)[0]).permute(0, 3, 1, 2)
        made = to_pixels(reconstructed(average, pixels.to(self.device))).cpu()
        rows = zip(*(torch.split(each, GRID_COLUMNS) for each in (pixels, made)), strict=True)
        return torch.cat([_row(each) for row in rows for each in row])

    def save(self, averages: Sequence[nn.Module], run: RunFolder) -> None:
        """The autoencoder of the averaged weights, with the statistics of its latents."""
        write_autoencoder(run.codec, self.codec(averages[0]), min(self.size))

    def mend(self, averages: Sequence[nn.Module], run: RunFolder) -> str | None:
        """All that is not folded with statistics is to be equal."""
        own = averages[0].state_dict()
        try:
            kept = read_autoencoder(run.codec).network.state_dict()
        except InputError:
            kept = {}
        names = [name for name in own if name.startswith(("encoder.", "decoder."))]
        if own.keys() == kept.keys() and all(torch.equal(own[name].cpu(), kept[name]) for name in names):
            return None
        self.save(averages, run)
        return f"{run.codec} was not that of the checkpoint: written anew"

    def codec(self, average: nn.Module) -> LatentCodec:
        """The codec of such a network, its statistics measured on the images to train on."""
        assert isinstance(average, Autoencoder)
        return latent_codec(average, *latent_statistics(average, some_images(self.images, self.device)))

    def _networks(self, channels: int) -> tuple[Autoencoder, PatchDiscriminator | None]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(self.seed, "weights"))
            autoencoder = channels_last(Autoencoder(self.settings, channels)).to(self.device)
            torch.manual_seed(mix(self.seed, "discriminator"))
            critic = PatchDiscriminator(channels, levels_for(*self.size)) if self.settings.adversarial else None
        return autoencoder, None if critic is None else channels_last(critic).to(self.device)

    def _distance(self, channels: int) -> nn.Module:
        """The perceptual one, where the settings say all of it."""
        match self.settings.perceptual_by:
            case "filters":
                return RandomFilters(channels, self.seed)
            case "gradients":
                return ImageGradients()
            case "lpips":
                return read_lpips(as_path(self.settings.perceptual_weights), *self.size)
        raise InputError(
            "expected `perceive` with codec.perceptual_by features, got none; ancestral.jobs.perceptual has it"
        )

    def _perceived(self) -> dict[str, Tensor]:
        """What a resume needs of the perceptual distance: features that were learned, or which weights it has."""
        match self.settings.perceptual_by:
            case "features":
                return self.perceive.state_dict()
            case "lpips":
                return {"hash": torch.tensor([*bytes.fromhex(weights_hash(self.perceive))], dtype=torch.uint8)}
        return {}

    def _trainables(self) -> Iterator[Trainable]:
        settings = self.config.training
        yield Trainable(self.autoencoder, settings, self.losses, self._warm_up)
        if self.discriminator is not None:
            own, warm_up = settings.model_copy(update={"betas": DISCRIMINATOR_BETAS}), self._warm_discriminator_up
            yield Trainable(self.discriminator, own, self.discriminator_losses, warm_up, name="discriminator")

    def _begin(self) -> None:
        """Nothing was seen in this step."""
        weight = self.autoencoder.decoder.conv_out.weight
        self.errors = torch.zeros(self.autoencoder.image_channels, dtype=torch.float64, device=self.device)
        self.at_last_weight = torch.zeros(3, *weight.shape, device=self.device)
        self.sums = torch.zeros(len(CodecTerms._fields), dtype=torch.float64, device=self.device)
        self.coded = list[tuple[Tensor, Tensor]]()  # what was encoded, and the indices of its codes

    def _through(self, network: Callable[..., Any], padded: Images, random: Randomness) -> Coded:
        noise = random.eps if isinstance(self.settings, KLSettings) else None
        with self.compute.autocast(self.device):
            coded: Coded = network(padded, noise)
        return coded

    def _seen(self, images: Images) -> Float[Tensor, "B C _ _"]:
        """Without what was continued by reflection, float32."""
        height, width = self.size
        return images.float()[..., :height, :width]

    def _terms(self, x: Images, coded: Coded, y: Images) -> CodecTerms:
        zero = torch.zeros(len(x), device=x.device)
        settings = self.settings
        likely = laplace_nats(x, y, laplace_scale(self.recent_errors))
        rate = zero if coded.posterior is None else kl_nats(_float(coded.posterior))
        latents = coded.encoded[0].numel()
        commitment = zero if coded.quantized is None else coded.quantized.commitment / latents
        perceptual = self.perceive(x, y) if settings.perceptual and torch.is_grad_enabled() else zero
        adversarial = zero
        if self.is_heard and self.discriminator is not None and torch.is_grad_enabled():
            with self.compute.autocast(self.device):
                scores = self.discriminator(y)
            adversarial = unlikely(scores.float())
        return CodecTerms(likely, rate, commitment, perceptual, adversarial)

    def _in_latents(self, terms: CodecTerms, x: Images) -> PerImage:
        """What (1) has of latents, nats for each number of an image."""
        if isinstance(self.settings, KLSettings):
            return self.settings.kl_weight * terms.rate / x[0].numel()
        return self.settings.commitment * terms.commitment if isinstance(self.settings, VQSettings) else terms.rate

    def _in_nats(self, terms: CodecTerms, x: Images) -> PerImage:
        return terms.nats / x[0].numel() + self._in_latents(terms, x)

    def _gradients(self, terms: CodecTerms, y: Images) -> Float[Tensor, "3 B C H W"]:
        """Those of the three terms at what the decoder made, each as if it were all of the loss."""
        numbers = self.autoencoder.image_channels * self.size[0] * self.size[1]
        asked = (terms.nats / numbers, terms.perceptual, terms.adversarial)
        found = [torch.autograd.grad(each.sum(), y)[0] if each.requires_grad else torch.zeros_like(y) for each in asked]
        return torch.stack(found).float()

    @torch.no_grad()
    def _remember(self, x: Images, coded: Coded, terms: CodecTerms, gradients: Float[Tensor, "3 B C _ _"]) -> None:
        """What `after` is to know of this part of the batch."""
        weight = self.autoencoder.decoder.conv_out.weight
        self.errors += (x - self._seen(coded.images)).abs().double().sum(dim=(0, 2, 3))
        for number, gradient in enumerate(gradients):
            self.at_last_weight[number] += last_weight_gradient(coded.features, gradient, weight)
        self.sums += torch.stack([each.double().sum() for each in terms])
        if coded.quantized is not None:
            self.coded.append((coded.encoded.detach().float(), coded.quantized.indices))

    @torch.no_grad()
    def _start_codes(self, padded: Images) -> None:
        """Codes start where the first batch is encoded to; drawn ones would be far from all of it."""
        assert self.autoencoder.quantize is not None
        self.autoencoder.quantize.start(self.autoencoder.encoded(padded), generator(self.seed, "codes"))

    def _move_codes(self, taken: Tensor) -> None:
        assert self.autoencoder.quantize is not None
        quantize = self.autoencoder.quantize
        before = [each.clone() for each in quantize.buffers()]
        encoded, indices = (torch.cat(each) for each in zip(*self.coded, strict=True))
        quantize.update(encoded, indices)
        if (self.step + 1) % REVIVAL_STEPS == 0 and self.fraction < LAST_REVIVAL:
            quantize.revive(encoded, generator(self.seed, "revival", self.step))
        for now, was in zip(quantize.buffers(), before, strict=True):
            now.copy_(torch.where(taken, now, was))

    def _in_words(self, means: Mapping[str, float]) -> dict[str, float]:
        """Names and units of the log."""
        channels, (height, width) = self.autoencoder.image_channels, self.size
        said = {"reconstruction_nats": means["nats"] / (channels * height * width)}
        if isinstance(self.settings, KLSettings):
            said |= {"kl_nats_per_latent": means["rate"] / prod(self.spec.shape)}
            said |= {"kl_bits_per_image": means["rate"] / log(2)}
        said |= {"commitment": means["commitment"]} if isinstance(self.settings, VQSettings) else {}
        said |= {"perceptual": means["perceptual"]} if self.settings.perceptual else {}
        return {**said, "adversarial": means["adversarial"]} if self.settings.adversarial else said

    def _warm_up(self, network: Network, count: int) -> PerImage:
        z, h, w = self.spec.shape
        factor, device = self.settings.factor, self.device
        x = torch.zeros(count, self.autoencoder.image_channels, h * factor, w * factor, device=device)
        noise = torch.zeros(count, z, h, w, device=device) if isinstance(self.settings, KLSettings) else None
        with self.compute.autocast(device):
            coded: Any = network(x.contiguous(memory_format=torch.channels_last), noise)
        return coded.images.float().flatten(1).mean(1)

    def _warm_discriminator_up(self, network: Network, count: int) -> PerImage:
        x = torch.zeros(count, self.autoencoder.image_channels, *self.size, device=self.device)
        return network(x).flatten(1).mean(1)


def some_images(images: ImageSet, device: torch.device) -> Iterator[Pixels]:
    """Batches of at most `MEASURED` of the images on a device, the first ones: a set is shuffled."""
    count, together = min(MEASURED, len(images)), at_once(*images.shape[1:])
    for start in range(0, count, together):
        pixels, _ = images.stretch(start, min(start + together, count))
        yield torch.tensor(pixels).permute(0, 3, 1, 2).to(device)


@torch.no_grad()
def reconstructed(network: Autoencoder, pixels: Pixels) -> Images:
    """What a network makes of images, by the means of their latents, of their size, in float32."""
    x = from_pixels(reflected(pixels, network.settings.factor))
    with torch.autocast(x.device.type, enabled=False):
        return cropped(network(x).images, pixels.shape[2:])


def _alike(x: Images) -> PerImage:
    """The weight of each image."""
    return torch.ones(len(x), device=x.device)


def _float(posterior: DiagonalGaussian) -> DiagonalGaussian:
    return DiagonalGaussian(*(each.float() for each in posterior))


def _row(pixels: Pixels) -> UInt8[Tensor, "_ C H W"]:
    """A whole row of the grid: white where images are missing."""
    return F.pad(pixels, (0, 0, 0, 0, 0, 0, 0, GRID_COLUMNS - len(pixels)), value=255)
