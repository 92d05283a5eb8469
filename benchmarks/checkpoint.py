"""Saving and loading all that a resume needs: weights, their average, the optimiser's moments.

Ours flushes every file to disk and hashes it, when saving and again when loading; the peer is safetensors alone, as
most training scripts use it, which does neither. So the ratio is the price of a checkpoint that is whole or absent.
"""

import tempfile
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from ancestral.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from ancestral.training.step import Trainer
from benchmarks import ours
from benchmarks.pairs import Case, Cases, Contestant, timed
from benchmarks.workloads import paper, small

PLAIN = "safetensors alone, unflushed, unhashed"


def checkpoints(quick: bool) -> Cases:
    """Seconds to save and to load."""
    for work in (paper(quick), small(quick)):
        trainer = ours.trainer(work, work.pipeline())
        trainer.advance()
        with tempfile.TemporaryDirectory() as folder:
            yield from _cases(work.name, Path(folder), trainer)


def _cases(name: str, folder: Path, trainer: Trainer) -> Cases:
    tensors, state = trainer.tensors(), trainer.state()
    files = {key: folder / f"{key}.safetensors" for key in tensors}

    def save() -> None:
        save_checkpoint(folder / "checkpoints", 1, tensors, state, keep=1)

    def save_plainly() -> None:
        for key, group in tensors.items():
            save_file({k: v.contiguous() for k, v in group.items()}, files[key])

    def load() -> None:
        newest = newest_checkpoint(folder / "checkpoints", print)
        assert newest is not None
        load_checkpoint(newest)

    def load_plainly() -> list[dict[str, Tensor]]:
        return [load_file(file) for file in files.values()]

    yield Case(f"saving, {name}", [Contestant(ours.NAME, timed(save)), Contestant(PLAIN, timed(save_plainly))])
    yield Case(f"loading, {name}", [Contestant(ours.NAME, timed(load)), Contestant(PLAIN, timed(load_plainly))])
