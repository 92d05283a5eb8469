"""Algorithm 1 of Ho et al. 2020, as a generator that can be stopped anywhere and goes on as if it had not been.

    x_0 from the data, t from 1..T, eps ~ N(0, I);  step along the gradient of || target - network(x_t, t) ||^2

Which images a step sees, their t, eps, flips and hidden labels are functions of (seed, step) alone, and with importance
sampling of the recent losses. So a checkpoint holds the weights, their average, the optimiser's moments, those losses
and a few counters, and nothing of any generator.

A step gives a GPU its work and waits for nothing: what depends on the numbers, such as whether they are finite, is
decided where they are.

Several processes compute a step together. Each draws the whole batch's randomness and takes its share of it, so that a
step is made of the same images, t and eps however many there are. Its loss is the sum over its images, times the number
of processes, over the size of the whole batch: the mean of these over the processes, which the engine forms of the
gradients, is that of the whole batch however uneven the shares are. What they have to agree on: agreement.py.
"""

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ancestral.compute import Choices, in_words, machine_name
from ancestral.config import TrainingSettings
from ancestral.data.imageset import ImageSet, Parts
from ancestral.data.loader import Batch, Loader
from ancestral.diffusion.losses import Weighting, min_snr, uniform
from ancestral.diffusion.timesteps import RecentLosses
from ancestral.errors import Diverged, InputError
from ancestral.machine import keep_freed_memory
from ancestral.pipeline import Pipeline
from ancestral.processes import ALONE, Processes
from ancestral.rng import mix
from ancestral.tensors import PerImage
from ancestral.training import blame
from ancestral.training.agreement import Agreement
from ancestral.training.alike import check_alike
from ancestral.training.budget import fraction_used, learning_rate
from ancestral.training.draws import Draws, drawn
from ancestral.training.ema import ExponentialAverage
from ancestral.training.held_out import HeldOut
from ancestral.training.keeper import Keeper
from ancestral.training.loss import training_losses
from ancestral.training.memory import fitted
from ancestral.training.optimizer import optimizers_for
from ancestral.training.parallel import Copies, Held, Parallel, Shards, together
from ancestral.training.patience import Patience
from ancestral.training.run import RunFolder
from ancestral.training.soundness import tensors_like
from ancestral.training.tensor_files import Tensors
from ancestral.training.window import Window


class Progress(NamedTuple):
    """Where training is after a step. `fraction` is of the budget, 0..1; `record` is the line logged, if any.

    `stop`: a process was asked to stop, and all are told so after the same step.
    """

    step: int
    images: int
    fraction: float
    seconds: float
    record: dict[str, Any] | None
    stop: bool = False


def train(
    pipeline: Pipeline,
    parts: Parts,
    run: RunFolder | Path | str,
    say: Callable[[str], None] = print,
    asked: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
    parallel: Parallel = "ddp",
    extend: bool = False,
) -> Iterator[Progress]:
    """Trains `pipeline` to the end of its budget, yielding after every step; resumes what is in `run`.

    Closing the generator saves a checkpoint first, so stopping costs nothing. At the end, and with every checkpoint,
    `run.pipeline` holds the averaged weights.

    Args:
        run: the folder of the run, which is made where there is none.
        asked: whether this process has been asked to stop; told to all by `Progress.stop`.
        processes: those that train together; each calls this with the same settings, images and run, and closes the
            generator after the same step. The first one writes and speaks.
        parallel: whether each of them holds all weights (ddp) or some rows of each (fsdp).
        extend: whether the learning rate of a run that goes on with another budget may rise again.

    Raises:
        InputError: another run's folder or settings, a learning rate that would leap, changed data, or only damaged
            checkpoints; fewer images in a batch than processes, or processes that were told otherwise.
        Lost: another process is gone.
        Diverged: PATIENCE non-finite steps in a row, and no going back (`Keeper.roll_back`); the weights before them
            are in the last checkpoint.
        CannotWrite: the disk is full or gone.
    """
    keep_freed_memory()
    config, run = pipeline.config, run if isinstance(run, RunFolder) else RunFolder(run)
    check_alike(processes, config, parts.train.hash, parallel)
    if parallel == "fsdp" and pipeline.is_own:
        raise InputError("expected the U-Net of this package with fsdp, got a network of one's own; use ddp")
    if processes.world > config.training.batch_size:
        raise InputError(
            f"expected a batch of at least an image for each of {processes.world} processes, got "
            f"{config.training.batch_size}; set --training.batch_size higher, or start fewer"
        )
    if not processes.lead:
        say = silent
    with run.claimed(config) if processes.lead else nullcontext() as claim:
        processes.wait()
        before = _settings_before(config.training, run, processes)
        _settle(pipeline, parts, run, say, processes, parallel)
        trainer = Trainer(pipeline, parts.train, processes, parallel, asked)
        held_out = HeldOut(pipeline, parts.validation) if len(parts.validation) else None
        keeper = Keeper(trainer, run, claim, parts.train.hash, say)
        keeper.resume(before, extend)
        if processes.lead:
            run.adopt(config)
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
        keeper.finish()


def _settings_before(now: TrainingSettings, run: RunFolder, processes: Processes) -> TrainingSettings:
    """Those of the last start, as the first process has found them."""
    found = run.read_config().training if processes.lead else now
    return TrainingSettings.model_validate_json(processes.told(found.model_dump_json()))


def silent(text: str) -> None:
    """Says nothing."""


def _settle(
    pipeline: Pipeline,
    parts: Parts,
    run: RunFolder,
    say: Callable[[str], None],
    processes: Processes,
    parallel: Parallel,
) -> None:
    """How the machine is used, as the first process decides it for all."""
    config, decided, machine = pipeline.config, pipeline.compute, machine_name(pipeline.device)
    chosen = decided
    if processes.lead:
        now = decided if run.computed_on(machine) else fitted(pipeline, parts.train, say, processes)
        threads = torch.get_num_threads() if pipeline.device.type == "cpu" else None
        chosen = run.settled(now, config.compute, machine, say, processes.world, parallel, threads)
        told = decided if chosen == now else chosen
        if how := in_words(told, config.compute, pipeline.network_settings, pipeline.spec, pipeline.device):
            say(how)
        if not processes.alone:
            chosen = together(chosen, config.compute)
    pipeline.use(Choices.model_validate_json(processes.told(chosen.model_dump_json())))


class Trainer:
    """Everything that changes while training, one optimiser step at a time."""

    def __init__(
        self,
        pipeline: Pipeline,
        images: ImageSet,
        processes: Processes = ALONE,
        parallel: Parallel = "ddp",
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        config = pipeline.config
        self.settings, self.seed = config.training, config.seed
        self.pipeline, self.diffusion = pipeline, pipeline.diffusion
        self.processes = processes
        self.agreement = Agreement(processes, self.settings.batch_size, asked)
        self.share = self.agreement.share
        self.device = pipeline.device
        torch.backends.cudnn.benchmark = True  # a GPU times its convolutions once: their shapes never change
        self.loader = Loader(images, self.settings.batch_size, self.seed, config.data.flip, self.device, self.share)
        self.network = pipeline.network.train()
        self.ema = ExponentialAverage(self.network, self.settings.ema_decay)
        self.held: Held = (
            Copies(processes, self.network, pipeline.compute)
            if parallel == "ddp" or processes.alone  # whose rows are all
            else Shards(processes, self.network, self.ema.network, pipeline.compute)
        )
        self.optimizers = optimizers_for(self.held.weights, self.settings, self.held.rows)
        self.weighting: Weighting = uniform
        if self.settings.weighting == "min-snr":
            self.weighting = min_snr(self.settings.min_snr_gamma or 5.0)
        by_importance = self.settings.timesteps == "importance"
        self.recent = RecentLosses.none(self.diffusion.num_timesteps) if by_importance else None
        self.keeps_gradients = pipeline.compute.compile == "graphs"
        self._clear_gradients()
        self.step, self.rollbacks = 0, 0
        self.patience, self.window = Patience(self.device), Window(self.device)
        self.seconds_before, self.started = 0.0, time.monotonic()
        self.fraction = self._fraction()
        if not processes.alone and self.held.rows is None:
            self._rehearse()

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

    @property
    def clock(self) -> float:
        """The seconds that decisions go by: several processes go by those of the first, at their last look."""
        return self.seconds if self.processes.alone else self.agreement.clock

    @property
    def stop(self) -> bool:
        """Whether anyone was asked to stop; several processes know at their next look."""
        return self.agreement.asked() if self.processes.alone else self.agreement.stop

    def _fraction(self) -> float:
        """The share of the budget that is used, 0..1."""
        return fraction_used(self.settings, self.step, self.images, self.clock)

    def advance(self) -> None:
        """One optimiser step on the next batch, or none where the loss or the gradient is not finite.

        Raises:
            Diverged: PATIENCE steps in a row were not finite.
        """
        batch, draws = self.loader.batch(self.step), self._draws()
        lr = learning_rate(self.settings, self.images, self.fraction) * 0.5**self.rollbacks
        for group in self._groups():
            group["lr"] = lr
        others = () if self.processes.lead else (self.processes.rank,)
        torch.manual_seed(mix(self.seed, "dropout", self.step, *others))
        parts = self._parts()
        mine = torch.cat([self._backward(batch, draws, part, part is parts[-1]) for part in parts])
        look = self.step % self.patience.every == 0
        losses = mine if self.processes.alone else self.agreement.losses(look).to(mine)
        norm = self.held.norm()
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
        return Progress(self.step, self.images, self.fraction, self.seconds, record, self.stop)

    def record(self) -> dict[str, Any]:
        """The line of the log for the steps since the last one; `missing`: images that others stand in for, if any."""
        lr, missing = self._groups()[0]["lr"], sum(each.num_images for each in self.loader.missing)
        record = {"step": self.step, "images": self.images, **self.window.means(), "lr": lr, "skipped": self.skipped}
        return {**record, "missing": missing} if missing else record

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a resume needs, by file: of weights, averages and moments what this process holds."""
        moments = {
            f"{name}.{key}": value
            for name, parameter in self.held.weights.items()
            for key, value in self.owner(parameter).state[parameter].items()
        }
        model, ema = self.held.tensors(self.network), self.held.tensors(self.ema.network)
        weights = {"model": model, "ema": ema, "optimizer": moments}
        return weights if self.recent is None else {**weights, "timesteps": {"recent_losses": self.recent.table}}

    def expected(self, step: int) -> Tensors:
        """Tensors like those of a checkpoint after `step` steps, whole."""
        owners = {name: self.owner(weight) for name, weight in self.held.weights.items() if weight.requires_grad}
        return tensors_like(self.network, owners, self.recent, step)

    def watched(self) -> Pipeline:
        """A pipeline around the averaged network as it lies here: what is drawn with it is drawn together."""
        if self.held.rows is None:
            return self.pipeline.with_network(self.ema.network)
        other = copy.copy(self.pipeline)
        other.network = self.ema.network
        return other

    def averaged(self) -> Pipeline | None:
        """A pipeline around all of the averaged weights on the first process, which is to save it; together."""
        lead, rows = self.processes.lead, self.held.rows
        if rows is None:
            return self.pipeline.with_network(self.ema.network) if lead else None
        whole = Pipeline.fresh(self.pipeline.config, self.pipeline.spec, "cpu") if lead else None
        averages = self.held.tensors(self.ema.network)
        for name, weight in self.held.weights.items():
            gathered = rows.whole(weight, averages[name])
            if whole is not None:
                whole.network.get_parameter(name).detach().copy_(gathered)
        return whole

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
        times. Of tensors that are held by rows, those of this process. An older state has the skipped steps in a row
        as `skipped`, and no rollbacks.
        """
        self._clear_gradients()
        for optimizer in self.optimizers:
            optimizer.state.clear()
        for name, network in (("model", self.network), ("ema", self.ema.network)):
            held = self.held.tensors(network)
            assert held.keys() == tensors[name].keys(), "the weights of this network"
            for key, tensor in held.items():
                tensor.copy_(tensors[name][key])
        for full_name, saved in tensors["optimizer"].items():
            name, _, key = full_name.rpartition(".")
            parameter = self.held.weights[name]
            in_layout = saved.shape == parameter.shape and key != "step"
            moments = torch.empty_like(parameter).copy_(saved) if in_layout else saved.to(self.device)
            self.owner(parameter).state[parameter][key] = moments
        if self.recent is not None:
            self.recent = RecentLosses(tensors["timesteps"]["recent_losses"])
        self.step, self.ema.updates, self.rollbacks = state["step"], state["ema_updates"], state.get("rollbacks", 0)
        self.patience.skipped = state["skipped"]
        self.patience.in_a_row = state.get("skipped_in_a_row", state["skipped"])
        self.window = Window(self.device, state["window"])
        self.seconds_before, self.started = state["seconds"], time.monotonic()
        self.agreement.clock = self.seconds_before
        self.fraction = self._fraction()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def owner(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """The optimiser that updates a weight."""
        return next(o for o in self.optimizers if any(parameter is p for g in o.param_groups for p in g["params"]))

    def _parts(self) -> list[slice]:
        """Stretches of this process's share; of several processes, each has as many, since each part is a meeting."""
        size = self.share.stop - self.share.start
        smallest, more = divmod(self.settings.batch_size, self.processes.world)
        largest = smallest + bool(more)
        at_once = min(largest, self.pipeline.compute.micro_batch or largest)
        if self.processes.alone:
            return [slice(start, min(start + at_once, size)) for start in range(0, size, at_once)]
        count = min(smallest, -(-largest // at_once))
        cuts = [size * k // count for k in range(count + 1)]
        return [slice(*ends) for ends in pairwise(cuts)]

    def _rehearse(self) -> None:
        """A backward pass over black images. DDP lays the gradients out anew after its first one, and of three
        processes or more the sum depends on where its terms lie: so a run that goes on has to be past that before its
        first step, as the run that was not stopped is.
        """
        part = self._parts()[0]
        count, pipeline = part.stop - part.start, self.pipeline
        x0 = -torch.ones(count, *pipeline.spec.shape, device=self.device)
        x0 = x0.contiguous(memory_format=pipeline.compute.memory_format)
        t = torch.ones(count, dtype=torch.int64, device=self.device)
        within = torch.zeros(count, dtype=torch.float64, device=self.device)
        labels = t - 1 if pipeline.num_classes and self.loader.labels is not None else None
        with self.held.part(last=True):
            losses = training_losses(pipeline, self.held.forward, x0, t, within, torch.zeros_like(x0), labels)
            torch.autograd.backward(losses.sum())
        self._clear_gradients()

    def _draws(self) -> Draws:
        shape, T = self.pipeline.spec.shape, self.diffusion.num_timesteps
        return drawn(self.settings, self.seed, self.step, shape, T, self.device, self.recent)

    def _backward(self, batch: Batch, draws: Draws, part: slice, last: bool) -> PerImage:
        """The losses of a part of this process's share, their gradient added to what is there."""
        hidden, eps = draws.hidden[self.share][part], draws.eps[self.share][part]
        labels = None
        if self.pipeline.num_classes and batch.labels is not None:
            labels = batch.labels[part].masked_fill(hidden, self.pipeline.num_classes)
        x0 = batch.images[part].contiguous(memory_format=self.pipeline.compute.memory_format)
        t, weight, within = (each[self.share][part] for each in draws.times)
        with self.held.part(last):
            losses = training_losses(self.pipeline, self.held.forward, x0, t, within, eps, labels)
            if not self.processes.alone:
                self.agreement.tell(losses.detach(), part, last, self.seconds)
            weight = (self.weighting(self.diffusion, t) * weight).to(losses)
            total = (losses * weight).sum() * self.processes.world
            torch.autograd.backward(total / self.settings.batch_size)
        return losses.detach()

    def _descend(self, norm: Tensor, finite: Tensor) -> None:
        """Clips, steps and averages; not finite: changes no weight, moment or counter of either."""
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.held.weights.values(), self.settings.clip_norm, norm)
        skip = (~finite).float()
        for optimizer in self.optimizers:
            optimizer.found_inf = skip  # type: ignore[attr-defined]
            optimizer.step()
        self.ema.update(self.held.pairs(self.ema.network), finite)
        self.ema.take_buffers(self.network)

    def _clear_gradients(self) -> None:
        """Frees them; or zeroes them in place, since a CUDA graph writes the next ones over what it gave out before."""
        if not self.keeps_gradients:
            self.held.clear()
            return
        for parameter in self.network.parameters():
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch._foreach_zero_([p.grad for p in self.network.parameters() if p.grad is not None])

    def _diverged(self, batch: Batch, losses: PerImage, norm: Tensor, lr: float) -> Diverged:
        layer = blame.first_layer(self.held.weights)
        images = blame.images(batch, losses, self.loader.image_set.names)
        stops = self.settings.on_divergence == "stop"
        return Diverged(
            f"training diverged: {self.patience.in_a_row} steps in a row were not finite, up to step {self.step} "
            f"({self.images} images), learning rate {lr:.3g}, gradient norm {float(norm)}, first in {layer}, on "
            f"{images}; the last checkpoint is kept: train into another folder with a lower "
            f"--training.lr{', or go on with --training.on_divergence rollback' if stops else ''}"
        )
