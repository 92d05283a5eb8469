"""p(x|z): probabilities of levels against fifty digits, and a scale that is found again."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from latent_pipelines import Averaging, averaging
from torch import Tensor

from ancestral.data.imageset import ImageSet
from ancestral.evaluation.pixel_likelihood import FITTED, LaplaceDecoder, fitting_decoder, laplace_log_prob
from ancestral.networks.latents import KLCodec
from ancestral.progress import finish
from ancestral.tensors import from_pixels

LEVELS = torch.arange(256, dtype=torch.uint8)[:, None, None, None]
PROBED = [0, 1, 77, 127, 128, 200, 254, 255]
CPU = torch.device("cpu")


def of_levels(y: float, scale: float) -> Tensor:
    """log P of all 256 levels of a pixel."""
    mean, scales = torch.full((256, 1, 1, 1), y, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64)
    return laplace_log_prob(LEVELS, mean, scales)[:, 0, 0, 0]


def exact(level: int, y: float, scale: float) -> float:
    """The integral of exp(-|x - y| / scale) / (2 scale) over the bin, with 50 digits."""
    with mpmath.workdps(50):
        edges = [mpmath.mpf(2 * level + side) / 255 - 1 - y for side in (-1, 1)]
        lower = -mpmath.inf if level == 0 else edges[0]
        upper = mpmath.inf if level == 255 else edges[1]

        def right_of(x: mpmath.mpf) -> mpmath.mpf:
            """Mass beyond x >= 0."""
            return mpmath.exp(-x / scale) / 2

        if lower >= 0:
            return float(mpmath.log(right_of(lower) - right_of(upper)))
        if upper <= 0:
            return float(mpmath.log(right_of(-upper) - right_of(-lower)))
        return float(mpmath.log(1 - right_of(upper) - right_of(-lower)))


@given(st.floats(-2, 2), st.floats(math.log(1e-4), math.log(30)))
def test_a_level_has_its_exact_probability_however_far_away(y: float, log_scale: float) -> None:
    scale = math.exp(log_scale)
    found = of_levels(y, scale)[PROBED].tolist()
    wanted = [exact(level, y, scale) for level in PROBED]
    assert found == pytest.approx(wanted, rel=1e-10, abs=1e-10)


@given(st.floats(-3, 3), st.floats(math.log(1e-4), math.log(30)))
def test_the_256_levels_add_to_1(y: float, log_scale: float) -> None:
    assert of_levels(y, math.exp(log_scale)).exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_far_beyond_black_all_is_black_and_nothing_overflows() -> None:
    """Also for what the decoder answers outside of [-1, 1], which is not clipped."""
    assert of_levels(-50.0, 1.0)[0].item() == pytest.approx(0, abs=1e-20)
    assert of_levels(-50.0, 1.0)[255] < -50
    assert bool(of_levels(3.0, 1e-3).isfinite().all()) and of_levels(3.0, 1e-3)[0].item() == pytest.approx(
        -3996.8, abs=1
    )


def test_each_channel_has_its_scale() -> None:
    pixels, y = torch.full((1, 2, 1, 1), 90, dtype=torch.uint8), torch.zeros(1, 2, 1, 1)
    found = LaplaceDecoder(scales=(0.05, 0.5), num_images=1).log_prob(pixels, y).flatten().tolist()
    assert found == pytest.approx([exact(90, 0.0, 0.05), exact(90, 0.0, 0.5)], rel=1e-7)


class Grey(Averaging):
    """Whatever it is given, it answers 0.1."""

    def decoded(self, z: Tensor) -> Tensor:
        return 0 * super().decoded(z) + 0.1


def grey(channels: int) -> KLCodec:
    codec = averaging(channels)
    return KLCodec(Grey(channels), codec.mean, codec.std)


def laplacian(scales: tuple[float, ...], count: int = 80) -> ImageSet:
    """Images (16, 16) whose channels are Laplace around 0.1 with these scales, rounded to levels."""
    x = 0.1 + np.random.default_rng(0).laplace(0, scales, (count, 16, 16, len(scales)))
    pixels = ((x + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return ImageSet(pixels, None, (), None, None, "made up")


def test_the_scale_of_each_channel_is_found_again() -> None:
    scales = (0.004, 0.05, 0.6)
    found = finish(fitting_decoder(grey(3), laplacian(scales), 0, CPU, 32))
    assert found.num_images == 80 and found.scales == pytest.approx(scales, rel=0.03)


def test_no_other_scale_is_likelier_and_the_closed_form_of_the_density_is_not_it() -> None:
    """Trap: b = mean |x - y|, where a third of the mass lies beyond black, or where bins are wide."""
    images = laplacian((0.9,))
    pixels = torch.tensor(images.pixels()).permute(0, 3, 1, 2)
    best = finish(fitting_decoder(grey(1), images, 0, CPU, 32))
    y = torch.full(pixels.shape, 0.1)

    def nats(scale: float) -> float:
        return float(-LaplaceDecoder(scales=(scale,), num_images=1).log_prob(pixels, y).mean())

    closed = float((from_pixels(pixels) - y).abs().mean())
    others = [best.scales[0] * factor for factor in (0.8, 0.95, 1.05, 1.25)]
    assert nats(best.scales[0]) < min(map(nats, others)) and nats(closed) > nats(best.scales[0]) + 0.02


def test_the_scale_depends_on_images_and_seed_alone() -> None:
    """Of draws from q(z|x), each from the seed of its image; not on how many are computed at once."""
    images, codec = laplacian((0.2,), 12), averaging()
    one, other = (finish(fitting_decoder(codec, images, 0, CPU, chunk)) for chunk in (5, 64))
    assert one.scales == pytest.approx(other.scales, rel=1e-9)
    assert finish(fitting_decoder(codec, images, 1, CPU, 64)).scales != other.scales
    told = [*fitting_decoder(codec, images, 0, CPU, 5)]
    assert told == [(5, 12), (10, 12), (12, 12)] and FITTED > 12
