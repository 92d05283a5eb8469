"""Linear measurements of an image, y = A x, each with its transpose and the inverse that restoring by them asks for.

A is never a matrix. What is needed beside A and its transpose is

    (p A A' + q I)^{-1} y,   p > 0, q >= 0                                                      (1)

and it is cheap for each: the rows of a mask, of pooling and of grey have A A' = g I; a circular blur is diagonal in
Fourier space. Where (1) has no inverse, it is the pseudo-inverse.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from ancestral.errors import InputError
from ancestral.tensors import Images

Seen = Float[Tensor, "B c h w"]  # what an operator makes of images: of another size or number of channels
GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue in the luma of ITU-R BT.601, which is what Pillow's conversion to grey does."""


class Operator(ABC):
    """A linear map of images (B, C, H, W) to measurements of another shape or the same."""

    @abstractmethod
    def __call__(self, x: Images) -> Seen:
        """A x."""

    @abstractmethod
    def transpose(self, y: Seen) -> Images:
        """A' y: <A x, y> = <x, A' y>."""

    @abstractmethod
    def solve(self, y: Seen, p: float, q: float) -> Seen:
        """(1), for y in the range of A."""


@dataclass(frozen=True)
class Masked(Operator):
    """The pixels where `keep` is True, 0 elsewhere."""

    keep: Bool[Tensor, "..."]

    def __call__(self, x: Images) -> Seen:
        return torch.where(self.keep.to(x.device), x, torch.zeros_like(x))

    def transpose(self, y: Seen) -> Images:
        return self(y)  # A is symmetric

    def solve(self, y: Seen, p: float, q: float) -> Seen:
        return y / (p + q)  # A A' is 1 on the mask


@dataclass(frozen=True)
class MeanPooled(Operator):
    """Means of squares of `factor` x `factor` pixels: what super-resolution starts from."""

    factor: int

    def __call__(self, x: Images) -> Seen:
        if x.shape[-2] % self.factor or x.shape[-1] % self.factor:
            raise InputError(f"expected sides that are multiples of {self.factor}, got {tuple(x.shape[-2:])}; crop it")
        return F.avg_pool2d(x, self.factor)

    def transpose(self, y: Seen) -> Images:
        repeated = y.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)
        return repeated / self.factor**2

    def solve(self, y: Seen, p: float, q: float) -> Seen:
        return y / (p / self.factor**2 + q)  # A A' = 1 / factor^2


@dataclass(frozen=True)
class Grey(Operator):
    """One weighted sum of the channels: what colouring starts from."""

    weights: tuple[float, ...] = GREY_WEIGHTS

    def __call__(self, x: Images) -> Seen:
        if x.shape[1] != len(self.weights):
            raise InputError(f"expected images of {len(self.weights)} channels, got {x.shape[1]}: nothing to colour")
        return (x * self._column(x)).sum(1, keepdim=True)

    def transpose(self, y: Seen) -> Images:
        return y * self._column(y)

    def solve(self, y: Seen, p: float, q: float) -> Seen:
        return y / (p * sum(weight**2 for weight in self.weights) + q)  # A A' is the squared norm of the weights

    def _column(self, like: Seen) -> Float[Tensor, "1 C 1 1"]:
        return torch.tensor(self.weights, dtype=like.dtype, device=like.device).reshape(1, -1, 1, 1)


@dataclass(frozen=True)
class Blurred(Operator):
    """Convolution with a centred kernel (h, w) of odd sides, around the edges: what deblurring starts from.

    A photograph does not go around its edges: within half a kernel of them this A is wrong, and what is restored
    there rings. Crop that frame off, or keep to images whose edges agree.
    """

    kernel: Float[Tensor, "h w"]

    def __post_init__(self) -> None:
        if not self.kernel.shape[0] % 2 or not self.kernel.shape[1] % 2:
            raise InputError(f"expected a kernel of odd height and width, got {tuple(self.kernel.shape)}")

    def __call__(self, x: Images) -> Seen:
        return self._times(x, self._gain(x))

    def transpose(self, y: Seen) -> Images:
        return self._times(y, self._gain(y).conj())  # correlation with the kernel

    def solve(self, y: Seen, p: float, q: float) -> Seen:
        """One division in Fourier space; frequencies that A loses stay 0."""
        power = p * self._gain(y).abs() ** 2 + q
        lost = power <= 1e-9 * power.max()
        return self._times(y, torch.where(lost, 0.0, 1 / power.where(~lost, torch.ones_like(power))).to(power.dtype))

    def _gain(self, like: Seen) -> Tensor:
        """The kernel's Fourier transform at the image's size, its centre at pixel (0, 0): (H, W / 2 + 1) complex."""
        (height, width), (h, w) = like.shape[-2:], self.kernel.shape
        if h > height or w > width:
            raise InputError(f"expected a kernel within {height} x {width} pixels, got {h} x {w}")
        padded = F.pad(self.kernel.to(like), (0, width - w, 0, height - h)).roll((-(h // 2), -(w // 2)), (0, 1))
        return torch.fft.rfft2(padded)

    @staticmethod
    def _times(x: Seen, gain: Tensor) -> Seen:
        return torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=x.shape[-2:])


def gaussian_kernel(deviation: float, reach: int | None = None) -> Float[Tensor, "h w"]:
    """A Gaussian of that standard deviation in pixels, cut off `reach` pixels from its centre (three deviations)."""
    if not deviation > 0:
        raise InputError(f"expected a standard deviation above 0 pixels, got {deviation}")
    far = max(1, round(3 * deviation)) if reach is None else reach
    line = torch.exp(-0.5 * (torch.arange(-far, far + 1, dtype=torch.float64) / deviation) ** 2)
    return torch.outer(line, line) / line.sum() ** 2
