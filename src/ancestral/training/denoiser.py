"""The task of Algorithm 1: a network learns to say what is noise, and its average becomes a pipeline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ancestral.compute import Choices
from ancestral.data.imageset import ImageSet
from ancestral.data.latents import LatentRows
from ancestral.data.loader import Batch
from ancestral.diffusion.level import Noised
from ancestral.diffusion.timesteps import RecentLosses, normal
from ancestral.errors import InputError
from ancestral.networks.backbone import Backbone
from ancestral.pipeline import Pipeline
from ancestral.pipeline.folder import name_of, stored, write_settings
from ancestral.processes import Processes
from ancestral.rng import mix
from ancestral.settings import Config
from ancestral.tensors import Images, PerImage, Pixels
from ancestral.training.augmentation import SIZE, changed
from ancestral.training.chosen_average import read_choice
from ancestral.training.loss import level_of, losses_of_black, training_losses, weighting_of
from ancestral.training.memory import fit_micro_batch
from ancestral.training.randomness import Randomness, randomness_of
from ancestral.training.run import RunFolder
from ancestral.training.task import Network, Task, Trainable

GRID_IMAGES = 40


class Denoising(Task):
    """The network of a pipeline, by the loss of its settings. `recent`: losses that timesteps are sampled by."""

    config: Config

    def __init__(self, pipeline: Pipeline, latents: LatentRows | None = None) -> None:
        """`latents`: of the images to train on, by the pipeline's codec; None: each batch is encoded at its step."""
        self.latents = latents
        self.pipeline, self.diffusion, self.config = pipeline, pipeline.diffusion, pipeline.config
        self.seed, self.spec, self.device = pipeline.config.seed, pipeline.latent_spec, pipeline.device
        self.compute, self.network_settings = pipeline.compute, pipeline.network_settings
        self.num_timesteps, self.tokenizer = pipeline.diffusion.num_timesteps, pipeline.tokenizer
        settings = pipeline.config.own_training
        assert latents is None or not settings.augment, "images that are encoded at each step"
        trial, fresh = partial(losses_of_black, pipeline), self._fresh if pipeline.network_settings else None
        self.modules = (Trainable(self._with_augmentation(pipeline.network), settings, self.losses, trial, fresh),)
        self.weighting = weighting_of(settings)
        self.recent = RecentLosses.none(self.num_timesteps) if settings.timesteps == "importance" else None
        mean, std = settings.timesteps_mean or 0.0, settings.timesteps_std or 2.0
        self.density = normal(self.diffusion.schedule, mean, std) if settings.timesteps == "normal" else None

    def with_compute(self, choices: Choices) -> "Denoising":
        return Denoising(self.pipeline.with_compute(choices), self.latents)

    def fitted(self, images: ImageSet, say: Callable[[str], None], processes: Processes) -> Choices:
        return fit_micro_batch(self.pipeline, images, say, processes)

    def randomness(self, step: int) -> Randomness:
        settings, shape, T = self.config.training, self.spec.shape, self.num_timesteps
        image = self.pipeline.spec.shape
        return randomness_of(settings, self.seed, step, shape, T, self.device, self.recent, self.density, image)

    def losses(self, network: Network, batch: Batch, random: Randomness) -> tuple[PerImage, PerImage]:
        """The square in Algorithm 1."""
        condition, level = batch.condition.hidden(random.hidden), level_of(self.pipeline, random.times)
        condition = condition._replace(augmentation=random.augmentation)  # also of what is hidden
        with torch.no_grad():
            x0 = self._x0(batch, random)
        noised = Noised.at(level, x0.contiguous(memory_format=torch.channels_last), random.eps)
        losses = training_losses(self.pipeline, network, noised, condition)
        return losses, (self.weighting(self.diffusion, level) * random.times.weight).to(losses)

    def _x0(self, batch: Batch, random: Randomness) -> Images:
        if batch.moments is not None:
            return batch.moments.draw(random.codec_noise)
        vectors = random.augmentation
        pixels = batch.pixels if vectors is None else changed(batch.pixels, vectors)
        return self.pipeline.codec.encode(pixels, random.codec_noise)

    def after(self, random: Randomness, losses: PerImage, taken: Tensor, processes: Processes) -> None:
        if self.recent is not None:
            self.recent = self.recent.after(random.times.t, losses)

    def tensors(self) -> Mapping[str, Mapping[str, Tensor]]:
        return {} if self.recent is None else {"timesteps": {"recent_losses": self.recent.table}}

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        if self.recent is not None:
            self.recent = RecentLosses(tensors["timesteps"]["recent_losses"])

    def grid(self, average: nn.Module, images: ImageSet) -> Pixels:
        """Each process generates it, since each may have to call the network for any to."""
        by_torch = self.pipeline.compute.by_torch  # weights that change are not worth compiling
        pipeline = replace(self.pipeline, network=average, analytic=None, compute=by_torch)
        seeds = [mix(0, "grid", i) for i in range(GRID_IMAGES)]
        return pipeline.generate(seeds, pipeline.in_turn(GRID_IMAGES, images))

    def save(self, averages: Sequence[nn.Module], run: RunFolder) -> None:
        self._averaged(averages).save(run.pipeline)
        run.chosen_average.unlink(missing_ok=True)

    def mend(self, averages: Sequence[nn.Module], run: RunFolder) -> str | None:
        """Also where it is to be sampled otherwise, which is not said. An average that was chosen in place of this one
        stays until training goes on."""
        averaged, choice = self._averaged(averages), read_choice(run)
        try:
            weights, sampling = stored(run.pipeline)
        except InputError:
            weights, sampling = "", averaged.config.sampling
        own = averaged.weights_hash()
        if weights != own and (choice is None or (choice.weights, choice.own) != (weights, own)):
            averaged.save(run.pipeline)
            return f"{run.pipeline} was not that of the checkpoint: written anew"
        if sampling != averaged.config.sampling:
            write_settings(run.pipeline, averaged.config, averaged.spec, name_of(averaged.codec))
        return None

    def _averaged(self, averages: Sequence[nn.Module]) -> Pipeline:
        (average,) = averages
        plain = average.with_augmentation(0) if isinstance(average, Backbone) else average
        return self.pipeline.with_network(plain)

    def _fresh(self) -> nn.Module:
        codec, tokenizer = self.pipeline.codec, self.pipeline.tokenizer
        fresh = Pipeline.fresh(self.config, self.pipeline.spec, "cpu", codec=codec, tokenizer=tokenizer)
        return self._with_augmentation(fresh.network)

    def _with_augmentation(self, network: nn.Module) -> nn.Module:
        """The network as it is trained, told how images were changed where they are."""
        chance = self.config.training.augment
        if not chance:
            return network
        if not isinstance(network, Backbone):
            raise InputError(
                f"expected training.augment 0 with a network of one's own, which is told no changes, got {chance}; "
                "leave it out"
            )
        return network.with_augmentation(SIZE)
