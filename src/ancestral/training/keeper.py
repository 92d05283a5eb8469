"""What happens between the steps: logging, the held-out loss, grids of samples, checkpoints, and resuming.

Watching, that is held-out losses and grids, is done at once and training waits for it: a network that is called as it
is keeps the host as busy as the GPU, so that beside a training step it would gain little. What it costs is kept, in
seconds, in every line of `timing.jsonl`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ancestral.errors import InputError
from ancestral.rng import mix
from ancestral.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from ancestral.training.held_out import HeldOut
from ancestral.training.logs import JsonLines
from ancestral.training.run import RunFolder
from ancestral.training.window import Window
from ancestral.viz.pictures import grid, save_png

if TYPE_CHECKING:
    from ancestral.training.trainer import Trainer

GRID_IMAGES = 40


class Keeper:
    """When to log, look, draw and save."""

    def __init__(self, trainer: "Trainer", run: RunFolder, data_hash: str) -> None:
        self.trainer, self.run, self.data_hash = trainer, run, data_hash
        self.log, self.timing = JsonLines(run.log), JsonLines(run.timing)
        self.saved_step, self.saved_seconds = -1, 0.0
        self.timed_images, self.timed_seconds, self.watching_seconds = 0, 0.0, 0.0

    def resume(self, say: Callable[[str], None]) -> None:
        """Puts the trainer where the newest valid checkpoint left it, if there is one."""
        folder = newest_checkpoint(self.run.checkpoints, say)
        if folder is None:
            self.log.cut(0)
        else:
            tensors, state = load_checkpoint(folder)
            if state["data"] != self.data_hash:
                raise InputError(
                    f"the images have changed since {folder}; restore them, or train into another folder with --out"
                )
            self.trainer.restore(tensors, state)
            self.log.cut(state["log_bytes"])
            self.saved_step = self.trainer.step
            say(f"resuming at step {self.trainer.step:,} ({self.trainer.images:,} images)")
        self.saved_seconds = self.timed_seconds = self.trainer.seconds
        self.timed_images = self.trainer.images

    def after_step(self, held_out: HeldOut | None) -> dict[str, Any] | None:
        """Logs, draws and saves what is due; the record logged, if any."""
        trainer, settings, record = self.trainer, self.trainer.settings, None
        if trainer.step % settings.log_every_steps == 0 or trainer.fraction >= 1:
            record = trainer.record()
            trainer.window = Window(trainer.device)
        if held_out and (trainer.step % settings.validate_every_steps == 0 or trainer.fraction >= 1):
            at = {"step": trainer.step, "images": trainer.images}
            with self._watching():
                record = {**(record or at), **held_out.record(trainer.ema.network)}
        if record:
            self.log.append(record)
            self._time()
        if trainer.step % settings.sample_every_steps == 0:
            with self._watching():
                self._draw()
        minutes = (trainer.seconds - self.saved_seconds) / 60
        if trainer.step % settings.checkpoint_every_steps == 0 or minutes >= settings.checkpoint_every_minutes:
            self.save()
        return record

    def save(self) -> None:
        """A checkpoint, unless this step has one, and the pipeline folder."""
        if self.saved_step == self.trainer.step:
            return
        state = {**self.trainer.state(), "data": self.data_hash, "log_bytes": self.log.flush()}
        keep = self.trainer.settings.keep_checkpoints
        save_checkpoint(self.run.checkpoints, self.trainer.step, self.trainer.tensors(), state, keep)
        self.trainer.pipeline.with_network(self.trainer.ema.network).save(self.run.pipeline)
        self.saved_step, self.saved_seconds = self.trainer.step, self.trainer.seconds

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
        pipeline = self.trainer.pipeline.with_network(self.trainer.ema.network)
        seeds = [mix(0, "grid", i) for i in range(GRID_IMAGES)]
        labels = torch.arange(GRID_IMAGES) % pipeline.num_classes if pipeline.num_classes else None
        pixels = pipeline.draw(seeds, labels)
        save_png(grid(pixels, columns=10), self.run.samples / f"step-{self.trainer.step:08d}.png")
