"""Algorithm 1 of Ho et al. 2020, a step at a time:

    repeat
        x_0 ~ q(x_0)
        t ~ Uniform({1, ..., T})
        eps ~ N(0, I)
        take a gradient step on || eps - eps_theta(sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, t) ||^2
    until converged

`Trainer.advance` is what stands between repeat and until; loop.py repeats it.

Which images a step sees, their t, eps, flips and what is hidden are functions of (seed, step) alone, and with
importance sampling of the recent losses. So a checkpoint holds the weights, their average, the optimiser's moments,
those losses and a few counters, and nothing of any generator. They are drawn for the whole batch, of which each process
takes its slice: a step is made of the same images, t and eps however many processes there are (engine.py).

A step gives a GPU its work and waits for nothing: whether numbers are finite, for one, is decided where they are.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Batch, Loader
from ancestral.diffusion.level import Noised
from ancestral.diffusion.losses import Weighting, min_snr, uniform
from ancestral.diffusion.timesteps import RecentLosses, SampledTimesteps
from ancestral.errors import Diverged
from ancestral.networks.weights import first_not_finite
from ancestral.pipeline import Pipeline
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.rng import generator, mix
from ancestral.tensors import PerImage
from ancestral.training.budget import fraction_used, learning_rate
from ancestral.training.checkpoint import Tensors
from ancestral.training.ema import ExponentialAverage
from ancestral.training.engine import Parallel, engine_of
from ancestral.training.loss import RunningMeans, level_of, training_losses
from ancestral.training.optimizer import moments_like, optimizers_for
from ancestral.training.randomness import Randomness, randomness_of

MOST_IN_A_ROW = 10  # non-finite steps in a row after which training stops
NAMED_IMAGES = 8  # of a bad batch, that a message names


class Trainer:
    """Everything that changes while training, one optimiser step at a time."""

    def __init__(
        self,
        pipeline: Pipeline,
        images: ImageSet,
        processes: Processes = SINGLE_PROCESS,
        parallel: Parallel = "ddp",
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        config = pipeline.config
        self.settings, self.seed = config.training, config.seed
        self.pipeline, self.diffusion = pipeline, pipeline.diffusion
        self.device = pipeline.device
        torch.backends.cudnn.benchmark = True  # a GPU times its convolutions once: their shapes never change
        self.network = pipeline.network.train()
        self.ema = ExponentialAverage(self.network, self.settings.ema_decay)
        self.seconds_before, self.started = 0.0, time.monotonic()
        kind = engine_of(processes, parallel)
        self.engine = kind(processes, pipeline, self.ema.network, asked, lambda: self.seconds)
        self.loader = Loader(
            images, self.settings.batch_size, self.seed, config.data.flip, self.device, self.engine.local_slice
        )
        self.optimizers = optimizers_for(self.engine.weights, self.network, self.settings, self.engine.rows)
        self.weighting: Weighting = uniform
        if self.settings.weighting == "min-snr":
            self.weighting = min_snr(self.settings.min_snr_gamma or 5.0)
        by_importance = self.settings.timesteps == "importance"
        self.recent = RecentLosses.none(self.diffusion.num_timesteps) if by_importance else None
        self.engine.clear()
        self.step, self.rollbacks = 0, 0
        self.non_finite, self.means = NonFiniteCounter(self.device), RunningMeans(self.device)
        self.fraction = self._fraction()

    def advance(self) -> None:
        """Algorithm 1, one step on the next batch, or none where it is not finite: Diverged after MOST_IN_A_ROW."""
        lr = self._set_learning_rate()
        batch = self.loader.batch(self.step)  # x_0 ~ q(x_0)
        random = self._randomness()  # t ~ Uniform({1, ..., T}), eps ~ N(0, I)
        losses = self.engine.backward(partial(self._losses, batch, random), self.non_finite.is_due(self.step))
        norm = self.engine.norm()
        finite = norm.isfinite() & losses.isfinite().all()
        self.non_finite.count(finite)
        if self.non_finite.is_over(self.step):
            raise self._diverged(batch, losses, norm, lr)
        self._descend(norm, finite)
        self._remember(random, losses, norm, finite)

    @property
    def images(self) -> int:
        """Images seen so far."""
        return self.step * self.settings.batch_size

    @property
    def seconds(self) -> float:
        """Time spent on this run, over all its starts."""
        return self.seconds_before + time.monotonic() - self.started

    def record(self) -> dict[str, Any]:
        """The line of the log for the steps since the last one; `missing`: images that others stand in for, if any."""
        lr, missing = self.optimizers[0].param_groups[0]["lr"], sum(each.num_images for each in self.loader.missing)
        record = {"step": self.step, "images": self.images, **self.means.means(), "lr": lr}
        record["skipped"] = int(self.non_finite.skipped)
        self.means = RunningMeans(self.device)
        return {**record, "missing": missing} if missing else record

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a resume needs, by file; of weights, averages and moments what this process holds."""
        moments = {
            f"{name}.{key}": value
            for name, parameter in self.engine.weights.items()
            for key, value in self.owner(parameter).state[parameter].items()
        }
        model, ema = self.engine.tensors(self.network), self.engine.tensors(self.ema.network)
        weights = {"model": model, "ema": ema, "optimizer": moments}
        return weights if self.recent is None else {**weights, "timesteps": {"recent_losses": self.recent.table}}

    def expected(self, step: int) -> Tensors:
        """Tensors like those of a checkpoint after `step` steps, whole; those without values on the device `meta`."""
        weights = {name: torch.empty_like(each, device="meta") for name, each in self.network.state_dict().items()}
        moments = {
            f"{name}.{key}": like
            for name, weight in self.engine.weights.items()
            if step and weight.requires_grad
            for key, like in moments_like(self.owner(weight), weights[name]).items()
        }
        groups = {"model": weights, "ema": weights, "optimizer": moments}
        if self.recent is not None:
            groups["timesteps"] = {"recent_losses": RecentLosses.none(self.diffusion.num_timesteps).table}
        return groups

    def state(self) -> dict[str, Any]:
        """The counters."""
        return {
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "ema_updates": int(self.ema.updates),
            "skipped": int(self.non_finite.skipped),
            "skipped_in_a_row": int(self.non_finite.in_a_row),
            "rollbacks": self.rollbacks,
            "window": self.means.sums.tolist(),
        }

    def restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """Back to where `tensors` and `state` were taken, in the same memory layout. Of tensors that are held by rows,
        those of this process. An older state has the skipped steps in a row as `skipped`, and no rollbacks.
        """
        self.engine.clear()
        for optimizer in self.optimizers:
            optimizer.state.clear()
        for name, network in (("model", self.network), ("ema", self.ema.network)):
            held = self.engine.tensors(network)
            assert held.keys() == tensors[name].keys(), "the weights of this network"
            for key, tensor in held.items():
                tensor.copy_(tensors[name][key])
        for full_name, saved in tensors["optimizer"].items():
            name, _, key = full_name.rpartition(".")
            parameter = self.engine.weights[name]
            in_layout = saved.shape == parameter.shape and key != "step"
            moments = torch.empty_like(parameter).copy_(saved) if in_layout else saved.to(self.device)
            self.owner(parameter).state[parameter][key] = moments
        if self.recent is not None:
            self.recent = RecentLosses(tensors["timesteps"]["recent_losses"])
        self.step, self.rollbacks = state["step"], state.get("rollbacks", 0)
        self.ema.updates.fill_(state["ema_updates"])
        self.non_finite.skipped.fill_(state["skipped"])
        self.non_finite.in_a_row.fill_(state.get("skipped_in_a_row", state["skipped"]))
        self.means = RunningMeans(self.device, state["window"])
        self.seconds_before, self.started = state["seconds"], time.monotonic()
        self.engine.last_clock = state["seconds"]
        self.fraction = self._fraction()

    def owner(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """The optimiser that updates a weight."""
        return next(o for o in self.optimizers if any(parameter is p for g in o.param_groups for p in g["params"]))

    def _set_learning_rate(self) -> float:
        """That of this step."""
        lr = learning_rate(self.settings, self.images, self.fraction) * 0.5**self.rollbacks
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = lr
        return lr

    def _randomness(self) -> Randomness:
        """Times, noise and what is hidden of the whole batch; and dropout's generator stands where this step has it."""
        processes = self.engine.processes
        of_process = () if processes.is_main else (processes.rank,)  # each has dropout of its own
        torch.manual_seed(mix(self.seed, "dropout", self.step, *of_process))
        shape, T = self.pipeline.latent_shape, self.diffusion.num_timesteps
        return randomness_of(self.settings, self.seed, self.step, shape, T, self.device, self.recent)

    def _codec_noise(self, part: slice) -> Tensor:
        """What a codec that draws x0 from a distribution draws it by, for a part of this process's images."""
        draws = generator(self.seed, "codec", self.step, device=self.device)
        size, shape = self.settings.batch_size, self.pipeline.latent_shape
        return torch.randn(size, *shape, generator=draws, device=self.device)[self.engine.local_slice][part]

    def _losses(self, batch: Batch, random: Randomness, part: slice) -> tuple[PerImage, PerImage]:
        """The losses of a part of this process's images, and the weight of each: the square in Algorithm 1."""
        hidden, eps = (each[self.engine.local_slice][part] for each in (random.hidden, random.eps))
        times = SampledTimesteps(*(each[self.engine.local_slice][part] for each in random.times))
        condition, level = batch.condition.rows(part).hidden(hidden), level_of(self.pipeline, times)
        with torch.no_grad():
            x0 = self.pipeline.codec.encode(batch.pixels[part], partial(self._codec_noise, part))
        noised = Noised.at(level, x0.contiguous(memory_format=torch.channels_last), eps)
        losses = training_losses(self.pipeline, self.engine.forward, noised, condition)
        return losses, (self.weighting(self.diffusion, level) * times.weight).to(losses)

    def _descend(self, norm: Tensor, finite: Tensor) -> None:
        """Clips, steps and averages; not finite: changes no weight, moment or counter of either."""
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.engine.weights.values(), self.settings.clip_norm, norm)
        skip = (~finite).float()
        for optimizer in self.optimizers:
            optimizer.found_inf = skip  # type: ignore[attr-defined]
            optimizer.step()
        self.ema.update(zip(self.engine.averages, self.engine.weights.values(), strict=True), finite)
        self.ema.take_buffers(self.network)

    def _remember(self, random: Randomness, losses: PerImage, norm: Tensor, finite: Tensor) -> None:
        """The step is counted, its losses are noted, its gradient is dropped."""
        t, weight, _ = random.times
        self.means.add(losses, weight, t, self.diffusion.num_timesteps, norm, finite)
        if self.recent is not None:
            self.recent = self.recent.after(t, losses)
        self.engine.clear()
        self.step += 1
        self.fraction = self._fraction()

    def _fraction(self) -> float:
        """The share of the budget that is used, 0..1."""
        return fraction_used(self.settings, self.step, self.images, self.engine.clock)

    def _diverged(self, batch: Batch, losses: PerImage, norm: Tensor, lr: float) -> Diverged:
        gradients = {name: weight.grad for name, weight in self.engine.weights.items() if weight.grad is not None}
        layer = first_not_finite(gradients) or "the loss"
        bad, names = ~losses.isfinite().cpu(), self.loader.image_set.names
        indices = batch.indices[bad if bool(bad.any()) else slice(None)].tolist()  # all where no loss is finite
        images = ", ".join(f"{index} ({names[index]})" if names else str(index) for index in indices[:NAMED_IMAGES])
        more = f" and {len(indices) - NAMED_IMAGES} more" if len(indices) > NAMED_IMAGES else ""
        count, stops = int(self.non_finite.in_a_row), self.settings.on_divergence == "stop"
        return Diverged(
            f"training diverged: {count} steps in a row were not finite, up to step {self.step} "
            f"({self.images} images), learning rate {lr:.3g}, gradient norm {float(norm)}, first in {layer}, on "
            f"training images {images}{more}; the last checkpoint is kept: train into another folder with a lower "
            f"--training.lr{', or go on with --training.on_divergence rollback' if stops else ''}"
        )


class NonFiniteCounter:
    """Counts steps that are not finite, in a row and in all, int64 on the device that computes and skips them.

    Asking a GPU for a number means waiting until it has done all it was given. So a CPU is asked at each step and a GPU
    every `MOST_IN_A_ROW` steps, and either stops before twice as many are lost.
    """

    def __init__(self, device: torch.device) -> None:
        self.every = 1 if device.type == "cpu" else MOST_IN_A_ROW
        self.in_a_row, self.skipped = torch.zeros(2, dtype=torch.int64, device=device)

    def count(self, finite: Tensor) -> None:
        """One more step, () bool."""
        self.in_a_row.add_(1).mul_(~finite)
        self.skipped.add_(~finite)

    def is_due(self, step: int) -> bool:
        """Whether numbers may be asked for after this step."""
        return step % self.every == 0

    def is_over(self, step: int) -> bool:
        """Whether to stop, where numbers may be asked for."""
        return self.is_due(step) and int(self.in_a_row) >= MOST_IN_A_ROW
