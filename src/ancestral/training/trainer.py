"""Algorithm 1 of Ho et al. 2020, as a generator that can be stopped anywhere and goes on as if it had not been.

    x_0 from the data, t uniform on 1..T, eps ~ N(0, I);  step along the gradient of || target - network(x_t, t) ||^2

Which images a step sees, their t, eps, flips and hidden labels are functions of (seed, step) alone, so a checkpoint
holds the weights, their average, the optimiser's moments and a few counters, and nothing of any generator.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ancestral.compute import machine_name
from ancestral.data.imageset import ImageSet, Parts
from ancestral.data.loader import Batch, Loader
from ancestral.diffusion.losses import Weighting, min_snr, uniform
from ancestral.errors import Diverged
from ancestral.machine import keep_freed_memory
from ancestral.pipeline import Pipeline
from ancestral.rng import generator, mix
from ancestral.tensors import PerImage
from ancestral.training.ema import ExponentialAverage
from ancestral.training.held_out import HeldOut
from ancestral.training.keeper import Keeper
from ancestral.training.loss import denoising_losses
from ancestral.training.optimizer import learning_rate, optimizers_for
from ancestral.training.run import RunFolder
from ancestral.training.window import Window

PATIENCE = 10
"""Non-finite steps in a row after which training stops."""


class Progress(NamedTuple):
    """Where training is after a step. `fraction` is of the budget, 0..1; `record` is the line logged, if any."""

    step: int
    images: int
    fraction: float
    seconds: float
    record: dict[str, Any] | None


def train(pipeline: Pipeline, parts: Parts, run: RunFolder, say: Callable[[str], None] = print) -> Iterator[Progress]:
    """Trains `pipeline` to the end of its budget, yielding after every step; resumes what is in `run`.

    Closing the generator saves a checkpoint first, so stopping costs nothing. At the end, and with every checkpoint,
    `run.pipeline` holds the averaged weights.

    Raises:
        InputError: another run's folder or settings, changed data, or only damaged checkpoints.
        Diverged: PATIENCE non-finite steps in a row; the weights before them are in the last checkpoint.
        CannotWrite: the disk is full or gone.
    """
    keep_freed_memory()
    with run.claimed(pipeline.config):
        pipeline.use(run.settled(pipeline.compute, pipeline.config.compute, machine_name(pipeline.device), say))
        trainer = Trainer(pipeline, parts.train)
        held_out = HeldOut(pipeline, parts.validation) if len(parts.validation) else None
        keeper = Keeper(trainer, run, parts.train.hash)
        keeper.resume(say)
        try:
            while trainer.fraction < 1:
                trainer.advance()
                yield trainer.progress(keeper.after_step(held_out))
        except GeneratorExit:
            keeper.save()
            raise
        keeper.save()


class Trainer:
    """Everything that changes while training, one optimiser step at a time."""

    def __init__(self, pipeline: Pipeline, images: ImageSet) -> None:
        config = pipeline.config
        self.settings, self.seed = config.training, config.seed
        self.pipeline, self.diffusion = pipeline, pipeline.diffusion
        self.device = pipeline.device
        self.loader = Loader(images, self.settings.batch_size, self.seed, config.data.flip, self.device)
        self.network = pipeline.network.train().requires_grad_(True)
        self.ema = ExponentialAverage(self.network, self.settings.ema_decay)
        self.optimizers = optimizers_for(self.network, self.settings)
        self.weighting: Weighting = uniform
        if self.settings.weighting == "min-snr":
            self.weighting = min_snr(self.settings.min_snr_gamma or 5.0)
        self.step, self.skipped, self.window = 0, 0, Window()
        self.seconds_before, self.started = 0.0, time.monotonic()
        self.fraction = self._fraction()

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.settings.batch_size

    @property
    def seconds(self) -> float:
        """Time spent on this run, over all its starts."""
        return self.seconds_before + time.monotonic() - self.started

    def _fraction(self) -> float:
        """The share of the budget that is used, of the limit that is nearest: 0..1."""
        used = [
            (self.step, self.settings.steps),
            (self.images, self.settings.images),
            (self.seconds / 60, self.settings.minutes),
        ]
        return min(1.0, max(amount / limit for amount, limit in used if limit is not None))

    def advance(self) -> None:
        """One optimiser step on the next batch, or none where the gradient is not finite."""
        batch, draws = self.loader.batch(self.step), self._draws()
        lr = learning_rate(self.settings, self.images, self.fraction)
        for group in self._groups():
            group["lr"] = lr
        torch.manual_seed(mix(self.seed, "dropout", self.step))
        losses = torch.cat([self._backward(batch, draws, part) for part in self._parts()])
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm or math.inf, foreach=True)
        if math.isfinite(float(norm)) and bool(losses.isfinite().all()):
            for optimizer in self.optimizers:
                optimizer.step()
            self.ema.update(self.network)
            self.window.add(losses, draws.t, self.diffusion.num_timesteps, float(norm))
            self.skipped = 0
        else:
            self._skip(float(norm), lr)
        self.network.zero_grad(set_to_none=True)
        self.step += 1
        self.fraction = self._fraction()

    def progress(self, record: dict[str, Any] | None) -> Progress:
        """What the loop yields."""
        return Progress(self.step, self.images, self.fraction, self.seconds, record)

    def record(self) -> dict[str, Any]:
        """The line of the log for the steps since the last one."""
        lr = self._groups()[0]["lr"]
        return {"step": self.step, "images": self.images, **self.window.means(), "lr": lr}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a resume needs, by file."""
        moments = {
            f"{name}.{key}": value
            for name, parameter in self.network.named_parameters()
            for key, value in self._owner(parameter).state[parameter].items()
        }
        return {"model": self.network.state_dict(), "ema": self.ema.network.state_dict(), "optimizer": moments}

    def state(self) -> dict[str, Any]:
        """The counters."""
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "ema_updates": self.ema.updates,
            "skipped": self.skipped,
            "window": self.window.sums.tolist(),
        }

    def restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Back to where `tensors` and `state` were taken, in the same memory layout."""
        self.network.load_state_dict(tensors["model"])
        self.ema.network.load_state_dict(tensors["ema"])
        parameters = dict(self.network.named_parameters())
        for full_name, saved in tensors["optimizer"].items():
            name, _, key = full_name.rpartition(".")
            parameter = parameters[name]
            like = torch.empty_like(parameter) if saved.shape == parameter.shape and key != "step" else saved
            self._owner(parameter).state[parameter][key] = like.copy_(saved)
        self.step, self.skipped, self.ema.updates = state["step"], state["skipped"], state["ema_updates"]
        self.window = Window(state["window"])
        self.seconds_before, self.started = state["seconds"], time.monotonic()
        self.fraction = self._fraction()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def _owner(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        return next(o for o in self.optimizers if any(parameter is p for g in o.param_groups for p in g["params"]))

    def _parts(self) -> list[slice]:
        size = self.settings.batch_size
        at_once = min(size, self.pipeline.compute.micro_batch or size)
        return [slice(start, min(start + at_once, size)) for start in range(0, size, at_once)]

    def _draws(self) -> "Draws":
        size, shape = self.settings.batch_size, self.pipeline.spec.shape
        t_generator, eps_generator = (generator(self.seed, stream, self.step) for stream in ("t", "eps"))
        hidden = torch.rand(size, generator=generator(self.seed, "label-dropout", self.step))
        return Draws(
            torch.randint(1, self.diffusion.num_timesteps + 1, (size,), generator=t_generator),
            torch.randn(size, *shape, generator=eps_generator),
            hidden < self.settings.label_dropout,
        )

    def _backward(self, batch: Batch, draws: "Draws", part: slice) -> PerImage:
        labels = None
        if self.pipeline.num_classes and batch.labels is not None:
            hidden = draws.hidden[part].to(self.device)
            labels = torch.where(hidden, self.pipeline.num_classes, batch.labels[part])
        eps = draws.eps[part].to(self.device)
        losses = denoising_losses(self.pipeline, self.network, batch.images[part], draws.t[part], eps, labels)
        weight = self.weighting(self.diffusion, draws.t[part]).to(losses)
        torch.autograd.backward((losses * weight).sum() / self.settings.batch_size)
        return losses.detach()

    def _skip(self, norm: float, lr: float) -> None:
        self.skipped += 1
        if self.skipped >= PATIENCE:
            layer = next((n for n, p in self.network.named_parameters() if not _finite(p.grad)), "the loss")
            raise Diverged(
                f"training diverged: {PATIENCE} steps in a row were not finite, up to step {self.step} "
                f"({self.images} images), learning rate {lr:.3g}, gradient norm {norm}, first in {layer}; "
                f"the last checkpoint is kept: train into another folder with a lower --training.lr"
            )


class Draws(NamedTuple):
    """The randomness of one step: t (B,), eps (B, C, H, W), hidden (B,) bool, whose labels the network does not see."""

    t: Tensor
    eps: Tensor
    hidden: Tensor


def _finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(gradient.isfinite().all())
