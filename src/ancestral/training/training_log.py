"""What a run writes down as it goes: the lines of its two logs, and what watching it takes.

Watching, that is validation losses and grids, is done at once and training waits for it: it keeps the host as busy as
the GPU, so that beside a training step it would gain little. What it costs is kept in every line of `timing.jsonl`.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from ancestral.compute import time_on
from ancestral.errors import NonFinite
from ancestral.training.logs import JsonLines
from ancestral.training.means import ValidationLoss
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer
from ancestral.viz.pictures import grid, save_png

SPIKE = 5.0  # times the median of the recent losses, above which a loss is a spike
SPIKE_NATS = 4.0  # above a median that is negative, as the nats of a density may be
RECENT, FEWEST = 20, 5  # lines of the log that the median is taken of, at most and at least
EARLY_GRIDS = 4  # before the first regular one: after a half, a quarter, an eighth and a sixteenth of its steps


class Spikes:
    """A loss that leaps is said when it is logged: the first sign that training is about to diverge. It looks at the
    lines of the log alone, from this start of the run on: a step costs nothing and waits for nothing."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=RECENT)
        self.inside = False

    def warning(self, record: dict[str, Any]) -> str | None:
        """One line where the loss of this record leaps; None where it does not, or is still as high as when it did."""
        loss = record.get("loss")
        if loss is None:
            return None
        usual = median(self.losses) if len(self.losses) >= FEWEST else loss
        was_inside, self.inside = self.inside, loss > (SPIKE * usual if usual > 0 else usual + SPIKE_NATS)
        self.losses.append(loss)
        if not self.inside or was_inside:
            return None
        return (
            f"the loss leapt to {loss:.4g} at step {record['step']:,}, from {usual:.4g} before: learning rate "
            f"{record['lr']:.3g}, gradient norm {record['grad_norm']:.3g}; if it stays, lower --training.lr"
        )


def grid_is_due(step: int, every: int, is_last: bool = False) -> bool:
    """Whether a grid is kept after this step: a function of steps and of the budget's end, so that a run that was
    stopped keeps the same ones. The first ones come early, as a short run is to show something and images change most
    then; the last step of a budget has one unless not even the first was reached."""
    early = [every >> halvings for halvings in range(1, EARLY_GRIDS + 1)]
    return step % every == 0 or step in early or (is_last and step > early[-1] > 0)


class TrainingLog:
    """Logs and grids of a run, which the main process writes; `check` as for `JsonLines`."""

    def __init__(self, trainer: Trainer, run: RunFolder, check: Callable[[], None], say: Callable[[str], None]) -> None:
        self.trainer, self.run, self.check, self.say = trainer, run, check, say
        self.is_main = trainer.engine.processes.is_main
        self.spikes = Spikes()
        self.log, self.timing = JsonLines(run.log, check), JsonLines(run.timing, check)
        self.timed_images, self.timed_seconds, self.watching_seconds = 0, 0.0, 0.0

    def start(self) -> None:
        """Training starts here, or goes on."""
        if self.is_main:
            self.timing.cut()
        self.timed_images, self.timed_seconds = self.trainer.images, self.trainer.seconds

    def cut(self, length: int, step: int) -> None:
        """The log as a checkpoint has it: its first bytes, and of these no line of a later step."""
        if self.is_main:
            self.log.cut(length, step)

    def flush(self) -> int:
        """Forces the log to disk; its length in bytes."""
        return self.log.flush() if self.is_main else 0

    def after_step(self, validation: ValidationLoss | None) -> dict[str, Any] | None:
        """Logs what is due, and saves a grid; the record logged, if any."""
        trainer, settings, record = self.trainer, self.trainer.settings, None
        for line in trainer.loader.warnings():
            self.say(line)
        if trainer.step % settings.log_every_steps == 0 or trainer.fraction >= 1:
            record = trainer.record()
            if warning := self.spikes.warning(record):
                self.say(warning)
        if validation and (trainer.step % settings.validate_every_steps == 0 or trainer.fraction >= 1):
            at = {"step": trainer.step, "images": trainer.images}
            with self._watching():
                record = {**(record or at), **validation.record(trainer.ema.network)}
        if record and self.is_main:
            self.log.append(record)
            images, seconds = trainer.images, trainer.seconds
            rate = (images - self.timed_images) / max(seconds - self.timed_seconds, 1e-9)
            timing = {"step": trainer.step, "minutes": seconds / 60, "images_per_second": rate}
            self.timing.append({**timing, "watching_seconds": self.watching_seconds})
            self.timed_images, self.timed_seconds, self.watching_seconds = images, seconds, 0.0
        if grid_is_due(trainer.step, settings.sample_every_steps, is_last=trainer.fraction >= 1):
            with self._watching():
                self._save_grid()
        return record

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Counts the seconds of what is no training, once a GPU has finished the steps it was given."""
        start = time_on(self.trainer.device)
        yield
        self.watching_seconds += time_on(self.trainer.device) - start

    def _save_grid(self) -> None:
        """One that is not finite is left out, and said: of the weights that are trained, their loss has the last
        word."""
        try:
            pixels = self.trainer.task.grid(self.trainer.ema.network, self.trainer.loader.image_set)
        except NonFinite as fault:
            self.say(f"no grid after step {self.trainer.step:,}, {fault}")
            return
        if pixels is not None and self.is_main:
            self.check()
            save_png(grid(pixels, columns=10), self.run.samples / f"step-{self.trainer.step:08d}.png")
