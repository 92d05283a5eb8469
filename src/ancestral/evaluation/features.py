"""Images to vectors: a small classifier trained once on the data itself, and the layer before its answer.

Published feature networks look at photographs through 299 x 299 pixels and say little of 8 x 8 digits. Ours learns the
labels of the training images; where there are none, it learns to tell which transform was applied (mirrored, upside
down and, on square images, transposed: the 8 symmetries of a square). Features are standardised by the training
images, so one unit is one deviation. How far to trust them is the held-out accuracy that stands beside them.

A network is trained once for each data set, and kept (kept.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from ancestral.compute import Choices
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Batch
from ancestral.errors import InputError
from ancestral.evaluation.kept import file_of, keep, kept, training
from ancestral.networks.weights import channels_last
from ancestral.progress import StepwiseWork
from ancestral.rng import generator, mix
from ancestral.settings import Config, ImageSpec, TrainingSettings
from ancestral.tensors import Images, Labels, PerImage, Pixels, from_pixels
from ancestral.training.randomness import Randomness
from ancestral.training.task import Network, Task, Trainable

Kind = Literal["labels", "transforms"]

RECIPE = 3  # raise it when the network, its training or its file changes: no cached network of another one is used
WIDTH = 64
BATCH = 64
CHUNK = 512
# the budget: 30 epochs, at least 10,000 images, but no more pixels than this (63,775 images of 28 x 28)
EPOCHS, LEAST_IMAGES, MOST_PIXELS = 30, 10_000, 50_000_000


class FeatureNetwork(nn.Module):
    """From any H x W, large ones shrunk, by convolutions to 4 x 4; 64 standardised features; a classifier of them."""

    def __init__(self, shape: Sequence[int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.shrink = nn.AvgPool2d(shrinkage(height, width))
        side = max(min(height, width) // shrinkage(height, width), 1)
        halvings = max(1, round(math.log2(side / 4)))
        self.stem = _block(channels, WIDTH // 2, stride=1)
        self.down = nn.Sequential(*[_block(WIDTH // 2 if i == 0 else WIDTH, WIDTH, stride=2) for i in range(halvings)])
        self.features = nn.Sequential(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * WIDTH, WIDTH), nn.BatchNorm1d(WIDTH, affine=False)
        )
        self.classifier = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, num_classes))
        channels_last(self)

    def forward(self, images: Images) -> Float[Tensor, "B K"]:
        """(B, K) scores of the classes, of images in [-1, 1]."""
        return self.classifier(self.embedded(images))

    def embedded(self, images: Images) -> Float[Tensor, "B D"]:
        """(B, 64) features."""
        return self.features(self.down(self.stem(self.shrink(images))))

    def stages(self) -> list[nn.Module]:
        """The convolutions, up to each resolution."""
        return [nn.Sequential(self.shrink, self.stem), *self.down]


class Recognising(Task):
    """A feature network learns the label of an image, else which transform it is under: t - 1, so that logs tell it."""

    def __init__(self, network: FeatureNetwork, spec: ImageSpec, config: Config, compute: Choices) -> None:
        self.network, self.spec, self.config, self.compute = network, spec, config, compute
        self.seed, self.device = mix(config.seed, "features"), torch.device("cpu")
        self.num_timesteps = 1 if spec.class_names else num_transforms(spec.shape)
        self.modules = (Trainable(network, config.training, self.losses, self._warm_up),)

    def with_compute(self, choices: Choices) -> "Recognising":
        return Recognising(self.network, self.spec, self.config, choices)

    def losses(self, network: Network, batch: Batch, random: Randomness) -> tuple[PerImage, PerImage]:
        """-log p(label or transform | image), nats."""
        pixels, answers = _posed(batch.pixels, batch.condition.labels, random.times.t - 1)
        with self.compute.autocast(self.device):
            scores = network(from_pixels(pixels))
        losses = nn.functional.cross_entropy(scores.float(), answers, reduction="none")
        return losses, random.times.weight.to(losses)

    def _warm_up(self, network: Network, count: int) -> PerImage:
        return network(torch.zeros(count, *self.spec.shape)).sum(dim=1)


def new_task(images: ImageSet, seed: int) -> Recognising:
    """An untrained network and its recipe: AdamW, a short warm-up, a cosine to zero over the budget, no average."""
    pixels = images.spec.height * images.spec.width // shrinkage(*images.shape[1:]) ** 2
    steps = max(min(max(EPOCHS * len(images), LEAST_IMAGES), MOST_PIXELS // pixels) // BATCH, 1)
    recipe = partial(TrainingSettings, optimizer="adamw", lr=2e-3, lr_schedule="cosine", clip_norm=None, ema_decay=0)
    training = recipe(steps=steps, batch_size=BATCH, warmup_images=BATCH * min(50, steps // 4 + 1))
    torch.manual_seed(mix(seed, "features", "weights"))
    network = FeatureNetwork(images.shape, len(images.class_names) or num_transforms(images.shape))
    return Recognising(network, images.spec, Config(training=training, seed=seed), Choices())


@dataclass(frozen=True)
class Extractor:
    """A trained feature network and what is known of it."""

    network: FeatureNetwork
    kind: Kind  # what it was trained to tell
    num_classes: int  # among how many; chance is 1 / num_classes for transforms
    accuracy: float  # share of `num_held_out` held-out images it tells rightly
    num_held_out: int

    @torch.inference_mode()
    def features(self, pixels: Pixels) -> Float64[Tensor, "B D"]:
        """(B, 64) features, float64."""
        return self._computed(pixels).double()

    @torch.inference_mode()
    def classify(self, pixels: Pixels) -> Labels:
        """The likeliest class of each image: a label, or the number of a transform, as `kind` says."""
        return self.network.classifier(self._computed(pixels)).argmax(dim=1)

    def agreement(self, pixels: Pixels, asked: Labels | None) -> float | None:
        """Share of the images in which it sees the class that was asked for; None without, or where it knows none."""
        if asked is None or self.kind != "labels":
            return None
        return float((self.classify(pixels) == asked).double().mean())

    def _computed(self, pixels: Pixels) -> Float[Tensor, "B D"]:
        return torch.cat([self.network.embedded(from_pixels(part)) for part in torch.split(pixels, CHUNK)])


def train_extractor(train: ImageSet, test: ImageSet, seed: int = 0) -> StepwiseWork[Extractor]:
    """The feature network of a data set: from the cache, else trained on the CPU, image by image, and kept there.

    Without labels, or where all are the same, it learns to tell transforms. The images of `train`, in an order that is
    a function of `seed`, are the only ones it learns from; those of `test` only measure it. Same seed, machine and
    number of threads: the same bits.
    """
    if not len(train) or not len(test):
        got = f"{len(train)} and {len(test)}"
        raise InputError(f"expected training and held-out images to learn from, got {got}; set data.test above 0")
    if train.labels is None or test.labels is None or (train.labels == train.labels[0]).all():
        train, test = train.unlabelled(), test.unlabelled()
    aim = "transforms" if train.labels is None else blake2b(train.labels.tobytes(), digest_size=16).hexdigest()
    path = file_of("features", RECIPE, train.hash + test.hash, aim, seed, len(train), *train.shape)

    def read(tensors: dict[str, Tensor], about: dict[str, Any]) -> Extractor:
        network = FeatureNetwork(train.shape, about["num_classes"])
        network.load_state_dict(tensors)
        return Extractor(network.eval().requires_grad_(False), **about)

    if (there := kept(path, "extractor", read)) is not None:
        return there
    task = yield from training(lambda: new_task(train, seed), train)
    network, num_classes = task.network.eval().requires_grad_(False), len(train.class_names) or task.num_timesteps
    which = torch.randint(num_classes, (len(test),), generator=generator(seed, "features", "transforms", "held out"))
    seen, answers = _posed(torch.tensor(test.pixels()).permute(0, 3, 1, 2), test.condition(test.spec).labels, which)
    untested = Extractor(network, "labels" if train.class_names else "transforms", num_classes, 0.0, len(test))
    extractor = replace(untested, accuracy=float((untested.classify(seen) == answers).double().mean()))
    about = {name: getattr(extractor, name) for name in ("kind", "num_classes", "accuracy", "num_held_out")}
    keep(path, "extractor", network.state_dict(), about)
    return extractor


def shrinkage(height: int, width: int) -> int:
    """Pixels a side that are averaged into one before the network looks: 1 up to a side of 72, 5 at 256."""
    return max(1, round(min(height, width) / 48))


def num_transforms(shape: Sequence[int]) -> int:
    """8 for square images (..., H, W), 4 for others: transposing would change their shape."""
    return 8 if shape[-1] == shape[-2] else 4


def transform(pixels: Pixels, which: Labels) -> Pixels:
    """Each image under its transform, 0..7: bit 0 mirrors, bit 1 turns upside down, bit 2 transposes."""
    mirrored, upside_down, transposed = ((which & bit).bool()[:, None, None, None] for bit in (1, 2, 4))
    pixels = torch.where(mirrored, pixels.flip(-1), pixels)
    pixels = torch.where(upside_down, pixels.flip(-2), pixels)
    return torch.where(transposed, pixels.mT, pixels) if transposed.any() else pixels


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())


def _posed(pixels: Pixels, labels: Labels | None, which: Labels) -> tuple[Pixels, Labels]:
    """What to look at and what to answer: the labels, else `which` transform of each image."""
    return (transform(pixels, which), which) if labels is None else (pixels, labels)
