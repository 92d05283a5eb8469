"""Algorithm 1 of Ho et al. 2020, a step at a time:

    repeat
        x_0 ~ q(x_0)
        t ~ Uniform({1, ..., T})
        eps ~ N(0, I)
        take a gradient step on || eps - eps_theta(sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, t) ||^2
    until converged

`Trainer.advance` is what stands between repeat and until; loop.py repeats it. What the networks and their losses are is
the task's (task.py; the square is in denoiser.py).

Which images a step sees, their t, eps, flips and what is hidden are functions of (seed, step) alone, and with
importance sampling of the recent losses. So a checkpoint holds the weights, their average, the optimiser's moments,
those losses and a few counters, and nothing of any generator. They are drawn for the whole batch, of which each process
takes its slice: a step is made of the same images, t and eps however many processes there are (engine.py).

A step gives a GPU its work and waits for nothing: whether numbers are finite, for one, is decided where they are.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Batch, Loader
from ancestral.errors import Diverged
from ancestral.networks.weights import first_not_finite
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.rng import mix
from ancestral.tensors import PerImage
from ancestral.training.budget import fraction_used, learning_rate
from ancestral.training.checkpoint import Tensors
from ancestral.training.ema import ExponentialAverage, PowerAverages
from ancestral.training.engine import Parallel, engine_of
from ancestral.training.means import RunningMeans
from ancestral.training.optimizer import moments_like, optimizers_for
from ancestral.training.power_average import PROFILES
from ancestral.training.randomness import Randomness
from ancestral.training.task import Task, Trainable

MOST_IN_A_ROW = 10  # non-finite steps in a row after which training stops
NAMED_IMAGES = 8  # of a bad batch, that a message names


class ModuleTrainer:
    """One of a task's networks while it is trained: who holds its weights, what updates and what averages them."""

    def __init__(
        self,
        task: Task,
        module: Trainable,
        processes: Processes,
        parallel: Parallel,
        asked: Callable[[], bool],
        seconds: Callable[[], float],
    ) -> None:
        self.settings, self.losses = module.settings, module.losses
        self.network = module.network.train()
        self.ema = ExponentialAverage(self.network, module.settings.ema_decay)
        kind = engine_of(processes, parallel)
        self.engine = kind(processes, module, task.compute, task.config.training, self.ema.network, asked, seconds)
        is_kept = module.settings.ema_snapshots is not None and not module.name  # of the first network alone
        self.powers = PowerAverages(self.engine.weights, PROFILES if is_kept else {})
        self.buffers = [*zip(self.ema.network.buffers(), self.network.buffers(), strict=True)]
        self.optimizers = optimizers_for(self.engine.weights, self.network, module.settings, self.engine.rows)
        self.owners = {p: each for each in self.optimizers for group in each.param_groups for p in group["params"]}
        """Of each weight, the optimiser that updates it."""
        self.means = RunningMeans(task.device)
        self.prefix = f"{module.name}." if module.name else ""

    def descend(self, norm: Tensor, finite: Tensor) -> None:
        """Clips, steps and averages; not finite: changes no weight, moment or counter of either."""
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.engine.weights.values(), self.settings.clip_norm, norm)
        skip = (~finite).float()
        for optimizer in self.optimizers:
            optimizer.found_inf = skip  # type: ignore[attr-defined]
            optimizer.step()
        self.powers.update(self.engine.weights, self.ema.updates, finite)
        self.ema.update(zip(self.engine.averages, self.engine.weights.values(), strict=True), finite)
        self.ema.take_buffers(self.buffers)

    def set_learning_rate(self, images: int, fraction: float, factor: float) -> None:
        """That of a step after so many images, at this share of the budget, times `factor`."""
        lr = learning_rate(self.settings, images, fraction) * factor
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = lr

    @property
    def learning_rate(self) -> float:
        return float(self.optimizers[0].param_groups[0]["lr"])

    def record(self) -> dict[str, Any]:
        """Means since the last record."""
        means, self.means = self.means.means(), RunningMeans(self.means.sums.device)
        return {**means, "lr": self.learning_rate}

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Weights, averages and moments, what this process holds of them."""
        moments = {
            f"{name}.{key}": value
            for name, parameter in self.engine.weights.items()
            for key, value in self.owners[parameter].state[parameter].items()
        }
        model, ema = self.engine.tensors(self.network), self.engine.tensors(self.ema.network)
        return self._named({"model": model, "ema": ema, "optimizer": moments, **self.powers.means})

    def expected(self, step: int) -> dict[str, dict[str, Tensor]]:
        """Tensors like `tensors` after `step` steps, whole, on the device `meta`."""
        weights = {name: torch.empty_like(each, device="meta") for name, each in self.network.state_dict().items()}
        moments = {
            f"{name}.{key}": like
            for name, weight in self.engine.weights.items()
            if step and weight.requires_grad
            for key, like in moments_like(self.owners[weight], weights[name]).items()
        }
        powers = {group: {name: weights[name] for name in means} for group, means in self.powers.means.items()}
        return self._named({"model": weights, "ema": weights, "optimizer": moments, **powers})

    def restore(self, tensors: Tensors, updates: int) -> None:
        """Back to where `tensors` was taken, in the same memory layout."""
        for optimizer in self.optimizers:
            optimizer.state.clear()
        held = {"model": self.engine.tensors(self.network), "ema": self.engine.tensors(self.ema.network)}
        for group, own in {**held, **self.powers.means}.items():
            for key, tensor in own.items():
                tensor.copy_(tensors[group][self.prefix + key])
        for full_name, saved in tensors["optimizer"].items():
            name, _, key = full_name.removeprefix(self.prefix).rpartition(".")
            parameter = self.engine.weights.get(name)
            if parameter is None:
                continue  # another network's
            in_layout = saved.shape == parameter.shape and key != "step"
            moments = torch.empty_like(parameter).copy_(saved) if in_layout else saved.to(parameter.device)
            self.owners[parameter].state[parameter][key] = moments
        self.ema.updates.fill_(updates)

    def _named(self, groups: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        return {name: {self.prefix + key: each for key, each in group.items()} for name, group in groups.items()}


class Trainer:
    """Everything that changes while training, one step at a time. Of several networks the first gives `network`, `ema`,
    `engine` and what the log calls the loss."""

    def __init__(
        self,
        task: Task,
        images: ImageSet,
        processes: Processes = SINGLE_PROCESS,
        parallel: Parallel = "ddp",
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.task, self.settings, self.device = task, task.config.own_training, task.device
        torch.backends.cudnn.benchmark |= self.device.type == "cuda"  # it times convolutions once: shapes never change
        self.seconds_before, self.started = 0.0, time.monotonic()
        self.modules = [
            ModuleTrainer(task, module, processes, parallel, asked, lambda: self.seconds) for module in task.modules
        ]
        self.network, self.ema, self.engine = self.modules[0].network, self.modules[0].ema, self.modules[0].engine
        self.optimizers = [optimizer for module in self.modules for optimizer in module.optimizers]
        size, flip, part = self.settings.batch_size, task.config.data.flip, self.engine.local_slice
        told = task.spec, task.tokenizer
        self.loader = Loader(images, size, task.seed, flip, self.device, part, None, *told, task.latents)
        self._clear()
        self.step, self.rollbacks = 0, 0
        self.non_finite, self._untrained = NonFiniteCounter(self.device), task.tensors()
        self.fraction = self._fraction()

    def advance(self) -> None:
        """Algorithm 1, one step on the next batch, or none where it is not finite: Diverged after MOST_IN_A_ROW."""
        for module in self.modules:
            module.set_learning_rate(self.images, self.fraction, 0.5**self.rollbacks)
        self.task.before(self.step, self.fraction)
        batch = self.loader.batch(self.step)  # x_0 ~ q(x_0)
        random = self._randomness()  # t ~ Uniform({1, ..., T}), eps ~ N(0, I)
        found = [self._gradient(module, batch, random) for module in self.modules]
        finite = torch.stack([norm.isfinite() & losses.isfinite().all() for losses, norm in found]).all()
        self.non_finite.count(finite)
        if self.non_finite.is_over(self.step):
            raise self._diverged(batch, found)
        for module, (losses, norm) in zip(self.modules, found, strict=True):
            module.descend(norm, finite)
            module.means.add(losses, random.times.weight, random.times.t, self.task.num_timesteps, norm, finite)
        self.task.after(random, found[0][0], finite, self.engine.processes)
        self._clear()
        self.step += 1
        self.fraction = self._fraction()

    @property
    def images(self) -> int:
        return self.step * self.settings.batch_size

    @property
    def seconds(self) -> float:
        """Time spent on this run, over all its starts."""
        return self.seconds_before + time.monotonic() - self.started

    def record(self) -> dict[str, Any]:
        """The line of the log for the steps since the last one; `missing`: images that others stand in for, if any."""
        missing, record = sum(each.num_images for each in self.loader.missing), dict[str, Any]()
        for module in self.modules:
            record |= {module.prefix.replace(".", "_") + key: value for key, value in module.record().items()}
        record |= self.task.record()
        record = {"step": self.step, "images": self.images, **record, "skipped": int(self.non_finite.skipped)}
        return {**record, "missing": missing} if missing else record

    def tensors(self) -> Tensors:
        """All that a resume needs, by file; of weights, averages and moments what this process holds."""
        return _together([*(module.tensors() for module in self.modules), self.task.tensors()])

    def expected(self, step: int) -> Tensors:
        """Tensors like those of a checkpoint after `step` steps, whole; those without values on the device `meta`."""
        return _together([*(module.expected(step) for module in self.modules), self._untrained])

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
            "window": [each for module in self.modules for each in module.means.sums.tolist()],
        }

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Back to where `tensors` and `state` were taken, in the same memory layout. Of tensors that are held by rows,
        those of this process. An older state has the skipped steps in a row as `skipped`, and no rollbacks.
        """
        self._clear()
        size = len(state["window"]) // len(self.modules)
        for i, module in enumerate(self.modules):
            module.restore(tensors, state["ema_updates"])
            module.means = RunningMeans(self.device, state["window"][i * size : (i + 1) * size])
        self.task.restore(tensors)
        self.step, self.rollbacks = state["step"], state.get("rollbacks", 0)
        self.non_finite.skipped.fill_(state["skipped"])
        self.non_finite.in_a_row.fill_(state.get("skipped_in_a_row", state["skipped"]))
        self.seconds_before, self.started = state["seconds"], time.monotonic()
        self.engine.last_clock = state["seconds"]
        self.fraction = self._fraction()

    def full_averages(self) -> list[nn.Module] | None:
        """The averaged networks, whole, on the main process, which is to save them; together."""
        averages = [module.engine.full_average() for module in self.modules]
        return averages if self.engine.processes.is_main else None

    def _randomness(self) -> Randomness:
        """That of the whole batch; and dropout's generator stands where this step has it."""
        processes = self.engine.processes
        of_process = () if processes.is_main else (processes.rank,)  # each has dropout of its own
        seed = torch.manual_seed if self.device.type == "cuda" else torch.default_generator.manual_seed  # the quick one
        seed(mix(self.task.seed, "dropout", self.step, *of_process))
        return self.task.randomness(self.step)

    def _gradient(self, module: ModuleTrainer, batch: Batch, random: Randomness) -> tuple[PerImage, Tensor]:
        """The losses of the whole batch, whose gradient is in the weights of this network alone, and its norm."""
        of_part = partial(self._losses, module, batch, random.rows(self.engine.local_slice))
        with _fixed([other.network for other in self.modules if other is not module]):
            losses = module.engine.backward(of_part, self.non_finite.is_due(self.step))
            return losses, module.engine.norm()

    def _losses(
        self, module: ModuleTrainer, batch: Batch, random: Randomness, part: slice
    ) -> tuple[PerImage, PerImage]:
        """The losses of a part of this process's images, and the weight of each."""
        return module.losses(module.engine.forward, batch.rows(part), random.rows(part))

    def _clear(self) -> None:
        for module in self.modules:
            module.engine.clear()

    def _fraction(self) -> float:
        """The share of the budget that is used, 0..1."""
        return fraction_used(self.settings, self.step, self.images, self.engine.clock)

    def _diverged(self, batch: Batch, found: Sequence[tuple[PerImage, Tensor]]) -> Diverged:
        named = ((each.prefix, *pair) for each in self.modules for pair in each.engine.weights.items())
        gradients = {prefix + name: weight.grad for prefix, name, weight in named if weight.grad is not None}
        layer = first_not_finite(gradients) or "the loss"
        losses, norm = (torch.stack(each).sum(0) for each in zip(*found, strict=True))
        lr = self.modules[0].learning_rate
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


@contextmanager
def _fixed(networks: Sequence[nn.Module]) -> Iterator[None]:
    """A `with` statement in which nothing is found out for the weights of these networks."""
    weights = [each for network in networks for each in network.parameters() if each.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    yield
    for weight in weights:
        weight.requires_grad_(True)


def _together(parts: Sequence[Tensors]) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {}
    for part in parts:
        for group, tensors in part.items():
            groups.setdefault(group, {}).update(tensors)
    return groups


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
