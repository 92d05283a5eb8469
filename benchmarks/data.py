"""What the data costs beside the step that eats it: a batch from the decoded cache, against a whole training step.

A folder of PNG files is loaded as a user's would be. For comparison, the same batch decoded anew from its files, as
scripts do that open an image each time it is seen.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ancestral.data.datasets import load
from ancestral.data.loader import Loader
from ancestral.settings import DataSettings
from ancestral.tensors import from_pixels
from benchmarks import ours
from benchmarks.pairs import Case, Cases, Contestant, timed
from benchmarks.workloads import Workload, small, smallest

STEP = "the training step that uses it"
FIFTIETH = 50.0
"""A batch may take 2 % of a step."""


def batches(quick: bool) -> Cases:
    """Seconds of a batch: ours, decoded anew, and of the step."""
    shortest = 0.0 if quick else 0.2
    for work in (small(quick), smallest(quick)):
        with _folder_of_pngs(work) as (files, loader):
            pipeline = work.pipeline()
            trainer = ours.trainer(work, pipeline)
            yield Case(
                f"a batch of {work.batch_size}, {work.name}",
                [
                    Contestant(ours.NAME, timed(_endless(loader), shortest)),
                    Contestant(
                        "decoded anew from its files", timed(partial(_decode, files, work.batch_size), shortest)
                    ),
                    Contestant(STEP, timed(trainer.advance, shortest), precision=ours.precision(pipeline)),
                ],
                goals={STEP: FIFTIETH},
            )


@contextmanager
def _folder_of_pngs(work: Workload) -> Iterator[tuple[list[Path], Loader]]:
    """The workload's images as files, and the loader of that folder; the cache is a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, ANCESTRAL_CACHE=f"{folder}/cache"):
        files = [Path(folder) / "images" / f"{i:05d}.png" for i in range(len(work.images()))]
        files[0].parent.mkdir()
        for file, pixels in zip(files, work.images().pixels(), strict=True):
            Image.fromarray(pixels.squeeze()).save(file)
        settings = DataSettings(source=str(files[0].parent), size=work.spec.height, validation=0, test=0)
        parts = load(settings)
        yield files, Loader(parts.train, work.batch_size, seed=0)


def _endless(loader: Loader) -> Callable[[], object]:
    steps = count()
    return lambda: loader.batch(next(steps))


def _decode(files: list[Path], batch_size: int) -> Tensor:
    chosen = torch.randint(0, len(files), (batch_size,)).tolist()
    pixels = np.stack([np.atleast_3d(np.asarray(Image.open(files[i]))) for i in chosen])
    return from_pixels(torch.from_numpy(pixels)).permute(0, 3, 1, 2)
