"""Images to vectors: a small classifier trained once on the data itself, and the layer before its answer.

Published feature networks look at photographs through 299 x 299 pixels and say little of 8 x 8 digits. Ours learns the
labels of the training images; where there are none, it learns to tell which transform was applied (mirrored, upside
down and, on square images, transposed: the 8 symmetries of a square). Features are standardised by the training
images, so one unit is one deviation. How far to trust them is the held-out accuracy that stands beside them.

A network is trained once for each data set and kept in the cache, with a digest: a damaged file is trained again. Its
loop is its own: a minute of work is no run to go on with, and another optimiser's rounding would be another measure.
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ancestral.errors import InputError
from ancestral.files import cache_folder, check_regular, json_object, write_whole
from ancestral.networks.weights import tensors_hash
from ancestral.progress import StepwiseWork
from ancestral.rng import generator, mix
from ancestral.tensors import Labels, Pixels, from_pixels

Kind = Literal["labels", "transforms"]
HeldOutPixels = UInt8[Tensor, "M C H W"]  # as those trained on, another number of them
HeldOutLabels = Int64[Tensor, "M"]

RECIPE = 2  # raise it when the network, its training or its file changes: no cached network of another one is used
WIDTH = 64
BATCH = 64
CHUNK = 512
PEAK_LR = 2e-3
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
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster; the stubs lack it

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """(B, 64) features of images in [-1, 1]."""
        return self.features(self.down(self.stem(self.shrink(images))))


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
        return torch.cat([self.network(from_pixels(part)) for part in torch.split(pixels, CHUNK)])  # it sees pixels


def train_extractor(
    images: Pixels,
    labels: Labels | None,
    held_out_images: HeldOutPixels,
    held_out_labels: HeldOutLabels | None,
    data_hash: str,
    seed: int = 0,
) -> StepwiseWork[Extractor]:
    """The feature network of a data set: from the cache, else trained on the CPU, image by image, and kept there.

    Without labels, or where all are the same, it learns to tell transforms. The training images, in an order that is a
    function of `seed`, are the only ones it learns from; held-out images only measure it. Same seed, machine and
    number of threads: the same bits. `data_hash` is that of the content of both sets of images.
    """
    if not len(images) or not len(held_out_images):
        got = f"{len(images)} and {len(held_out_images)}"
        raise InputError(f"expected training and held-out images to learn from, got {got}; set data.test above 0")
    told = labels if labels is not None and bool((labels != labels[0]).any()) else None
    task = "transforms" if told is None else blake2b(told.numpy().tobytes(), digest_size=16).hexdigest()
    key = "/".join(map(str, (RECIPE, data_hash, task, seed, *images.shape)))
    path = cache_folder() / "features" / f"{blake2b(key.encode(), digest_size=16).hexdigest()}.safetensors"
    if (kept := _read(path, images)) is not None:
        return kept
    num_classes = num_transforms(images) if told is None else int(told.max()) + 1
    with torch.random.fork_rng(devices=[]):  # the caller's random state is left as it was
        torch.manual_seed(mix(seed, "features", "weights"))
        network = FeatureNetwork(images.shape[1:], num_classes)
    yield from _fit(network, images, told, seed)
    network.eval().requires_grad_(False)
    kind: Kind = "transforms" if told is None else "labels"
    untested = Extractor(network, kind, num_classes, accuracy=0.0, num_held_out=len(held_out_images))
    inputs, answers = _task(held_out_images, None if told is None else held_out_labels, seed, "held out")
    extractor = replace(untested, accuracy=float((untested.classify(inputs) == answers).double().mean()))
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    about = {name: getattr(extractor, name) for name in ("kind", "num_classes", "accuracy", "num_held_out")}
    about["digest"] = tensors_hash(tensors)  # safetensors has no checksum of its own
    write_whole(path, save(tensors, metadata={"extractor": json.dumps(about)}))
    return extractor


def shrinkage(height: int, width: int) -> int:
    """Pixels a side that are averaged into one before the network looks: 1 up to a side of 72, 5 at 256."""
    return max(1, round(min(height, width) / 48))


def num_transforms(pixels: Pixels) -> int:
    """8 for square images, 4 for others: transposing would change their shape."""
    return 8 if pixels.shape[-1] == pixels.shape[-2] else 4


def transform(pixels: Pixels, which: Labels) -> Pixels:
    """Each image under its transform, 0..7: bit 0 mirrors, bit 1 turns upside down, bit 2 transposes."""
    mirrored, upside_down, transposed = ((which & bit).bool()[:, None, None, None] for bit in (1, 2, 4))
    pixels = torch.where(mirrored, pixels.flip(-1), pixels)
    pixels = torch.where(upside_down, pixels.flip(-2), pixels)
    return torch.where(transposed, pixels.mT, pixels) if transposed.any() else pixels


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.SiLU())


def _fit(network: FeatureNetwork, images: Pixels, labels: Labels | None, seed: int) -> StepwiseWork[None]:
    """AdamW on the cross-entropy, with a short warm-up and a cosine to zero, over the whole budget."""
    height, width = images.shape[-2:]
    pixels = height * width // shrinkage(height, width) ** 2
    steps = min(max(EPOCHS * len(images), LEAST_IMAGES), MOST_PIXELS // pixels) // BATCH
    warmup = min(50, steps // 4 + 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_LR, weight_decay=0.01)
    # one shuffle of all images after another, cut into batches without regard to where they meet
    epochs = math.ceil(steps * BATCH / len(images))
    orders = [torch.randperm(len(images), generator=generator(seed, "features", "order", i)) for i in range(epochs)]
    for step, chosen in enumerate(torch.split(torch.cat(orders)[: steps * BATCH], BATCH)):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * min(1, (step + 1) / warmup) * (1 + math.cos(math.pi * step / steps)) / 2
        inputs, answers = _task(images[chosen], None if labels is None else labels[chosen], seed, step)
        with torch.inference_mode(False), torch.enable_grad():
            loss = nn.functional.cross_entropy(network.classifier(network(from_pixels(inputs))), answers)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        yield (step + 1) * BATCH, steps * BATCH


def _task(pixels: Pixels, labels: Labels | None, seed: int, position: int | str) -> tuple[Pixels, Labels]:
    """What to look at and what to answer: the labels, else a transform drawn for each image."""
    if labels is not None:
        return pixels, labels
    draw = generator(seed, "features", "transforms", position)
    which = torch.randint(num_transforms(pixels), (len(pixels),), generator=draw)
    return transform(pixels, which), which


def _read(path: Path, images: Pixels) -> Extractor | None:
    """The kept extractor, or None where there is none or it is damaged, which the log tells."""
    if not path.exists():
        return None
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            about = json_object(file.metadata()["extractor"], "its metadata")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if about.pop("digest") != tensors_hash(tensors):
            raise ValueError("its digest does not fit")
        network = FeatureNetwork(images.shape[1:], about["num_classes"])
        network.load_state_dict(tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as fault:
        logging.getLogger(__name__).warning("%s is damaged (%s): training its features again", path, fault)
        return None
    return Extractor(network.eval().requires_grad_(False), **about)
