"""What training does with gradients and weights: averages, rates, optimisers and losses that have closed forms.

An average and Muon's step are followed number by number. The loss is that of the exact denoiser of Gaussian data, told
the time as a network is; a step is seen in what it leaves in Adam's first moment, the gradient it was given.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ancestral.condition import NOTHING_TOLD, UNTOLD
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Loader, batch_indices
from ancestral.diffusion.level import Noised
from ancestral.diffusion.timesteps import RecentLosses, SampledTimesteps
from ancestral.oracles import double, legendre, signs
from ancestral.pipeline import Pipeline
from ancestral.selftest.checks import Checks
from ancestral.selftest.randomness import CPU
from ancestral.settings import Config, ImageSpec, TrainingSettings
from ancestral.tokenizer import Tokenizer
from ancestral.training.budget import learning_rate
from ancestral.training.denoiser import Denoising
from ancestral.training.ema import ExponentialAverage
from ancestral.training.loss import level_of, training_losses
from ancestral.training.means import ValidationLoss
from ancestral.training.optimizer import ROUNDS, A, B, C, Muon
from ancestral.training.randomness import randomness_of
from ancestral.training.step import Trainer

CHECKS = Checks()

NAMES = ("a", "b", "c")
LEVELS = 4.0 - 7.0 * torch.arange(6, dtype=torch.float64) / 5
"""Log-SNR at t = 1..6 of the schedule of these tests, which is even in it."""
INNER = 0.3  # variance of the data
SIZE = 8  # images of a batch
RECENT = RecentLosses(torch.arange(1, 7, dtype=torch.float64)[:, None].expand(6, 10))
"""By which some t are drawn more often than others."""
STEP = TrainingSettings(steps=9, batch_size=SIZE, clip_norm=None, weighting="min-snr", timesteps="importance")


# Averages and rates


def kept(updates: int, decay: float) -> float:
    """What an average keeps of its start after updates towards one weight, and some not taken towards another."""
    network = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(network.weight)
    average = ExponentialAverage(network, decay)
    mean, weight = average.network.get_parameter("weight"), torch.ones(1, 1, dtype=torch.float64)
    for _ in range(updates):
        average.update([(mean, weight)])
        average.update([(mean, weight + 9)], taken=torch.tensor(0.0))
    return 1 - float(mean) if average.updates == updates else math.inf


@CHECKS("average: 1 / binomial(n + 9, 9) of its start, then decay", 1e-6)
def averaged(_: torch.device) -> Iterator[float]:
    """The product of (1 + k) / (10 + k) over n updates; at a decay of 0.6 only until k = 12.5."""
    yield from (kept(n, 0.9999) * math.comb(n + 9, 9) - 1 for n in (1, 2, 5, 12))
    yield kept(20, 0.6) * math.comb(13 + 9, 9) / 0.6**7 - 1


@CHECKS("learning rate: warm-up in batches, fall by the budget", 1e-9)
def rates(_: torch.device) -> Iterator[float]:
    """Step k of a warm-up of four batches goes at k / 4; then as the budget is used."""
    by_hand = {"constant": (1, 1, 1, 1), "linear": (1, 0.75, 0.5, 0), "cosine": (1, 0.8535533906, 0.5, 0)}
    for how, wanted in by_hand.items():
        settings = TrainingSettings(steps=9, lr=1.0, batch_size=10, warmup_images=40, lr_schedule=how)
        yield from (learning_rate(settings, 10 * k, 0.0) - min(k + 1, 4) / 4 for k in range(7))
        yield from (learning_rate(settings, 400, u) - wanted[i] for i, u in enumerate((0.0, 0.25, 0.5, 1.0)))


@CHECKS("Muon: two steps, singular value by singular value", 1e-6)
def muon(device: torch.device) -> Tensor:
    """On diagonal gradients, through momentum and rounds."""
    weight, wanted, momentum = nn.Parameter(torch.zeros(3, 5)), double(0, 0, 0), double(0, 0, 0)
    optimizer, beside = Muon([weight], lr=0.1), torch.zeros(3, 2)
    for gradient in (double(3, 0.5, 1), double(1, 2, -0.4)):
        weight.grad = torch.cat([gradient.float().diag(), beside], 1)
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        values = 0.05 * gradient + 0.95 * momentum
        values = values / values.norm()
        for _ in range(ROUNDS):
            values = A * values + B * values**3 + C * values**5
        wanted = wanted - 0.1 * 0.2 * 5**0.5 * values
    return weight.detach() - torch.cat([wanted.diag(), beside], 1)


# Losses


def tiny(
    training: TrainingSettings, time: Literal["index", "log-snr"] = "index", classes: int = 0, attributes: int = 0
) -> Pipeline:
    """A pipeline of few weights for images of 1 x 4 x 4, in float32 on the CPU."""
    schedule = {"name": "log-snr", "num_timesteps": 6, "log_snr_max": 4.0, "log_snr_min": -3.0}
    settings = {
        "diffusion": {"schedule": schedule, "time": time},
        "network": {"widths": (8,), "layers": 1, "attention": (), "norm_groups": 2, "middle_attention": False},
        "training": training,
        "sampling": {"steps": 6},
        "compute": {"precision": "float32", "compile": "no"},
    }
    told = {"class_names": NAMES[:classes], "attributes": [{"name": name} for name in NAMES[:attributes]]}
    spec = ImageSpec.model_validate({"channels": 1, "height": 4, "width": 4, **told})
    return Pipeline.fresh(Config.model_validate(settings), spec, CPU)


def exact(x: Tensor, time: Tensor, _: object) -> Tensor:
    """E[eps | x] of Gaussian data of variance INNER, at the log-SNR that the time tells."""
    signal = torch.sigmoid(20 - time.double() / 25)[:, None, None, None]
    return ((1 - signal).sqrt() / (signal * INNER + 1 - signal)).to(x) * x


@CHECKS("continuous loss in training, as an integral", 1e-5)
def integral(_: torch.device) -> Tensor:
    """Over all of time, t - 1 and where within: half the integral of the error of eps over log-SNR; float32.

    The loss at each node is that of the exact denoiser, in expectation over data and noise: over their four signs.
    """
    nodes, weights = legendre(12)
    u, each = 3 * (nodes + 1).repeat_interleave(4), signs(2, CPU).float().repeat(12, 1)
    x0, eps = (part[:, None, None, None].expand(-1, 1, 4, 4) for part in (INNER**0.5 * each[:, 0], each[:, 1]))
    pipeline = tiny(TrainingSettings(steps=1, loss="continuous"), "log-snr")
    level = level_of(pipeline, SampledTimesteps(u.long() + 1, torch.ones_like(u), u % 1))
    found = training_losses(pipeline, exact, Noised.at(level, x0, eps), NOTHING_TOLD).double().reshape(-1, 4).mean(1)
    nats = 0.5 * (math.log1p(INNER * math.exp(4)) - math.log1p(INNER * math.exp(-3)))
    return found @ weights / 2 - nats / math.log(2)


# Steps


def images(count: int, classes: int = 0) -> ImageSet:
    """Random images of 4 x 4, of all classes in turn, with the number of the class as an attribute."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 1), dtype=np.uint8)
    labels = np.arange(count) % classes if classes else None
    numbers = None if labels is None else labels.astype(np.float32)[:, None]
    return ImageSet(pixels, labels, NAMES[:classes], None, None, "", numbers, NAMES[: int(classes > 0)])


def stirred(pipeline: Pipeline) -> Pipeline:
    """With weights that are not at their start, where most of the gradient is 0."""
    random = torch.Generator().manual_seed(1)
    for weight in pipeline.network.parameters():
        weight.data.add_(0.1 * torch.randn(weight.shape, generator=random))
    return pipeline


def stepped(training: TrainingSettings, micro_batch: int | None = None) -> Tensor:
    """The gradient that Adam was given in a first step, all in one row: its first moment over 1 - beta_1."""
    pipeline = stirred(tiny(training))
    choices = pipeline.compute.model_copy(update={"micro_batch": micro_batch})
    task = Denoising(pipeline.with_compute(choices))
    task.recent = RECENT
    trainer = Trainer(task, images(20))
    trainer.advance()
    moments = sorted(trainer.tensors()["optimizer"].items())
    return torch.cat([each.flatten() for name, each in moments if name.endswith(".exp_avg")]).double() / 0.1


def by_hand(training: TrainingSettings) -> Tensor:
    """The same row, of min(SNR, 5) / SNR times the squared error of eps, weighed by how rarely its t is drawn."""
    network = stirred(tiny(training)).network.train().requires_grad_(True)
    times, eps, *_ = randomness_of(training, 0, 0, (1, 4, 4), 6, CPU, RECENT)
    pixels = torch.tensor(images(20).pixels(batch_indices(0, 0, SIZE, 20).numpy())).permute(0, 3, 1, 2)
    level = LEVELS[times.t - 1].float()[:, None, None, None]
    signal = torch.sigmoid(level)
    x_t = signal.sqrt() * (pixels / 127.5 - 1) + (1 - signal).sqrt() * eps
    errors = (network(x_t, times.t - 1) - eps).square().mean((1, 2, 3))
    weights = (5 * torch.exp(-level[:, 0, 0, 0])).clamp(max=1)
    torch.autograd.backward((weights * times.weight * errors).mean())
    named = sorted(network.named_parameters())
    return torch.cat([weight.grad.flatten() for _, weight in named if weight.grad is not None]).double()


@CHECKS("a step, whole and in parts: the gradient by hand", 1e-5, None)
@CHECKS("a step, whole and in parts: clipped once", 1e-5, 0.01)
def in_parts(clip_norm: float | None, _: torch.device) -> Iterator[Tensor]:
    """A step on 8 images, at once and in parts of 3."""
    training = STEP.model_copy(update={"clip_norm": clip_norm})
    wanted = by_hand(training)
    wanted = wanted if clip_norm is None else wanted * clip_norm / wanted.norm()
    return ((stepped(training, size) - wanted).norm() / wanted.norm() for size in (None, 3))


@CHECKS("held-out loss: the same twice, over all timesteps", 1e-6)
def held_out(_: torch.device) -> tuple[float | Tensor, ...]:
    """Its 12 images have each of 6 timesteps twice, and their own classes."""
    pipeline, calls = stirred(tiny(STEP, classes=3)), list[Tensor]()
    pipeline.network.register_forward_pre_hook(lambda _, given: calls.append(torch.stack([given[1], given[2].labels])))
    loss = ValidationLoss(Denoising(pipeline), images(12, 3))
    first, again = (loss.record(pipeline.network)["held_out_loss"] for _ in range(2))
    times, labels = torch.cat(calls[: len(calls) // 2], 1)
    return first - again, times.sort().values - torch.arange(12) // 2, labels - torch.arange(12) % 3


@CHECKS("labels, attributes in training: an image's own, or neither", 0)
def hidden_conditions(_: torch.device) -> Tensor:
    """How many of 200 labels and attributes, in parts of 64, are neither the image's own nor hidden together."""
    training = TrainingSettings(steps=9, batch_size=200, label_dropout=0.3)
    pipeline = tiny(training, classes=3, attributes=1)
    choices = pipeline.compute.model_copy(update={"micro_batch": 64})
    task, told = Denoising(pipeline.with_compute(choices)), list[tuple[Tensor, Tensor]]()
    trainer = Trainer(task, images(300, 3))
    trainer.network.register_forward_pre_hook(lambda module, given: told.append(given[2][:2]))
    trainer.advance()
    own = batch_indices(0, 0, 200, 300) % 3
    wanted = torch.where(randomness_of(training, 0, 0, (1, 4, 4), 6, CPU, None).hidden, UNTOLD, own)
    labels, numbers = map(torch.cat, zip(*told, strict=True))
    return (labels != wanted).sum() + (numbers[:, 0].nan_to_num(UNTOLD) != wanted).sum()


@CHECKS("texts in training: an image's own", 0)
def captions_told(_: torch.device) -> Iterator[float]:
    """Of seven of each batch's images: a text says the image's number, and all tokens are bytes."""
    texts = replace(images(30), captions=tuple(f"no {i}" if i % 7 else "" for i in range(30)))
    tokenizer = Tokenizer((), length=9)
    loader = Loader(texts, 10, 0, local_slice=slice(2, 9), tokenizer=tokenizer)
    for step in (0, 4, 2):
        batch = loader.batch(step)
        assert batch.condition.tokens is not None and texts.captions is not None
        for row, place in zip(batch.condition.tokens, batch.indices[2:9].tolist(), strict=True):
            told = "" if int(row.max()) < 0 else "".join(tokenizer.decode(row).split())
            yield float(told != texts.captions[place].replace(" ", ""))
