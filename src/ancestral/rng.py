"""Stateless randomness: every draw is a function of (seed, stream, position), so nothing has to be saved to resume.

A position is a training step, an epoch or an image. Two runs that ask for the same position get the same numbers,
whatever they did before, in whatever batch, on however many processes.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from jaxtyping import Float
from torch import Tensor


def mix(seed: int, *position: int | str) -> int:
    """A 63-bit seed from `seed` and a position, by BLAKE2b of their text: neighbours are unrelated."""
    text = "/".join(map(str, (seed, *position)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *position: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for `position`. Draws made on the CPU are the same for every device; those of a GPU are its own."""
    return torch.Generator(device).manual_seed(mix(seed, *position))


class ImageNoise:
    """Normal noise with one generator per image: image 17 alone equals image 17 in a batch.

    The first call returns x_T, the later ones the noise of the steps.

    Args:
        seeds: one per image, any int64.
        shape: shape of one image, (C, H, W).
        stream: a name; other streams of the same seeds are independent.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: Sequence[int],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        stream: str = "sample",
    ) -> None:
        self.shape, self.device, self.dtype = tuple(shape), device, dtype
        self.generators = [generator(seed, stream) for seed in seeds]

    def __call__(self) -> Float[Tensor, "B ..."]:
        """The next standard normal draw of every image, (B, *shape)."""
        draws = [torch.randn(self.shape, generator=g, dtype=self.dtype) for g in self.generators]
        return torch.stack(draws).to(self.device)
