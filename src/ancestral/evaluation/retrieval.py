"""Which caption is this image of? A pair of encoders that brings images and their captions together, and how often it
finds an image's own caption among others.

The pair learns from real training images and their captions alone, with a seed and a tokenizer of its own: R-precision
by the encoder that a model was trained with is high for images that no person recognises (Dinh et al. 2021,
arXiv:2112.01398). In a batch, of an image's caption y_i among those of the others, and of a caption's image likewise,

    L = - 1/2 log softmax_j(x_i . y_j / tau)_i - 1/2 log softmax_j(x_j . y_i / tau)_i                      (1)

(Radford et al. 2021), where those that have the same caption are no others. The images are seen by the network that
features are taken from; a caption is the mean of what its tokens are, and its order is lost.

R@k is the share of images whose own caption is among the k nearest of a gallery: it and 99 others of the part, drawn by
the seed, or as many as there are. A tie counts against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from ancestral.compute import Choices
from ancestral.condition import Tokens
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Batch
from ancestral.errors import InputError
from ancestral.evaluation.features import CHUNK, FeatureNetwork, shrinkage
from ancestral.evaluation.kept import file_of, keep, kept, training
from ancestral.evaluation.prompt_shares import Counts
from ancestral.progress import StepwiseWork
from ancestral.rng import mix
from ancestral.settings import Config, ImageSpec, TrainingSettings
from ancestral.tensors import Images, PerImage, Pixels, from_pixels
from ancestral.tokenizer import Tokenizer
from ancestral.training.randomness import Randomness
from ancestral.training.task import Network, Task, Trainable

RECIPE = 1  # raise it when the networks, their training or their file changes
WIDTH = 128  # of a token, and of what images and captions are brought together in
BATCH = 128
VOCABULARY, LENGTH = 4096, 64
MOST_SHARP = 100.0  # 1 / tau
# the budget: 20 epochs, at least 20,000 images, but no more pixels than this (39,062 images of 32 x 32)
EPOCHS, LEAST_IMAGES, MOST_PIXELS = 20, 20_000, 40_000_000
GALLERY = 100
RANKS = (1, 5)


class TextBag(nn.Module):
    """From tokens (B, L), filled up with `end`, by the mean of what they are to (B, WIDTH)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.start, self.end = tokenizer.start, tokenizer.end
        self.token_embedding = nn.Embedding(len(tokenizer), WIDTH)
        self.layers = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.SiLU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        counts = ((tokens != self.start) & (tokens != self.end)).float()
        sums = (self.token_embedding(tokens) * counts[..., None]).sum(dim=1)
        return self.layers(sums / counts.sum(dim=1, keepdim=True).clamp(min=1))


class PairNetwork(nn.Module):
    """An encoder of images (C, H, W) and one of captions, both to directions of `WIDTH` numbers."""

    def __init__(self, shape: Sequence[int], tokenizer: Tokenizer) -> None:
        super().__init__()
        self.images, self.texts = FeatureNetwork(shape, WIDTH), TextBag(tokenizer)
        self.log_sharpness = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, images: Images, tokens: Tokens) -> Float[Tensor, "B B"]:
        """x_i . y_j / tau of image i and caption j."""
        sharpness = self.log_sharpness.exp().clamp(max=MOST_SHARP)
        return sharpness * self.of_images(images) @ self.of_texts(tokens).T

    def of_images(self, images: Images) -> Float[Tensor, "B D"]:
        return nn.functional.normalize(self.images(images))

    def of_texts(self, tokens: Tokens) -> Float[Tensor, "B D"]:
        return nn.functional.normalize(self.texts(tokens))


class Matching(Task):
    """A pair learns (1). `tokens`: of the caption of every training image, by its position."""

    num_timesteps = 1

    def __init__(self, network: PairNetwork, tokens: Tokens, spec: ImageSpec, config: Config, compute: Choices) -> None:
        self.network, self.tokens, self.spec, self.config, self.compute = network, tokens, spec, config, compute
        self.seed, self.device = mix(config.seed, "retrieval"), torch.device("cpu")
        self.modules = (Trainable(network, config.training, self.losses, self._warm_up),)

    def with_compute(self, choices: Choices) -> "Matching":
        return Matching(self.network, self.tokens, self.spec, self.config, choices)

    def losses(self, network: Network, batch: Batch, random: Randomness) -> tuple[PerImage, PerImage]:
        """(1) of each image, nats, among those of the batch."""
        tokens, own = self.tokens[batch.indices], torch.arange(len(batch.pixels))
        with self.compute.autocast(self.device):
            scores = network(from_pixels(batch.pixels), tokens).float()
        scores = scores.masked_fill(_same(tokens).fill_diagonal_(False), -torch.inf)
        losses = (nn.functional.cross_entropy(each, own, reduction="none") for each in (scores, scores.T))
        return sum(losses, torch.zeros(len(own))) / 2, random.times.weight.to(scores)

    def _warm_up(self, network: Network, count: int) -> PerImage:
        return network(torch.zeros(count, *self.spec.shape), self.tokens[:1].expand(count, -1)).sum(dim=1)


@dataclass(frozen=True)
class CaptionPair:
    """A trained pair of encoders, and what reads its captions."""

    network: PairNetwork
    tokenizer: Tokenizer

    @torch.inference_mode()
    def hits(self, images: Pixels, captions: Sequence[str], gallery: "Galleries") -> dict[int, np.ndarray]:
        """By k, which images (N,) have their own of `captions` among the k nearest of their gallery."""
        of_images = torch.cat([self.network.of_images(from_pixels(part)) for part in torch.split(images, CHUNK)])
        texts = self.network.of_texts(self.tokenizer.encode([*captions, *gallery.texts]))
        own, others = texts[: len(captions)], texts[len(captions) :]
        similarity = (of_images @ others.T).gather(1, gallery.others)
        better = (similarity >= (of_images * own).sum(dim=1, keepdim=True)).sum(dim=1)
        return {k: (better < k).numpy() for k in RANKS}


@dataclass(frozen=True)
class Galleries:
    """Other captions for each of N, as places in `texts`: (N, G - 1)."""

    texts: tuple[str, ...]
    others: Int64[Tensor, "N _"]

    @property
    def size(self) -> int:
        """Captions of a gallery, the image's own among them."""
        return self.others.shape[1] + 1

    @classmethod
    def drawn(cls, captions: Sequence[str], seed: int) -> "Galleries":
        """`GALLERY` - 1 of these captions, or as many as there are, that read otherwise than each of them."""
        texts = tuple(sorted({*captions}))
        if len(texts) < 2:
            raise InputError("expected images with different captions to tell apart, got one caption; add others")
        count, rows = min(GALLERY, len(texts)) - 1, []
        for i, caption in enumerate(captions):
            random = np.random.default_rng(mix(seed, "gallery", i))
            others = [place for place, text in enumerate(texts) if text != caption]
            rows.append(random.choice(others, count, replace=False))
        return cls(texts, torch.from_numpy(np.array(rows)))


def new_task(images: ImageSet, captions: Sequence[str], tokenizer: Tokenizer, seed: int) -> Matching:
    """An untrained pair and its recipe: AdamW, a short warm-up, a cosine to zero over the budget, no average."""
    pixels = images.spec.height * images.spec.width // shrinkage(*images.shape[1:]) ** 2
    steps = max(min(max(EPOCHS * len(images), LEAST_IMAGES), MOST_PIXELS // pixels) // BATCH, 1)
    recipe = partial(TrainingSettings, optimizer="adamw", lr=2e-3, lr_schedule="cosine", clip_norm=1.0, ema_decay=0)
    warm_up = BATCH * min(50, steps // 4 + 1)
    training = recipe(steps=steps, batch_size=BATCH, warmup_images=warm_up, weight_decay=0.1)
    torch.manual_seed(mix(seed, "retrieval", "weights"))
    network = PairNetwork(images.shape, tokenizer)
    tokens = tokenizer.encode(captions)
    return Matching(network, tokens, images.spec, Config(training=training, seed=seed), Choices())


def train_pair(train: ImageSet, seed: int = 0) -> StepwiseWork[CaptionPair]:
    """The pair of a data set: from the cache, else trained on the CPU on these images with their captions, and kept
    there. Same seed, machine and number of threads: the same bits."""
    if train.captions is None or len(train) < 2:
        raise InputError(f"expected training images with captions to learn from, got {len(train)} without")
    captions = [*train.captions]
    tokenizer = Tokenizer.learn(captions, VOCABULARY, LENGTH)
    said = sha256("\0".join(captions).encode("utf-8", "surrogatepass")).hexdigest()
    path = file_of("retrieval", RECIPE, train.hash, said, seed, len(train), *train.shape)

    def read(tensors: dict[str, Tensor], about: dict[str, Any]) -> CaptionPair:
        network = PairNetwork(train.shape, tokenizer)
        network.load_state_dict(tensors)
        return CaptionPair(network.eval().requires_grad_(False), tokenizer)

    if (there := kept(path, "pair", read)) is not None:
        return there
    task = yield from training(lambda: new_task(train, captions, tokenizer, seed), train)
    keep(path, "pair", task.network.state_dict(), {})
    return CaptionPair(task.network.eval().requires_grad_(False), tokenizer)


def counts_of_hits(hits: Mapping[int, np.ndarray]) -> Counts:
    """R@k of each k, as shares are made of."""
    return {f"R@{k}": (each.astype(float), np.ones(len(each))) for k, each in hits.items()}


def _same(tokens: Tokens) -> Bool[Tensor, "B B"]:
    """Which rows are equal."""
    return (tokens[:, None] == tokens[None]).all(dim=2)
