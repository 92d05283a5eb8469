"""Algorithm 1 of Ho et al. 2020, as a generator that can be stopped anywhere and goes on as if it had not been.

    x_0 from the data, t from 1..T, eps ~ N(0, I);  step along the gradient of || target - network(x_t, t) ||^2

Which images a step sees, their t, eps, flips and hidden labels are functions of (seed, step) alone, and with importance
sampling of the recent losses. So a checkpoint holds the weights, their average, the optimiser's moments, those losses
and a few counters, and nothing of any generator.

A step gives a GPU its work and waits for nothing: what depends on the numbers, such as whether they are finite, is
decided where they are.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ancestral.compute import in_words, machine_name
from ancestral.data.imageset import ImageSet, Parts
from ancestral.data.loader import Batch, Loader, sent
from ancestral.diffusion.losses import Weighting, min_snr, uniform
from ancestral.diffusion.timesteps import Draw, RecentLosses, draw, even, independent, stratified
from ancestral.errors import Diverged
from ancestral.machine import keep_freed_memory
from ancestral.networks.compiled import compiled
from ancestral.pipeline import Pipeline
from ancestral.rng import generator, mix
from ancestral.tensors import PerImage
from ancestral.training.ema import ExponentialAverage
from ancestral.training.held_out import HeldOut
from ancestral.training.keeper import Keeper
from ancestral.training.loss import training_losses
from ancestral.training.memory import fitted
from ancestral.training.optimizer import learning_rate, optimizers_for
from ancestral.training.patience import Patience
from ancestral.training.run import RunFolder
from ancestral.training.window import Window

NAMED_IMAGES = 8
"""Of a bad batch, that a message names."""


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
        Diverged: PATIENCE non-finite steps in a row, and no going back (`Keeper.roll_back`); the weights before them
            are in the last checkpoint.
        CannotWrite: the disk is full or gone.
    """
    keep_freed_memory()
    config = pipeline.config
    with run.claimed(config):
        decided, machine = pipeline.compute, machine_name(pipeline.device)
        now = decided if run.computed_on(machine) else fitted(pipeline, parts.train, say)
        pipeline.use(run.settled(now, config.compute, machine, say))
        told = decided if pipeline.compute == now else pipeline.compute
        if how := in_words(told, config.compute, config.network, pipeline.spec, pipeline.device):
            say(how)
        trainer = Trainer(pipeline, parts.train)
        held_out = HeldOut(pipeline, parts.validation) if len(parts.validation) else None
        keeper = Keeper(trainer, run, parts.train.hash, say)
        keeper.resume()
        try:
            while trainer.fraction < 1:
                try:
                    trainer.advance()
                except Diverged as fault:
                    keeper.roll_back(fault)
                    continue
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
        torch.backends.cudnn.benchmark = True  # a GPU times its convolutions once: their shapes never change
        self.loader = Loader(images, self.settings.batch_size, self.seed, config.data.flip, self.device)
        self.network = pipeline.network.train().requires_grad_(True)
        self.ema = ExponentialAverage(self.network, self.settings.ema_decay)
        self.optimizers = optimizers_for(self.network, self.settings)
        self.weighting: Weighting = uniform
        if self.settings.weighting == "min-snr":
            self.weighting = min_snr(self.settings.min_snr_gamma or 5.0)
        by_importance = self.settings.timesteps == "importance"
        self.recent = RecentLosses.none(self.diffusion.num_timesteps) if by_importance else None
        self.forward = compiled(self.network, pipeline.compute.compile)
        self.keeps_gradients = pipeline.compute.compile == "graphs"
        self._clear_gradients()
        self.step, self.rollbacks = 0, 0
        self.patience, self.window = Patience(self.device), Window(self.device)
        self.seconds_before, self.started = 0.0, time.monotonic()
        self.fraction = self._fraction()

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.settings.batch_size

    @property
    def skipped(self) -> int:
        """Steps of the whole run that were not finite; asking waits for a GPU."""
        return self.patience.skipped

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
        """One optimiser step on the next batch, or none where the loss or the gradient is not finite.

        Raises:
            Diverged: PATIENCE steps in a row were not finite.
        """
        batch, draws = self.loader.batch(self.step), self._draws()
        lr = learning_rate(self.settings, self.images, self.fraction) * 0.5**self.rollbacks
        for group in self._groups():
            group["lr"] = lr
        torch.manual_seed(mix(self.seed, "dropout", self.step))
        losses = torch.cat([self._backward(batch, draws, part) for part in self._parts()])
        norm = nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        finite = norm.isfinite() & losses.isfinite().all()
        self.patience.count(finite)
        if self.patience.is_over(self.step):
            raise self._diverged(batch, losses, norm, lr)
        self._descend(norm, finite)
        t, weight, _ = draws.times
        self.window.add(losses, weight, t, self.diffusion.num_timesteps, norm, finite)
        if self.recent is not None:
            self.recent = self.recent.after(t, losses)
        self._clear_gradients()
        self.step += 1
        self.fraction = self._fraction()

    def progress(self, record: dict[str, Any] | None) -> Progress:
        """What the loop yields."""
        return Progress(self.step, self.images, self.fraction, self.seconds, record)

    def record(self) -> dict[str, Any]:
        """The line of the log for the steps since the last one."""
        lr = self._groups()[0]["lr"]
        return {"step": self.step, "images": self.images, **self.window.means(), "lr": lr, "skipped": self.skipped}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a resume needs, by file."""
        moments = {
            f"{name}.{key}": value
            for name, parameter in self.network.named_parameters()
            for key, value in self._owner(parameter).state[parameter].items()
        }
        weights = {"model": self.network.state_dict(), "ema": self.ema.network.state_dict(), "optimizer": moments}
        return weights if self.recent is None else {**weights, "timesteps": {"recent_losses": self.recent.table}}

    def state(self) -> dict[str, Any]:
        """The counters."""
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "ema_updates": self.ema.updates,
            "skipped": self.skipped,
            "skipped_in_a_row": self.patience.in_a_row,
            "rollbacks": self.rollbacks,
            "window": self.window.sums.tolist(),
        }

    def restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Back to where `tensors` and `state` were taken, in the same memory layout; from anywhere, any number of
        times. An older state has the skipped steps in a row as `skipped`, and no rollbacks.
        """
        self._clear_gradients()
        for optimizer in self.optimizers:
            optimizer.state.clear()
        self.network.load_state_dict(tensors["model"])
        self.ema.network.load_state_dict(tensors["ema"])
        parameters = dict(self.network.named_parameters())
        for full_name, saved in tensors["optimizer"].items():
            name, _, key = full_name.rpartition(".")
            parameter = parameters[name]
            in_layout = saved.shape == parameter.shape and key != "step"
            moments = torch.empty_like(parameter).copy_(saved) if in_layout else saved.to(self.device)
            self._owner(parameter).state[parameter][key] = moments
        if self.recent is not None:
            self.recent = RecentLosses(tensors["timesteps"]["recent_losses"])
        self.step, self.ema.updates, self.rollbacks = state["step"], state["ema_updates"], state.get("rollbacks", 0)
        self.patience.skipped = state["skipped"]
        self.patience.in_a_row = state.get("skipped_in_a_row", state["skipped"])
        self.window = Window(self.device, state["window"])
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
        size, device = self.settings.batch_size, self.device
        t_generator, hidden_generator = (generator(self.seed, name, self.step) for name in ("t", "label-dropout"))
        eps_generator = generator(self.seed, "eps", self.step, device=device)
        times = self._times(t_generator)
        hidden = torch.rand(size, generator=hidden_generator) < self.settings.label_dropout
        eps = torch.randn(size, *self.pipeline.spec.shape, generator=eps_generator, device=device)
        return Draws(Draw(*(sent(each, device) for each in times)), eps, sent(hidden, device))

    def _times(self, draws: torch.Generator) -> Draw:
        size, T = self.settings.batch_size, self.diffusion.num_timesteps
        if self.settings.timesteps == "uniform":
            t = torch.randint(1, T + 1, (size,), generator=draws)
            return Draw(t, torch.ones(size, dtype=torch.float64), independent(size, draws))
        return draw(even(T) if self.recent is None else self.recent.probabilities(), stratified(size, draws))

    def _backward(self, batch: Batch, draws: "Draws", part: slice) -> PerImage:
        labels = None
        if self.pipeline.num_classes and batch.labels is not None:
            labels = batch.labels[part].masked_fill(draws.hidden[part], self.pipeline.num_classes)
        x0 = batch.images[part].contiguous(memory_format=self.pipeline.compute.memory_format)
        t, weight, within = (each[part] for each in draws.times)
        losses = training_losses(self.pipeline, self.forward, x0, t, within, draws.eps[part], labels)
        weight = (self.weighting(self.diffusion, t) * weight).to(losses)
        torch.autograd.backward((losses * weight).sum() / self.settings.batch_size)
        return losses.detach()

    def _descend(self, norm: Tensor, finite: Tensor) -> None:
        """Clips, steps and averages; not finite: changes no weight, moment or counter of either."""
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.network.parameters(), self.settings.clip_norm, norm)
        skip = (~finite).float()
        for optimizer in self.optimizers:
            optimizer.found_inf = skip  # type: ignore[attr-defined]
            optimizer.step()
        self.ema.update(self.network, finite)

    def _clear_gradients(self) -> None:
        """Frees them; or zeroes them in place, since a CUDA graph writes the next ones over what it gave out before."""
        if not self.keeps_gradients:
            self.network.zero_grad(set_to_none=True)
            return
        for parameter in self.network.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch._foreach_zero_([p.grad for p in self.network.parameters() if p.grad is not None])

    def _diverged(self, batch: Batch, losses: PerImage, norm: Tensor, lr: float) -> Diverged:
        layer = next((n for n, p in self.network.named_parameters() if not _finite(p.grad)), "the loss")
        stops = self.settings.on_divergence == "stop"
        return Diverged(
            f"training diverged: {self.patience.in_a_row} steps in a row were not finite, up to step {self.step} "
            f"({self.images} images), learning rate {lr:.3g}, gradient norm {float(norm)}, first in {layer}, on "
            f"{self._images(batch, losses)}; the last checkpoint is kept: train into another folder with a lower "
            f"--training.lr{', or go on with --training.on_divergence rollback' if stops else ''}"
        )

    def _images(self, batch: Batch, losses: PerImage) -> str:
        """The images of a bad batch whose loss is not finite, or all where each loss is: a few, by index and name."""
        bad = ~losses.isfinite().cpu()
        indices = batch.indices[bad if bool(bad.any()) else slice(None)].tolist()
        names = self.loader.image_set.names
        told = [f"{index} ({names[index]})" if names else str(index) for index in indices[:NAMED_IMAGES]]
        more = f" and {len(indices) - NAMED_IMAGES} more" if len(indices) > NAMED_IMAGES else ""
        return f"training images {', '.join(told)}{more}"


class Draws(NamedTuple):
    """The randomness of one step, on the device: times (B,), eps (B, C, H, W), hidden (B,) bool.

    The network does not see the labels that are hidden. eps is drawn on the device: no copy of it has to be sent.
    """

    times: Draw
    eps: Tensor
    hidden: Tensor


def _finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(gradient.isfinite().all())
