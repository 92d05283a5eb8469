"""Training a classifier of noisy images (Dhariwal and Nichol 2021), as a generator that is stopped anywhere.

    x_0 and its class from the data, t from 1..T, eps ~ N(0, I);  step along the gradient of log p(class | x_t)

What a step sees is a function of (seed, step) alone, as in `ancestral.training.step`.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from ancestral.codec import PIXELS, Codec
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Loader, sent
from ancestral.errors import Diverged, InputError
from ancestral.networks.classifier import Classifier, classifier_settings
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import Accuracy, NoisyClassifier
from ancestral.presets import SMALL_UNET
from ancestral.rng import generator, mix
from ancestral.settings import ImageSpec, TrainingSettings, UNetSettings
from ancestral.training.budget import fraction_used, learning_rate
from ancestral.training.loop import Progress
from ancestral.training.optimizer import optimizers_for

LOG_SNRS = (4.0, 2.0, 0.0, -2.0, -4.0)
"""Levels of noise at which accuracy is measured, beside the first timestep and the last."""
MEASURED = 2000  # images it is measured on, at most
AT_ONCE = 256


def recipe(batch_size: int, steps: int | None, minutes: float | None) -> TrainingSettings:
    """How a classifier is trained; to the first limit that is reached."""
    return TrainingSettings(
        steps=steps,
        minutes=minutes,
        batch_size=batch_size,
        optimizer="adamw",
        lr=2e-3,
        weight_decay=0.05,
        warmup_images=50 * batch_size,
        lr_schedule="cosine",
    )


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


def train_classifier(
    classifier: NoisyClassifier,
    images: ImageSet,
    settings: TrainingSettings,
    seed: int,
    flip: bool = False,
    codec: Codec = PIXELS,
) -> Iterator[Progress]:
    """Trains the network of `classifier` in place, yielding after every step; its record has the `loss`, nats.
    `flip`: mirror half of the images left to right. Diverged where the loss is not finite.
    """
    network = classifier.network.train().requires_grad_(True)
    device, T = next(network.parameters()).device, classifier.diffusion.num_timesteps
    loader = Loader(images, settings.batch_size, mix(seed, "classifier"), flip, device)
    optimizers, started = optimizers_for(dict(network.named_parameters()), network, settings), time.monotonic()
    progress = Progress(0, 0, 0.0, 0.0, None)
    try:
        while progress.fraction < 1:
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = learning_rate(settings, progress.images, progress.fraction)
            batch, step = loader.batch(progress.step), progress.step
            labels, x0 = batch.condition.labels, codec.encode(batch.pixels)
            assert labels is not None
            t = torch.randint(1, T + 1, (len(x0),), generator=generator(seed, "classifier", "t", step))
            at_step = generator(seed, "classifier", "eps", step, device=device)
            eps, t = torch.randn(x0.shape, generator=at_step, device=device), sent(t, device)
            loss = -classifier(labels)(classifier.diffusion.q_sample(x0, t, eps), t).mean()
            network.zero_grad()
            torch.autograd.backward(loss)
            if settings.clip_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            if not loss.isfinite():
                said = f"training the classifier diverged at step {step + 1}; check the images, or set another --seed"
                raise Diverged(said)
            for optimizer in optimizers:
                optimizer.step()
            step, seconds = step + 1, time.monotonic() - started
            seen = step * settings.batch_size
            fraction = fraction_used(settings, step, seen, seconds)
            progress = Progress(step, seen, fraction, seconds, {"step": step, "loss": loss.item()})
            yield progress
    finally:
        network.eval().requires_grad_(False)


@torch.inference_mode()
def measured(classifier: NoisyClassifier, images: ImageSet, codec: Codec = PIXELS) -> NoisyClassifier:
    """`classifier` with its accuracies on held-out `images`, whose noise never changes; none where there are none."""
    count = min(MEASURED, len(images))
    timesteps = measured_timesteps(classifier) if count else []
    return replace(
        classifier, accuracies=tuple(_accuracy(classifier, images, codec, t) for t in timesteps), num_held_out=count
    )


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
