"""What happens between the steps: logging, the held-out loss, grids of samples, checkpoints, and resuming.

Watching, that is held-out losses and grids, is done at once and training waits for it: a network that is called as it
is keeps the host as busy as the GPU, so that beside a training step it would gain little. What it costs is kept, in
seconds, in every line of `timing.jsonl`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ancestral.config import TrainingSettings
from ancestral.errors import Diverged, InputError, NonFinite
from ancestral.pipeline import stored
from ancestral.processes import ALONE
from ancestral.rng import mix
from ancestral.training.budget import leap_in_words, warmup_in_words
from ancestral.training.checkpoint import discard_after, load_checkpoint, newest_checkpoint, save_checkpoint
from ancestral.training.held_out import HeldOut
from ancestral.training.logs import JsonLines
from ancestral.training.parallel import rows_of
from ancestral.training.run import Claim, RunFolder
from ancestral.training.soundness import is_sound, unsound
from ancestral.training.spikes import Spikes
from ancestral.training.window import Window
from ancestral.viz.pictures import grid, save_png

if TYPE_CHECKING:
    from ancestral.training.trainer import Trainer

GRID_IMAGES = 40
ROLLBACKS = 3
"""Times that training goes back, unless set otherwise."""


class Keeper:
    """When to log, look, draw, save and go back.

    Args:
        claim: the folder that is held; None for a process that does not write.

    Attributes:
        good_step: of the checkpoint that a divergence would go back to: the last at a multiple of
            `checkpoint_every_steps` that was saved after a finite step; None before the first.
    """

    good_step: int | None = None

    def __init__(
        self, trainer: "Trainer", run: RunFolder, claim: Claim | None, data_hash: str, say: Callable[[str], None]
    ) -> None:
        self.trainer, self.run, self.data_hash, self.say = trainer, run, data_hash, say
        self.check: Callable[[], None] = claim.check if claim else lambda: None
        self.processes = trainer.processes
        self.spikes = Spikes()
        self.log, self.timing = JsonLines(run.log, self.check), JsonLines(run.timing, self.check)
        self.saved_step, self.saved_seconds = -1, 0.0
        self.timed_images, self.timed_seconds, self.watching_seconds = 0, 0.0, 0.0

    def resume(self, before: TrainingSettings, extend: bool) -> None:
        """Puts the trainer where the newest valid checkpoint left it, if there is one, and mends what a kill or a full
        disk has left of logs and pipeline.

        Where there is none, and training is to go back if it diverges, the beginning is saved.

        Args:
            before: the settings that the run had at its last start.
            extend: whether another budget may let the learning rate rise again.

        Raises:
            InputError: it may not, and would; or the images have changed.
        """
        folder, settings = self._newest(), self.trainer.settings
        if shortened := warmup_in_words(settings):
            self.say(shortened)
        if folder is None:
            if self.processes.lead:
                self.log.cut(0, step=0)
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
            self._mend_pipeline()
        if self.processes.lead:
            self.timing.mend()
        self.saved_seconds, self.timed_seconds = self.trainer.clock, self.trainer.seconds
        self.timed_images = self.trainer.images

    def after_step(self, held_out: HeldOut | None) -> dict[str, Any] | None:
        """Logs, draws and saves what is due; the record logged, if any."""
        trainer, settings, record = self.trainer, self.trainer.settings, None
        for line in trainer.loader.warnings():
            self.say(line)
        if trainer.step % settings.log_every_steps == 0 or trainer.fraction >= 1:
            record = trainer.record()
            trainer.window = Window(trainer.device)
            if warning := self.spikes.warning(record):
                self.say(warning)
        if held_out and (trainer.step % settings.validate_every_steps == 0 or trainer.fraction >= 1):
            at = {"step": trainer.step, "images": trainer.images}
            with self._watching():
                record = {**(record or at), **held_out.record(trainer.ema.network)}
        if record and self.processes.lead:
            self.log.append(record)
            self._time()
        if trainer.step % settings.sample_every_steps == 0:
            with self._watching():
                self._draw()
        minutes = (trainer.clock - self.saved_seconds) / 60
        every = (settings.checkpoint_every_steps, settings.milestone_every_steps)
        if any(n and trainer.step % n == 0 for n in every) or minutes >= settings.checkpoint_every_minutes:
            self.save()
        return record

    def save(self) -> None:
        """A checkpoint, unless this step has one, and the pipeline folder.

        Where every process holds all weights the first one saves. Where each holds some rows, each saves them, and the
        first one gathers the averages for the pipeline, tensor by tensor. What is not finite is never saved: it would
        take the place of the last good state.
        """
        if self.saved_step == self.trainer.step:
            return
        settings, state, tensors = self.trainer.settings, self.trainer.state(), self.trainer.tensors()
        if not self._all_sound(tensors):
            self.say(f"step {self.trainer.step:,} is not saved: not all of its weights and moments are finite")
            return
        if self.trainer.step % settings.checkpoint_every_steps == 0 and state["skipped_in_a_row"] == 0:
            self.good_step = self.trainer.step
        log_bytes = self.log.flush() if self.processes.lead else 0
        state |= {"good_step": self.good_step, "data": self.data_hash, "log_bytes": log_bytes}
        in_doubt = settings.on_divergence == "rollback" or state["skipped_in_a_row"] > 0
        spared = self._spared if in_doubt else self._milestone
        keep = settings.keep_checkpoints
        by_rows = self.trainer.held.rows is not None
        if by_rows or self.processes.lead:
            holders = self.processes if by_rows else ALONE
            self.check()
            save_checkpoint(self.run.checkpoints, self.trainer.step, tensors, state, keep, spared, holders)
        averaged = self.trainer.averaged()
        if averaged is not None:
            self.check()
            averaged.save(self.run.pipeline)
        self.saved_step, self.saved_seconds = self.trainer.step, self.trainer.clock

    def finish(self) -> None:
        """The last checkpoint.

        Raises:
            Diverged: there is nothing to save.
        """
        self.save()
        if self.saved_step != self.trainer.step:
            raise Diverged(
                f"training diverged: after its last step {self.trainer.step:,} not all weights and moments are finite; "
                "the last checkpoint is kept: train into another folder with a lower --training.lr"
            )

    def roll_back(self, fault: Diverged) -> None:
        """Goes back to the checkpoint of `good_step`, or the valid one before it, to go on with half the learning rate.

        A run is a function of its settings, so going back alone would diverge once more at the same step: something
        has to change, and it is the learning rate, halved once for each rollback from there on. The number of them is
        part of every later checkpoint. Where training goes back to depends on steps alone, never on when it was
        stopped or how the clock stood; a run killed after a rollback and before its next checkpoint diverges and goes
        back again. So an interrupted run equals one that was not, here too.

        Checkpoints after that step are removed, and the log is cut back to it. A checkpoint saved while steps were
        being skipped is never gone back to: its weights are those that diverge. Time spent stays spent.

        Raises:
            Diverged: `fault`, where this is not wanted, was done as often as allowed, or no checkpoint is left.
        """
        trainer, settings, folder = self.trainer, self.trainer.settings, None
        if settings.on_divergence == "rollback" and trainer.rollbacks < (settings.rollbacks or ROLLBACKS):
            folder = self._newest(up_to=self.good_step)
        if folder is None:
            raise fault
        at, count = trainer.step, trainer.rollbacks + 1
        tensors, state = self._load(folder)
        self._restore(tensors, {**state, "seconds": trainer.seconds, "rollbacks": count})
        if self.processes.lead:
            discard_after(self.run.checkpoints, trainer.step)
        self.say(
            f"{str(fault).partition(';')[0]}: going back from step {at:,} to {trainer.step:,}, the learning rate times "
            f"{0.5**count:g} from there on (rollback {count} of {settings.rollbacks or ROLLBACKS})"
        )

    def _newest(self, up_to: int | None = None) -> Path | None:
        """The checkpoint that the first process finds."""
        folder = None
        if self.processes.lead:
            fault = partial(unsound, self.trainer.settings.batch_size, self.trainer.expected)
            folder = newest_checkpoint(self.run.checkpoints, self.say, up_to, fault)
        name = self.processes.told("" if folder is None else folder.name)
        return self.run.checkpoints / name if name else None

    def _load(self, folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """What this process holds of a checkpoint.

        Raises:
            InputError: it is not to be seen from here.
        """
        if not folder.is_dir():
            raise InputError(f"expected every process to see {folder}, got none here; train on a disk that all share")
        rows = None if self.trainer.held.rows is None else partial(rows_of, self.processes)
        return load_checkpoint(folder, rows)

    def _restore(self, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> None:
        """The trainer and the log as a checkpoint has them."""
        self.trainer.restore(tensors, state)
        if self.processes.lead:
            self.log.cut(state["log_bytes"], self.trainer.step)
        self.saved_step, self.good_step = self.trainer.step, state.get("good_step")

    def _mend_pipeline(self) -> None:
        """Writes the pipeline folder where it is not what was saved last, or where it is to be sampled otherwise."""
        averaged = self.trainer.averaged()
        if averaged is None:
            return
        try:
            weights, sampling = stored(self.run.pipeline)
        except InputError:
            weights, sampling = "", averaged.config.sampling
        self.check()
        if weights != averaged.weights_hash():
            averaged.save(self.run.pipeline)
            self.say(f"{self.run.pipeline} was not that of the checkpoint: written anew")
        elif sampling != averaged.config.sampling:
            averaged.save_settings(self.run.pipeline)

    def _all_sound(self, tensors: dict[str, dict[str, Tensor]]) -> bool:
        """Whether what all processes hold can be saved, together."""
        unsound = torch.tensor(float(not is_sound(tensors)), device=self.processes.device)
        return float(self.processes.sum(unsound)) == 0

    def _milestone(self, step: int) -> bool:
        """Whether the checkpoint of a step stays for good."""
        every = self.trainer.settings.milestone_every_steps
        return every is not None and step % every == 0

    def _spared(self, step: int) -> bool:
        """Whether it stays beside the newest: a milestone, or what training may have to go back to."""
        return self._milestone(step) or step == self.good_step

    def _time(self) -> None:
        images, seconds = self.trainer.images, self.trainer.seconds
        rate = (images - self.timed_images) / max(seconds - self.timed_seconds, 1e-9)
        line = {"step": self.trainer.step, "minutes": seconds / 60, "images_per_second": rate}
        self.timing.append({**line, "watching_seconds": self.watching_seconds})
        self.timed_images, self.timed_seconds, self.watching_seconds = images, seconds, 0.0

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Counts the seconds of what is no training, once a GPU has finished the steps it was given."""
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize(self.trainer.device)
        start = time.monotonic()
        yield
        self.watching_seconds += time.monotonic() - start

    def _draw(self) -> None:
        """A grid; each process draws it, since each may have to call the network for any to.

        One that is not finite is left out, and said: of the weights that are trained, their loss has the last word.
        """
        pipeline = self.trainer.watched()
        seeds = [mix(0, "grid", i) for i in range(GRID_IMAGES)]
        labels = torch.arange(GRID_IMAGES) % pipeline.num_classes if pipeline.num_classes else None
        try:
            pixels = pipeline.draw(seeds, labels)
        except NonFinite as fault:
            self.say(f"no grid after step {self.trainer.step:,}, {fault}")
            return
        if self.processes.lead:
            self.check()
            save_png(grid(pixels, columns=10), self.run.samples / f"step-{self.trainer.step:08d}.png")
