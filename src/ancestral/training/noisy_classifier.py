"""The task of a classifier of noisy images (Dhariwal and Nichol 2021), and how well one tells them apart.

x_0 and its class from the data, t from 1..T, eps ~ N(0, I);  step along the gradient of log p(class | x_t)
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from ancestral.codec import PIXELS, Codec
from ancestral.compute import Choices
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Batch
from ancestral.diffusion.level import Noised
from ancestral.errors import InputError
from ancestral.networks.classifier import Classifier, classifier_settings
from ancestral.networks.weights import weights_hash
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import CLASSIFIER_FILE, Accuracy, NoisyClassifier, load_classifier
from ancestral.presets import SMALL_UNET
from ancestral.rng import generator, mix
from ancestral.settings import Config, ImageSpec, TrainingSettings, UNetSettings
from ancestral.tensors import Labels, PerImage
from ancestral.training.randomness import Randomness
from ancestral.training.run import RunFolder
from ancestral.training.task import Network, Task, Trainable

LOG_SNRS = (4.0, 2.0, 0.0, -2.0, -4.0)
"""Levels of noise at which accuracy is measured, beside the first timestep and the last."""
MEASURED = 2000  # images it is measured on, at most
AT_ONCE = 256


def recipe(of_run: TrainingSettings, steps: int | None, minutes: float | None) -> TrainingSettings:
    """How a classifier is trained, to the first limit that is reached; what is not its own is as for the run."""
    budget = {"steps": steps, "images": None, "minutes": minutes, "warmup_images": 50 * of_run.batch_size}
    own = {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.05, "lr_schedule": "cosine"}
    own |= {"augment": 0, "augment_by": None, "ema_snapshots": None}
    return TrainingSettings.model_validate({**of_run.model_dump(), **budget, **own})


def new_classifier(pipeline: Pipeline, class_names: tuple[str, ...], seed: int) -> NoisyClassifier:
    """An untrained classifier of what `pipeline` generates, on its device; its weights depend on `seed` alone."""
    if len(class_names) < 2:
        raise InputError(
            f"expected images of at least two classes, got {len(class_names)}; sort them into folders, one a class"
        )
    spec = ImageSpec(**{**pipeline.latent_spec.model_dump(), "class_names": class_names})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(seed, "classifier", "weights"))
        unet = pipeline.config.network if isinstance(pipeline.config.network, UNetSettings) else SMALL_UNET
        network = Classifier(classifier_settings(unet), spec.channels, len(class_names))
    network = network.eval().requires_grad_(False).to(pipeline.device)
    return NoisyClassifier(network, spec, pipeline.diffusion)


class Classifying(Task):
    """A classifier learns the classes of images noised by its process. `config`: the settings of its training."""

    def __init__(self, classifier: NoisyClassifier, config: Config, compute: Choices, codec: Codec = PIXELS) -> None:
        self.classifier, self.config, self.compute, self.codec = classifier, config, compute, codec
        self.seed, self.spec = mix(config.seed, "classifier"), classifier.spec
        self.num_timesteps = classifier.diffusion.num_timesteps
        self.device = next(classifier.network.parameters()).device
        network = classifier.network.requires_grad_(True)
        self.modules = (Trainable(network, config.training, self.losses, self._warm_up),)

    def with_compute(self, choices: Choices) -> "Classifying":
        return Classifying(self.classifier, self.config, choices, self.codec)

    def losses(self, network: Network, batch: Batch, random: Randomness) -> tuple[PerImage, PerImage]:
        """-log p(class | x_t), nats."""
        assert batch.condition.labels is not None, "images of classes"
        with torch.no_grad():
            x0 = self.codec.encode(batch.pixels, random.codec_noise)
        level = self.classifier.diffusion.schedule.level(random.times.t)
        losses = self._losses(network, Noised.at(level, x0, random.eps), batch.condition.labels)
        return losses, random.times.weight.to(losses)

    def save(self, averages: Sequence[nn.Module], run: RunFolder) -> None:
        (average,) = averages
        assert isinstance(average, Classifier)
        replace(self.classifier, network=average).save(run.path / CLASSIFIER_FILE)

    def mend(self, averages: Sequence[nn.Module], run: RunFolder) -> str | None:
        file = run.path / CLASSIFIER_FILE
        try:
            kept = load_classifier(file, self.spec, self.classifier.diffusion).digest
        except InputError:
            kept = ""
        if kept == weights_hash(averages[0]):
            return None
        self.save(averages, run)
        return f"{file} was not that of the checkpoint: written anew"

    def _losses(self, network: Network, noised: Noised, labels: Labels) -> PerImage:
        time = self.classifier.diffusion.network_time(noised.level, noised.x_t)
        with self.compute.autocast(self.device):
            scores = network(noised.x_t, time)
        return F.cross_entropy(scores.float(), labels, reduction="none")

    def _warm_up(self, network: Network, count: int) -> PerImage:
        x0, t = torch.zeros(count, *self.spec.shape, device=self.device), torch.ones(count, dtype=torch.int64)
        labels = torch.zeros_like(t).to(self.device)
        return self._losses(network, self.classifier.diffusion.noised(x0, t.to(self.device), x0), labels)


@torch.inference_mode()
def measured(classifier: NoisyClassifier, images: ImageSet, codec: Codec = PIXELS) -> NoisyClassifier:
    """`classifier` with its accuracies on held-out `images`, whose noise never changes; none where there are none."""
    count = min(MEASURED, len(images))
    timesteps = measured_timesteps(classifier) if count else []
    found = tuple(_accuracy(classifier, images, codec, t) for t in timesteps)
    return replace(classifier, accuracies=found, num_held_out=count)


def measured_timesteps(classifier: NoisyClassifier) -> list[int]:
    """1, those nearest to `LOG_SNRS`, and T, rising; without any at which no signal is left."""
    schedule = classifier.diffusion.schedule
    nearest = schedule.nearest(torch.tensor(LOG_SNRS, dtype=torch.float64)).tolist()
    return [t for t in sorted({1, *nearest, schedule.num_timesteps}) if schedule.alpha_bar[t] > 0]


def _accuracy(classifier: NoisyClassifier, images: ImageSet, codec: Codec, t: int) -> Accuracy:
    """The share of at most `MEASURED` images whose class is the likeliest at t."""
    device, right = next(classifier.network.parameters()).device, 0
    starts = range(0, min(MEASURED, len(images)), AT_ONCE)
    draws = generator(0, "classifier", "accuracy", t)
    for part in (images.sliced(start, min(start + AT_ONCE, MEASURED)) for start in starts):
        x0 = codec.encode(torch.tensor(part.pixels()).permute(0, 3, 1, 2))
        at, eps = torch.tensor(t), torch.randn(x0.shape, generator=draws)
        x_t = classifier.diffusion.q_sample(x0, at, eps).to(device)
        right += int((classifier.scores(x_t, at).argmax(dim=1).cpu() == torch.tensor(part.labels)).sum())
    log_snr = float(classifier.diffusion.schedule.log_snr(torch.tensor(t)))
    return Accuracy(timestep=t, log_snr=log_snr, share=right / min(MEASURED, len(images)))
