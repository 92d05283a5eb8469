"""Larger canvases and tiling: windows by hand, and what commutes with rolling an image has no seam."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ancestral.diffusion.parameterization import Prediction, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.editing.canvas import Windows
from ancestral.editing.tile import Circular, MeanOfRolls, RolledEachStep, grid_of_rolls
from ancestral.oracles import double, noised, normal
from ancestral.sampling.denoiser import Denoiser, NetworkDenoiser
from ancestral.selftest.checks import Checks

CHECKS = Checks()

TABLE = log_snr_linear(100, 6.0, -6.0)
T = torch.tensor(40)


def pair(t: Tensor, x_t: Tensor, x0: Tensor) -> Prediction:
    """A prediction with that x_0, which is its variance coefficient as well."""
    kept = TABLE.alpha_bar[t].to(x_t)
    return Prediction(t, x0, (x_t - kept.sqrt() * x0) / (1 - kept).sqrt(), x0)


def mean_of_window(x_t: Tensor, t: Tensor) -> Prediction:
    """x_0 is the mean over the window, which no two windows share."""
    return pair(t, x_t, 0 * x_t + x_t.mean((-2, -1), keepdim=True))


def each_pixel(x_t: Tensor, t: Tensor) -> Prediction:
    """Of independent pixels a window sees all there is."""
    return pair(t, x_t, 0.1 + 0.4 * x_t)


def knows_where(x_t: Tensor, t: Tensor) -> Prediction:
    """Every pixel is drawn to a place of its own."""
    places = torch.linspace(-1, 1, x_t[0].numel(), dtype=x_t.dtype, device=x_t.device)
    return pair(t, x_t, 0.5 * x_t + places.reshape(x_t.shape[1:]))


def unlike(one: Prediction, other: Prediction, roll: tuple[int, int] = (0, 0)) -> Iterator[Tensor]:
    """The difference of two predictions, the second rolled."""
    assert one.variance_coeff is not None and other.variance_coeff is not None
    parts = ((one.x0, other.x0), (one.eps, other.eps), (one.variance_coeff, other.variance_coeff))
    return (mine - yours.roll(roll, (-2, -1)) for mine, yours in parts)


@CHECKS("windows: of independent pixels they know all", 1e-13)
def independent(device: torch.device) -> Iterator[Tensor]:
    """Windows of any size and stride are the plain denoiser, around the edges too."""
    x = normal(2, 3, 8, 12, device=device)
    for size in ((3, 5, 2), (4, 4, 4), (3, 4, 3)):
        for wraps in (False, True):
            yield from unlike(Windows(each_pixel, *size, wraps=wraps)(x, T), each_pixel(x, T))


@CHECKS("windows: predictions averaged, by hand", 1e-13)
def averaged(device: torch.device) -> Iterator[Tensor]:
    """Rows of five in windows of three at 0 and 2, the middle in both; rows of four at 0 and 1, weighed 1, 2, 1."""
    x = double(3, 0, 3, 6, 9, device=device).expand(1, 1, 3, 5)
    two = Windows(mean_of_window, 3, 3, 2, feathered=False)(x, T)
    tents = Windows(mean_of_window, 3, 3, 1)(x[..., :4], T)
    yield from (noised(TABLE, two) - x, two.x0 - double(2, 2, 4, 6, 6, device=device))
    yield tents.x0 - double(2, 7 / 3, 8 / 3, 3, device=device)


@CHECKS("windows around the edges: rolls by strides commute", 1e-13, Windows(mean_of_window, 4, 4, 2, wraps=True), 6, 8)
@CHECKS("mean of rolls: commutes with its group", 1e-13, MeanOfRolls(knows_where, grid_of_rolls(4, 6, 2, 3)), 4, 6)
def commutes(denoise: Denoiser, height: int, width: int, device: torch.device) -> Iterator[Tensor]:
    """Rolling the canvas by even numbers rolls the prediction."""
    x = normal(2, 3, height, width, device=device)
    for by in ((2, 0), (0, 2), (2, 4), (4, 6)):
        yield from unlike(denoise(x.roll(by, (-2, -1)), T), denoise(x, T), by)


@CHECKS("rolls: there and back", 1e-12)
def rolled_back(device: torch.device) -> Iterator[Tensor]:
    """Of a network that says x_0 by pulling neighbours together, around the edges."""
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False, dtype=torch.float64, device=device).requires_grad_(False)
    layer.weight.data = double(0.05, 0.1, 0.05, 0.12, 0.2, 0.12, 0.05, 0.15, 0.05, device=device).reshape(1, 1, 3, 3)
    denoise = NetworkDenoiser(GaussianDiffusion(TABLE, PredictsX0(), beta_tilde), lambda x, time: layer(x))
    plain, x = Circular(denoise, (layer,)), normal(2, 1, 5, 6, device=device)
    for rolled in (RolledEachStep(plain), MeanOfRolls(plain, ((1, 2), (3, 5)))):
        yield from (rolled(x, T).x0 - plain(x, T).x0, rolled(x, T).eps - plain(x, T).eps)
