"""Canvases larger than the images of training, by overlapping windows (Bar-Tal et al. 2023, MultiDiffusion).

The network sees windows of the size it knows; where they overlap, their predictions are averaged,

    x0(pixel) = sum_i w_i x0_i(pixel) / sum_i w_i,   eps likewise, over the windows i that hold the pixel   (1)

which is the least-squares compromise between them. The average is of predictions, never of samples: x_t = alpha x0 +
sigma eps holds in every window and so for the average, and the noise stays white. Averaging x_s would thin its noise
out.

What (1) cannot know is what lies further apart than a window: each stretch of a panorama is good, the whole has no
composition, and a face wider than a window gets two noses.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import EllipsisType

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.errors import InputError
from ancestral.sampling.denoiser import Denoiser
from ancestral.tensors import Images, Timesteps
from ancestral.windows import starts

WindowIndex = tuple[EllipsisType, Int64[Tensor, "h 1"], Int64[Tensor, "w"]]  # an index of images


@dataclass(frozen=True)
class Windows:
    """A denoiser of a canvas by one of windows (1). As many calls as windows, each of the whole batch."""

    denoise: Denoiser
    height: int  # of a window; not more than the canvas
    width: int
    stride: int  # pixels from one window to the next, at most a window; the last one is moved back to the edge
    feathered: bool = True  # weights fall linearly towards a window's edges, so that no edge shows. False: all alike
    wraps: bool = False  # the canvas is a torus, and windows go around its edges: it tiles

    def __post_init__(self) -> None:
        most = min(self.height, self.width)
        if not 1 <= self.stride <= most:
            raise InputError(f"expected a stride in 1..{most}, got {self.stride}; a larger one leaves gaps")

    def __call__(self, x_t: Images, t: Timesteps) -> Prediction:
        weight, weights = self._weight(x_t), x_t.new_zeros(x_t.shape[-2:])
        sums: list[Images] = []
        for index in self._places(x_t):
            seen = self.denoise(x_t[index], t)
            parts = [part for part in (seen.x0, seen.eps, seen.variance_coeff) if part is not None]
            sums = sums or [torch.zeros_like(x_t) for _ in parts]
            for total, part in zip(sums, parts, strict=True):
                total[index] += weight * part
            weights[index] += weight
        return Prediction(t, *(total / weights for total in sums))

    def _places(self, canvas: Images) -> Iterator[WindowIndex]:
        height, width = canvas.shape[-2:]
        if height < self.height or width < self.width:
            raise InputError(
                f"expected a canvas of at least {self.height} x {self.width} pixels, got {height} x {width}"
            )
        for top in starts(height, self.height, self.stride, self.wraps):
            for left in starts(width, self.width, self.stride, self.wraps):
                rows = torch.arange(top, top + self.height, device=canvas.device) % height
                yield ..., rows[:, None], torch.arange(left, left + self.width, device=canvas.device) % width

    def _weight(self, like: Images) -> Float[Tensor, "h w"]:
        if not self.feathered:
            return like.new_ones(self.height, self.width)
        return torch.outer(_tent(self.height, like), _tent(self.width, like))


def _tent(length: int, like: Images) -> Float[Tensor, "n"]:
    """1, 2, ..., 2, 1 over its peak: above 0 everywhere."""
    ramp = torch.arange(1, length + 1, dtype=like.dtype, device=like.device)
    return torch.minimum(ramp, ramp.flip(0)) / ramp.max()
