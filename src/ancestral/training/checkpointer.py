"""When a run is saved, how it goes on after a stop, and how it goes back where it diverged.

A manifest vouches for bytes, not for sense. A tensor of another shape may broadcast in silence, a moment that is
missing breaks at the next step, a counter out of range moves the run to another place of its own randomness. So names,
shapes, types and counters of a checkpoint are held against the network and the optimiser that are to go on (`unsound`).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from safetensors import SafetensorError
from torch import Tensor

from ancestral.errors import Diverged, InputError
from ancestral.files import read_json
from ancestral.processes import SINGLE_PROCESS
from ancestral.settings import Settings, TrainingSettings, parse
from ancestral.training import checkpoint
from ancestral.training.budget import leap_in_words, warmup_in_words
from ancestral.training.checkpoint import HELD_BY_ROWS, Tensors, load_checkpoint, newest_checkpoint, save_checkpoint
from ancestral.training.engine import rows_of
from ancestral.training.snapshots import Snapshots, all_finite
from ancestral.training.training_log import TrainingLog

ROLLBACKS = 3  # times that training goes back, unless set otherwise


class Checkpointer:
    """Saves a trainer, and puts it back."""

    def __init__(self, log: TrainingLog, data_hash: str) -> None:
        trainer = log.trainer
        self.trainer, self.run, self.log, self.data_hash = trainer, log.run, log, data_hash
        self.check, self.say = log.check, log.say
        self.engine, self.processes = trainer.engine, trainer.engine.processes
        self.saved_step, self.saved_seconds = -1, 0.0
        self.snapshots = Snapshots(trainer, self.run.averages, self.check)
        self.good_step: int | None = None  # of the checkpoint that a divergence would go back to

    def resume(self, before: TrainingSettings, extend: bool) -> None:
        """Puts the trainer where the newest valid checkpoint left it, if there is one, and mends what a kill or a full
        disk has left of the log and of what the task keeps. Where there is none, and training is to go back if it
        diverges, the beginning is saved. `before`: the settings of the last start; `extend` as for `train`.
        """
        folder, settings = self._newest(), self.trainer.settings
        if shortened := warmup_in_words(settings):
            self.say(shortened)
        if folder is None:
            self.log.cut(0, step=0)
            self.snapshots.cut()
            if told := self.snapshots.in_words():
                self.say(told)
            if settings.on_divergence == "rollback":
                self.save()
        else:
            tensors, state = self._load(folder)
            if state["data"] != self.data_hash:
                raise InputError(
                    f"the images have changed since {folder}; restore them, or train into another folder with --out"
                )
            if leap := leap_in_words(before, settings, state, extend):
                self.say(leap)
            self._restore(tensors, state)
            self.say(f"resuming at step {self.trainer.step:,} ({self.trainer.images:,} images)")
            averages = self.trainer.full_averages()
            if averages is not None:
                self.check()
                if mended := self.trainer.task.mend(averages, self.run):
                    self.say(mended)
        self.saved_seconds = self.engine.clock

    def after_step(self) -> None:
        """Saves when it is due."""
        trainer, settings = self.trainer, self.trainer.settings
        self.snapshots.after_step()
        minutes = (self.engine.clock - self.saved_seconds) / 60
        every = (settings.checkpoint_every_steps, settings.milestone_every_steps)
        if any(n and trainer.step % n == 0 for n in every) or minutes >= settings.checkpoint_every_minutes:
            self.save()

    def save(self) -> None:
        """A checkpoint, unless this step has one, and what the task keeps of the averages. What is not finite is never
        saved: it would take the place of the last good state.

        Where every process holds all weights the main one saves. Where each holds some rows, each saves them, and the
        main one gathers the averages, tensor by tensor.
        """
        if self.saved_step == self.trainer.step:
            return
        settings, state, tensors = self.trainer.settings, self.trainer.state(), self.trainer.tensors()
        if not self._all_sound(tensors):
            self.say(f"step {self.trainer.step:,} is not saved: not all of its weights and moments are finite")
            return
        if self.trainer.step % settings.checkpoint_every_steps == 0 and state["skipped_in_a_row"] == 0:
            self.good_step = self.trainer.step  # a function of steps alone
        state |= {"good_step": self.good_step, "data": self.data_hash, "log_bytes": self.log.flush()}
        in_doubt = settings.on_divergence == "rollback" or state["skipped_in_a_row"] > 0
        every, keep = settings.milestone_every_steps, settings.keep_checkpoints

        def spared(step: int) -> bool:
            """Whether it stays beside the newest: a milestone, or what training may have to go back to."""
            return (every is not None and step % every == 0) or (in_doubt and step == self.good_step)

        holders = SINGLE_PROCESS if self.engine.rows is None else self.processes
        if holders is self.processes or self.processes.is_main:
            self.check()
            save_checkpoint(self.run.checkpoints, self.trainer.step, tensors, state, keep, spared, holders)
        averages = self.trainer.full_averages()
        if averages is not None:
            self.check()
            self.trainer.task.save(averages, self.run)
        self.saved_step, self.saved_seconds = self.trainer.step, self.engine.clock

    def finish(self) -> None:
        """Saves the last checkpoint; Diverged where there is nothing to save."""
        self.save()
        if self.saved_step != self.trainer.step:
            raise Diverged(
                f"training diverged: after its last step {self.trainer.step:,} not all weights and moments are finite; "
                "the last checkpoint is kept: train into another folder with a lower --training.lr"
            )

    def roll_back(self, fault: Diverged) -> None:
        """Goes back to the checkpoint of `good_step`, or the valid one before it, to go on with half the learning rate.
        Raises `fault` where this is not wanted, was done as often as allowed, or no checkpoint is left.

        A run is a function of its settings, so going back alone would diverge once more at the same step: something
        has to change, and it is the learning rate, halved once for each rollback from there on. Where training goes
        back to depends on steps alone, never on when it was stopped or how the clock stood; a run killed after a
        rollback and before its next checkpoint diverges and goes back again. So an interrupted run equals one that was
        not, here too. A checkpoint saved while steps were being skipped is never gone back to: its weights are those
        that diverge. Time spent stays spent.
        """
        trainer, settings, folder = self.trainer, self.trainer.settings, None
        if settings.on_divergence == "rollback" and trainer.rollbacks < (settings.rollbacks or ROLLBACKS):
            folder = self._newest(up_to=self.good_step)
        if folder is None:
            raise fault
        at, count = trainer.step, trainer.rollbacks + 1
        tensors, state = self._load(folder)
        self._restore(tensors, {**state, "seconds": trainer.seconds, "rollbacks": count})
        if self.processes.is_main:
            checkpoint.discard_after(self.run.checkpoints, trainer.step)
        self.say(
            f"{str(fault).partition(';')[0]}: going back from step {at:,} to {trainer.step:,}, the learning rate times "
            f"{0.5**count:g} from there on (rollback {count} of {settings.rollbacks or ROLLBACKS})"
        )

    def _newest(self, up_to: int | None = None) -> Path | None:
        """The checkpoint that the main process finds."""
        folder = None
        if self.processes.is_main:
            fault = partial(unsound, self.data_hash, self.trainer.settings.batch_size, self.trainer.expected)
            folder = newest_checkpoint(self.run.checkpoints, self.say, up_to, fault)
        name = self.processes.broadcast("" if folder is None else folder.name)
        return self.run.checkpoints / name if name else None

    def _load(self, folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """What this process holds of a checkpoint."""
        if not folder.is_dir():
            raise InputError(f"expected every process to see {folder}, got none here; train on a disk that all share")
        return load_checkpoint(folder, None if self.engine.rows is None else partial(rows_of, self.processes))

    def _restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """The trainer and the log as a checkpoint has them."""
        self.trainer.restore(tensors, state)
        self.snapshots.cut()
        self.log.cut(state["log_bytes"], self.trainer.step)
        self.saved_step, self.good_step = self.trainer.step, state.get("good_step")

    def _all_sound(self, tensors: Tensors) -> bool:
        """Whether all weights, averages and moments that all processes hold are numbers, together."""
        return all_finite([each for group in HELD_BY_ROWS for each in tensors.get(group, {}).values()], self.processes)


WholeNumber = Annotated[int, Field(ge=0, lt=2**53, strict=True)]


class Counters(Settings):
    """The `state.json` of a checkpoint; of a newer version it may say more, of the first one it says less."""

    model_config = ConfigDict(extra="ignore")

    step: WholeNumber
    images: WholeNumber
    seconds: Annotated[float, Field(ge=0, lt=1e12, strict=True)]
    ema_updates: WholeNumber
    skipped: WholeNumber
    skipped_in_a_row: WholeNumber = 0
    rollbacks: Annotated[WholeNumber, Field(le=2**20)] = 0
    window: Annotated[list[Annotated[float, Field(strict=True)]], Field(min_length=10)]
    good_step: WholeNumber | None = None
    data: str
    log_bytes: WholeNumber

    @model_validator(mode="after")
    def _fit_together(self) -> "Counters":
        for name in ("ema_updates", "skipped", "good_step"):
            if (getattr(self, name) or 0) > self.step:
                raise ValueError(f"expected at most step = {self.step} for {name}, got {getattr(self, name)}")
        if self.skipped_in_a_row > self.skipped:
            raise ValueError(f"expected at most skipped = {self.skipped}, got {self.skipped_in_a_row} in a row")
        if len(self.window) % 10:
            raise ValueError(f"expected 10 numbers for each network as window, got {len(self.window)}")
        return self


def unsound(data_hash: str, batch_size: int, expected: Callable[[int], Tensors], folder: Path) -> str | None:
    """Why training cannot go on from a checkpoint whose files are whole, or None; `expected`: tensors like those that
    are to be there after a number of steps. One tensor is read at a time. One of other images is not damaged, though
    its tensors may be of other classes: `resume` refuses it.
    """
    try:
        counters = parse(Counters, read_json(folder / "state.json"), "state.json")
    except InputError as fault:
        return str(fault)
    counted = (int(folder.name.rpartition("-")[2]), counters.step * batch_size)
    if (counters.step, counters.images) != counted:
        return f"state.json says step {counters.step} and {counters.images} images, not {counted[0]} and {counted[1]}"
    if counters.data != data_hash:
        return None
    wanted, groups = expected(counters.step), checkpoint.tensor_files(folder)
    if groups.keys() != wanted.keys():
        return f"it holds {', '.join(sorted(groups)) or 'no tensors'}, not {', '.join(sorted(wanted))}"
    try:
        faults = (_misfit(checkpoint.tensors_in(paths), wanted[group]) for group, paths in groups.items())
        moments = (_moment_fault(counters.step, *moment) for moment in checkpoint.tensors_in(groups["optimizer"]))
        return next((fault for fault in chain(faults, moments) if fault is not None), None)
    except (OSError, RuntimeError, SafetensorError) as fault:
        return str(fault)


def _misfit(found: Iterable[tuple[str, Tensor]], wanted: Mapping[str, Tensor]) -> str | None:
    """How tensors differ from those of a network or an optimiser in name, shape or type, or what in them is no number;
    None: not at all. Infinity is a number where `wanted` holds one.
    """
    missing = set(wanted)
    for name, tensor in found:
        if name not in wanted:
            return f"it holds {name}, which nothing here is called"
        missing.remove(name)
        like = wanted[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            return f"{name} is {_kind(tensor)}, not {_kind(like)}"
        may_be_infinite = not like.is_meta and bool(like.isinf().any())
        if bool(tensor.isnan().any() if may_be_infinite else (~tensor.isfinite()).any()):
            return f"{name} is not finite"
    return f"{min(missing)} is missing" if missing else None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"


def _moment_fault(steps: int, name: str, moment: Tensor) -> str | None:
    """Why so many steps cannot have left a tensor of the optimiser as it is, or None."""
    kind = name.rpartition(".")[2]
    if kind == "exp_avg_sq" and bool((moment < 0).any()):
        return f"{name} is a mean of squares and negative"
    if kind == "step" and not (0 <= float(moment) <= steps and float(moment).is_integer()):
        return f"{name} counts {float(moment):g} of {steps} steps"
    return None
