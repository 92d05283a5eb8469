"""Batches without a state: which images and which way round are functions of (seed, step), so nothing is saved.

The images are read as one endless row, epoch after epoch, each epoch its own permutation (order.py); a batch is a
stretch of that row and may reach across epochs. So each epoch visits every image exactly once, whatever the batch size.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ancestral.condition import Condition
from ancestral.data.caption_tokens import CaptionTokens
from ancestral.data.imageset import ImageSet, Missing
from ancestral.data.latents import LatentMoments, LatentRows
from ancestral.data.order import Shuffled, batch_positions
from ancestral.rng import generator
from ancestral.settings import ImageSpec
from ancestral.tensors import Pixels, sent
from ancestral.text_reader import TextReader

RESIDENT_SHARE = 0.25
"""Share of a device's free memory that the whole set may take up there."""


class Batch(NamedTuple):
    """(b, C, H, W) images of this process's share, what is known of each; (B,) positions of all of it. `moments`: of
    their latents, in whose place there are no pixels, (b, C, 0, 0); None: latents were not computed beforehand."""

    pixels: Pixels
    condition: Condition
    indices: Int64[Tensor, "B"]
    moments: LatentMoments | None = None

    def rows(self, part: slice) -> "Batch":
        moments = None if self.moments is None else self.moments.rows(part)
        return Batch(self.pixels[part], self.condition.rows(part), self.indices, moments)


def batch_indices(seed: int, step: int, batch_size: int, num_images: int) -> Int64[Tensor, "B"]:
    """Positions (B,) of the images of batch `step` of a set in memory, counted from 0; B may exceed `num_images`."""
    return batch_positions(Shuffled(num_images), seed, step, batch_size)


class Loader:
    """Batches of an image set on a device; `batch(step)` is the same whenever and however often it is asked for.

    Where the set takes at most a quarter of a GPU's free memory it is moved there once, else each batch is. Nothing
    here waits for a GPU.

    Args:
        flip: mirror half of the images left to right, chosen anew at each step.
        local_slice: which of a batch's images are fetched.
        resident: move the set there once, or each batch; None: as above.
        spec: of the images of the network that is trained; None: those of the set.
        tokenizer: of their captions; None: they are not told.
        latents: of the images, which are then not read; None: batches have pixels.
    """

    def __init__(
        self,
        image_set: ImageSet,
        batch_size: int,
        seed: int,
        flip: bool = False,
        device: torch.device | str = "cpu",
        local_slice: slice = slice(None),
        resident: bool | None = None,
        spec: ImageSpec | None = None,
        tokenizer: TextReader | None = None,
        latents: LatentRows | None = None,
    ) -> None:
        assert latents is None or len(latents) == len(image_set), "latents of each image"
        self.latents = latents
        self.image_set, self.batch_size, self.seed, self.flip = image_set, batch_size, seed, flip
        self.local_slice, self.order = local_slice, image_set.order
        self.device = torch.device(device)
        if resident is None:  # on the CPU the mapped file is where it should be; what is fetched may be too much
            resident = self.device.type == "cuda" and isinstance(image_set.images, np.ndarray) and latents is None
            resident = resident and image_set.images.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(self.device)[0]
        self.resident = torch.tensor(image_set.images).to(self.device) if resident else None
        self.condition = image_set.condition(spec or image_set.spec).to(self.device)
        self.tokenizer, self.tokens_of = tokenizer, None if tokenizer is None else CaptionTokens(tokenizer)
        beside = self.tokens_of and image_set.captions and not isinstance(image_set.captions, tuple)
        images: tuple[str, ...] = ("images",) if latents is None else ()
        self.columns = (*images, "captions") if beside else images  # of what is fetched
        self._told = 0

    def batch(self, step: int) -> Batch:
        """Batch `step`, counted from 0, channels-last; where others stand in for missing images, with their indices."""
        indices = batch_positions(self.order, self.seed, step, self.batch_size)
        own_indices = indices[self.local_slice]
        fetched = self._fetched(step, own_indices)
        there = sent(own_indices, self.device)
        mirrored = flips(self.seed, step, self.batch_size)[self.local_slice] if self.flip else None
        moments = None if self.latents is None else self.latents.moments(own_indices, mirrored, self.device)
        pixels = self._pixels(own_indices, there, mirrored, fetched) if moments is None else self._none(len(there))
        condition = self.condition.rows(there)
        if self.tokenizer is not None and self.tokens_of is not None:
            said = fetched["captions"] if "captions" in fetched else self.image_set.captions_at(own_indices.numpy())
            tokens = self.tokens_of(said)
            states = self.tokenizer.states(tokens, self.device)
            condition = condition._replace(
                tokens=sent(tokens, self.device), states=None if states is None else sent(states, self.device)
            )
        return Batch(pixels, condition, indices, moments)

    def _fetched(self, step: int, where: Int64[Tensor, "b"]) -> dict[str, Any]:
        """The columns of images that are fetched; where others stand in for missing ones, `where` becomes theirs."""
        stored = self.image_set.images
        if isinstance(stored, np.ndarray):
            return {}
        stored.read_ahead(self.seed, (step + 1) * self.batch_size, self.columns)
        columns, taken = stored.columns(where.numpy(), self.columns)
        while self.latents is not None and (missing := self.latents.missing(taken)).any():
            stored.lose(taken[missing], "as when latents were encoded")
            columns, taken = stored.columns(where.numpy(), self.columns)
        where[:] = torch.from_numpy(taken)
        return columns

    def _pixels(
        self,
        where: Int64[Tensor, "b"],
        there: Int64[Tensor, "b"],
        mirrored: Bool[Tensor, "b"] | None,
        fetched: dict[str, Any],
    ) -> Pixels:
        """The images at these positions, `there` on the device, channels-last."""
        if self.resident is None:
            read = fetched["images"] if fetched else self.image_set.pixels(where.numpy())
            pixels = sent(torch.from_numpy(read), self.device)
        else:
            pixels = self.resident[there]
        pixels = pixels.permute(0, 3, 1, 2)  # stored (b, H, W, C), which is channels-last
        if mirrored is not None:
            flipped = sent(mirrored, self.device)
            pixels = torch.where(flipped[:, None, None, None], pixels.flip(3), pixels)
        return pixels.contiguous(memory_format=torch.channels_last)

    def _none(self, count: int) -> Pixels:
        return torch.zeros(count, self.image_set.shape[0], 0, 0, dtype=torch.uint8, device=self.device)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """The shards that this process has found bad, whose images others stand in for."""
        images = self.image_set.images
        return () if isinstance(images, np.ndarray) else images.missing

    def warnings(self) -> list[str]:
        """A line for each shard that has gone bad since this was last asked."""
        new, self._told = self.missing[self._told :], len(self.missing)
        words = "warning: {} is missing ({}): others stand in for its {:,} images"
        return [words.format(*missing) for missing in new]


def flips(seed: int, step: int, batch_size: int) -> Tensor:
    """(B,) bool: which images of batch `step` are mirrored."""
    return torch.rand(batch_size, generator=generator(seed, "flip", step)) < 0.5
