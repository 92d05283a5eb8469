"""Tileable textures: images whose left edge continues on the right and whose top continues below.

A chain draws from a law on the torus if x_T does (white noise does) and every prediction commutes with rolling the
image around. Three ways to such a denoiser:

circular padding   Every convolution sees around the edges. One call a step. Rolls by multiples of the network's
                   coarsest pixel, 2^(levels - 1), commute exactly; sides must be multiples of it.
a roll a step      The image is rolled to a place of its own at every t, denoised, and rolled back: the seam never lies
                   twice in the same place, and what one step tears the next one mends. One call, any network;
                   commutes on average over the places, and not within one step.
mean of rolls      The mean over a group of rolls commutes with that group. As many calls as rolls, and smoother.

A network trained on images with edges may draw edges where it sees none: circular padding shows it something that it
never saw. `seam` measures the result. It tells of first neighbours: a pattern with a period may still break.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ancestral.diffusion.parameterization import Prediction
from ancestral.errors import InputError
from ancestral.rng import generator
from ancestral.sampling.denoiser import Denoiser
from ancestral.tensors import Data, Images, Timesteps

Shift = tuple[int, int]  # rows down and columns to the right


@contextmanager
def circular(*networks: nn.Module) -> Iterator[None]:
    """Within it, every convolution of the networks pads with the other side of the image. Not for compiled networks."""
    modules = [module for network in networks for module in network.modules()]
    padded = [module for module in modules if isinstance(module, nn.Conv2d) and max(module.kernel_size) > 1]
    for module in padded:
        if module.padding != tuple((side - 1) // 2 for side in module.kernel_size):
            raise InputError(f"expected convolutions that pad half their kernel, got {module}; tile by rolls instead")
    before = [module.padding_mode for module in padded]
    try:
        for module in padded:
            module.padding_mode = "circular"
        yield
    finally:
        for module, mode in zip(padded, before, strict=True):
            module.padding_mode = mode


@dataclass(frozen=True)
class Circular:
    """A denoiser whose networks pad with the other side while it is called, and at no other time. One call."""

    denoise: Denoiser
    networks: tuple[nn.Module, ...]

    def __call__(self, x_t: Images, t: Timesteps) -> Prediction:
        with circular(*self.networks):
            return self.denoise(x_t, t)


@dataclass(frozen=True)
class RolledEachStep:
    """Each t has its own roll, the same for every image and every seed. One call."""

    denoise: Denoiser

    def __call__(self, x_t: Images, t: Timesteps) -> Prediction:
        return rolled(self.denoise, x_t, t, self.shift(t, *x_t.shape[-2:]))

    @staticmethod
    def shift(t: Timesteps, height: int, width: int) -> Shift:
        """Uniform over the image, a function of t alone."""
        draw = torch.rand(2, generator=generator(0, "roll", int(t)), dtype=torch.float64)
        return int(draw[0] * height), int(draw[1] * width)


@dataclass(frozen=True)
class MeanOfRolls:
    """The mean over `shifts`. It commutes with rolls by any of them if they are a group on the torus."""

    denoise: Denoiser
    shifts: tuple[Shift, ...]

    def __call__(self, x_t: Images, t: Timesteps) -> Prediction:
        each = [rolled(self.denoise, x_t, t, shift) for shift in self.shifts]
        parts = zip(*(_parts(one) for one in each), strict=True)
        return Prediction(t, *(torch.stack(part).mean(0) for part in parts))


def grid_of_rolls(height: int, width: int, rows: int, columns: int) -> tuple[Shift, ...]:
    """`rows` x `columns` rolls, evenly spaced: a group."""
    if rows < 1 or columns < 1 or height % rows or width % columns:
        raise InputError(f"expected divisors of {height} x {width} pixels, got {rows} and {columns}")
    return tuple((i * height // rows, j * width // columns) for i in range(rows) for j in range(columns))


def rolled(denoise: Denoiser, x_t: Images, t: Timesteps, shift: Shift) -> Prediction:
    """The prediction at x_t rolled by `shift`, rolled back."""
    back = (-shift[0], -shift[1])
    return Prediction(t, *(part.roll(back, (-2, -1)) for part in _parts(denoise(x_t.roll(shift, (-2, -1)), t))))


def _parts(prediction: Prediction) -> list[Data]:
    """All of it that is shaped as the image."""
    return [part for part in (prediction.x0, prediction.eps, prediction.variance_coeff) if part is not None]


class Seam(NamedTuple):
    """Mean square differences between neighbours, across the edges and within: equal for what tiles."""

    across: Tensor
    within: Tensor

    @property
    def ratio(self) -> Tensor:
        """1 for what tiles; above it, the seam shows."""
        return self.across / self.within


def seam(images: Images) -> Seam:
    """Over a batch and both directions, each side weighing the same: two numbers."""
    if min(images.shape[-2:]) < 3:
        raise InputError(f"expected at least 3 x 3 pixels, got {tuple(images.shape[-2:])}")
    pairs = [_differences(images, axis) for axis in (-2, -1)]
    across, within = (torch.stack(part).mean() for part in zip(*pairs, strict=True))
    if within == 0:
        raise InputError("expected images with more than one value, got a flat one, which tiles")
    return Seam(across, within)


def _differences(x: Data, axis: int) -> tuple[Tensor, Tensor]:
    """(across the edge, within): mean squares along one axis."""
    square = (x.roll(-1, axis) - x) ** 2
    last = square.shape[axis] - 1
    return square.narrow(axis, last, 1).mean(), square.narrow(axis, 0, last).mean()
