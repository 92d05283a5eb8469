"""Batches without a state: which images and which way round are functions of (seed, step), so nothing is saved.

The images are read as one endless row, epoch after epoch, each epoch its own permutation; a batch is a stretch of that
row and may reach across epochs. So each epoch visits every image exactly once, whatever the batch size.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from ancestral.data.imageset import ImageSet
from ancestral.rng import generator
from ancestral.tensors import Images, Labels, Pixels, from_pixels

RESIDENT_SHARE = 0.25
"""Share of a device's free memory that the whole set may take up there."""


class Batch(NamedTuple):
    """(B, C, H, W) images in [-1, 1], (B,) labels or None, and (B,) positions in the image set."""

    images: Images
    labels: Labels | None
    indices: Int64[Tensor, "B"]


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, num_images: int) -> Int64[Tensor, "N"]:
    """The order of an epoch; kept for the batches to come, not to be written to."""
    return torch.randperm(num_images, generator=generator(seed, "epoch", epoch))


def batch_indices(seed: int, step: int, batch_size: int, num_images: int) -> Int64[Tensor, "B"]:
    """Positions (B,) of the images of batch `step`, counted from 0; B may exceed `num_images`."""
    assert num_images > 0, "an empty set has no batches"
    start, stop = step * batch_size, (step + 1) * batch_size
    pieces = []
    for epoch in range(start // num_images, (stop - 1) // num_images + 1):
        first = epoch * num_images
        pieces.append(permutation(seed, epoch, num_images)[max(start - first, 0) : stop - first])
    return torch.cat(pieces)


class Loader:
    """Batches of an image set on a device; `batch(step)` is the same whenever and however often it is asked for.

    Where the set takes at most a quarter of a GPU's free memory it is moved there once, else each batch is. Nothing
    here waits for a GPU.

    Args:
        flip: mirror half of the images left to right, chosen anew at each step.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        seed: int,
        flip: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.image_set, self.batch_size, self.seed, self.flip = image_set, batch_size, seed, flip
        self.device = torch.device(device)
        self.resident = torch.tensor(image_set.images).to(self.device) if self._fits() else None
        self.labels = None if image_set.labels is None else torch.tensor(image_set.labels).to(self.device)

    def batch(self, step: int) -> Batch:
        """Batch `step`, counted from 0; images channels-last in memory."""
        indices = batch_indices(self.seed, step, self.batch_size, len(self.image_set))
        there = sent(indices, self.device)
        pixels = self._pixels(indices, there)
        if self.flip:
            mirrored = sent(flips(self.seed, step, self.batch_size), self.device)
            pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
        labels = None if self.labels is None else self.labels[there]
        images = from_pixels(pixels).contiguous(memory_format=torch.channels_last)
        return Batch(images, labels, indices)

    def _pixels(self, indices: Int64[Tensor, "B"], there: Int64[Tensor, "B"]) -> Pixels:
        """(B, C, H, W) on the device, stored (B, H, W, C), which is channels-last. `there`: `indices` on the device."""
        if self.resident is None:
            pixels = sent(torch.from_numpy(self.image_set.images[indices.numpy()]), self.device)
        else:
            pixels = self.resident[there]
        return pixels.permute(0, 3, 1, 2)

    def _fits(self) -> bool:
        """On the CPU the mapped file is already where it should be."""
        if self.device.type != "cuda":
            return False
        return self.image_set.images.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(self.device)[0]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on `device`. Out of pinned memory a GPU fetches it by itself, and nobody waits."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def flips(seed: int, step: int, batch_size: int) -> Tensor:
    """(B,) bool: which images of batch `step` are mirrored."""
    return torch.rand(batch_size, generator=generator(seed, "flip", step)) < 0.5
