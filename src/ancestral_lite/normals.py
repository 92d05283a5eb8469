"""The standard normal numbers that torch draws on a CPU, by NumPy, and the noise of images as `ancestral.rng` makes it.

torch's generator is the Mersenne Twister of 32 bits, seeded by the last 32 bits of the seed. From 16 numbers on, each
has one draw of 24 bits, u in [0, 1), and in every block of 16 the first eight and the last make pairs (Box and Muller)

    r = sqrt(-2 log(1 - u_i)),  theta = 2 pi u_(i + 8):    z_i = r cos theta,  z_(i + 8) = r sin theta            (1)

where the count is no multiple of 16, the last 16 numbers are drawn anew. Fewer than 16 are made in pairs from draws of
53 bits, whose first gives theta, and half a pair that is left over begins the next call. Agreement is to the last bits
of float32, in which logarithms and cosines of two libraries differ: at most 5e-7.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import prod

import numpy as np
from numpy.typing import NDArray

BLOCK = 16
Floats = NDArray[np.floating]


def mix(seed: int, *position: int | str) -> int:
    """A 63-bit seed from `seed` and a position: that of `ancestral.rng.mix`."""
    text = "/".join(map(str, (seed, *position)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Generator:
    """torch's generator of a CPU after `manual_seed(seed)`; each call continues its stream."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.RandomState(seed % 2**32)
        self._left: list[float] = []  # half of a pair, or none

    def normals(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """`torch.randn(shape, generator=...)`, float32."""
        count = prod(shape)
        numbers = self._few(count) if count < BLOCK else self._many(count)
        return numbers.astype(np.float32).reshape(shape)

    def _draws(self, count: int) -> NDArray[np.uint64]:
        return self._bits.randint(0, 2**32, count, dtype=np.uint32).astype(np.uint64)

    def _many(self, count: int) -> Floats:
        numbers = _paired(self._draws(count)[: count - count % BLOCK])
        return np.concatenate([numbers[: count - BLOCK], _paired(self._draws(BLOCK))]) if count % BLOCK else numbers

    def _few(self, count: int) -> Floats:
        while len(self._left) < count:
            high, low = self._draws(4).reshape(2, 2).T
            first, second = ((high << np.uint64(32) | low) % 2**53) * 2.0**-53
            radius, theta = np.sqrt(-2 * np.log1p(-second)), 2 * np.pi * first
            self._left += [radius * np.cos(theta), radius * np.sin(theta)]
        numbers, self._left = self._left[:count], self._left[count:]
        return np.array(numbers)


def _paired(draws: NDArray[np.uint64]) -> Floats:
    """(1) of whole blocks, in float32 as torch's, of whose angles the rounding is seen in the result."""
    u = (draws % 2**24 * 2.0**-24).astype(np.float32).reshape(-1, 2, BLOCK // 2)
    radius, theta = np.sqrt(-2 * np.log(1 - u[:, 0])), np.float32(2 * np.pi) * u[:, 1]
    return np.stack([radius * np.cos(theta), radius * np.sin(theta)], 1).ravel()


def torch_normals(seed: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """The first `torch.randn(shape)` after `manual_seed(seed)`."""
    return Generator(seed).normals(shape)


class SeededNoise:
    """The noise of `ancestral.rng.ImageNoise`: one generator an image, so a seed gives the same image in any batch.

    The first call returns x_T, (B, *shape) float32, the later ones the noise of the steps.
    """

    def __init__(self, seeds: Sequence[int], shape: Sequence[int], stream: str = "sample") -> None:
        self._shape = shape
        self._generators = [Generator(mix(seed, stream)) for seed in seeds]

    def __call__(self) -> NDArray[np.float32]:
        """The next draw of every image."""
        return np.stack([each.normals(self._shape) for each in self._generators])
