"""Windows: one that covers all is the plain denoiser, averages are right, nothing is left uncovered."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import cosine
from ancestral.editing.canvas import Windows
from ancestral.errors import InputError
from ancestral.oracles import CorrelatedData, GaussianData, moments
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM, Noise
from ancestral.windows import starts

SCHEDULE = cosine(50)
T = torch.tensor(30)
EACH_PIXEL = GaussianData(SCHEDULE, torch.tensor(0.3).double(), torch.tensor(0.4).double())
"""Independent pixels, all alike: what a window sees of them is all there is."""


def images(height: int, width: int) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.manual_seed(0), dtype=torch.float64)


def local(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
    """x0 is the mean over the window, which no two windows share."""
    x0 = 0 * x_t + x_t.mean(dim=(-2, -1), keepdim=True)
    alpha, sigma = SCHEDULE.alpha(t, x_t), SCHEDULE.sigma(t, x_t)
    return Prediction(t, x0, (x_t - alpha * x0) / sigma, x0.abs())


@pytest.mark.parametrize("feathered", [False, True])
def test_one_window_over_all_is_the_plain_denoiser(feathered: bool) -> None:
    x = images(4, 6)
    whole, plain = Windows(local, 4, 6, 3, feathered)(x, T), local(x, T)
    for ours, theirs in zip(whole[1:4], plain[1:4], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize(("size", "stride"), [((3, 5), 2), ((4, 4), 4), ((3, 4), 3)])
def test_of_independent_pixels_windows_know_all(size: tuple[int, int], stride: int, wraps: bool) -> None:
    x = images(8, 12)
    windows, plain = Windows(EACH_PIXEL, *size, stride, wraps=wraps)(x, T), EACH_PIXEL(x, T)
    assert torch.allclose(windows.x0, plain.x0, rtol=0, atol=1e-13)
    assert torch.allclose(windows.eps, plain.eps, rtol=0, atol=1e-13)


def test_where_windows_overlap_predictions_are_averaged() -> None:
    """A row of five pixels, windows of three that begin at 0 and 2: the middle one lies in both."""
    x = torch.tensor([3.0, 0.0, 3.0, 6.0, 9.0], dtype=torch.float64).reshape(1, 1, 1, 5)
    assert Windows(local, 1, 3, 1, feathered=False)(x[..., :3], T).x0.flatten().tolist() == [2.0, 2.0, 2.0]
    prediction = Windows(local, 1, 3, 1, feathered=False)(x, T)
    assert prediction.x0.flatten().tolist() == [2.0, 2.5, pytest.approx(11 / 3), 4.5, 6.0]
    assert prediction.variance_coeff is not None and torch.allclose(prediction.variance_coeff, prediction.x0)
    alpha, sigma = SCHEDULE.alpha(T, x), SCHEDULE.sigma(T, x)
    assert torch.allclose(alpha * prediction.x0 + sigma * prediction.eps, x, rtol=0, atol=1e-13), (
        "the average pair makes x_t"
    )


def test_feathered_windows_count_most_at_their_middle() -> None:
    """The second pixel is the middle of the first window (weight 2) and the first of the second (weight 1)."""
    x = torch.tensor([3.0, 0.0, 3.0, 6.0], dtype=torch.float64).reshape(1, 1, 1, 4)
    assert Windows(local, 1, 3, 1)(x, T).x0.flatten().tolist() == pytest.approx([2.0, 7 / 3, 8 / 3, 3.0])


@given(window=st.integers(1, 9), more=st.integers(0, 12), stride=st.integers(1, 9), wraps=st.booleans())
def test_every_pixel_is_covered_and_no_window_leaves_the_canvas(
    window: int, more: int, stride: int, wraps: bool
) -> None:
    length, stride = window + more, min(stride, window)
    tops = starts(length, window, stride, wraps)
    covered = {(top + i) % length for top in tops for i in range(window)}
    assert covered == set(range(length)) and len(set(tops)) == len(tops)
    assert wraps or max(tops) + window == length


def test_a_canvas_that_wraps_has_no_edge() -> None:
    """Rolling the image by a stride rolls the prediction: exactly what tiles."""
    x, around = images(6, 8), Windows(local, 4, 4, 2, wraps=True)
    for shift in ((2, 0), (0, 2), (4, 6)):
        rolled = around(x.roll(shift, (-2, -1)), T)
        assert torch.allclose(rolled.x0, around(x, T).x0.roll(shift, (-2, -1)), rtol=0, atol=1e-13)
    flat = Windows(local, 4, 4, 2)
    assert not torch.allclose(flat(x.roll(2, -1), T).x0, flat(x, T).x0.roll(2, -1), atol=1e-3)


def test_what_lies_further_apart_than_a_window_is_less_related_than_it_should_be() -> None:
    """The known bias, on four pixels that are nearly equal: first and last correlate by 0.99. Windows of two side by
    side make two unrelated halves; where they overlap some of it is carried on.
    """
    alike = 0.5 * torch.ones(4, 4, dtype=torch.float64) + 0.01 * torch.eye(4, dtype=torch.float64)
    whole = CorrelatedData(SCHEDULE, torch.zeros(4, dtype=torch.float64), alike)
    half = CorrelatedData(SCHEDULE, torch.zeros(2, dtype=torch.float64), alike[:2, :2])

    def correlation(denoise: Denoiser, rows: int = 1) -> float:
        def run(noise: Noise) -> torch.Tensor:
            return list(sample(denoise, DDIM(SCHEDULE), noise(), SCHEDULE.trailing(25), noise))[-1].x_s

        covariance = moments(run, (1, rows, 4))[1]
        return float(covariance[0, 3] / covariance[0, 0])

    assert correlation(whole) > 0.98
    assert correlation(Windows(half, 1, 2, 1)) == pytest.approx(0.32, abs=0.05)
    assert abs(correlation(Windows(_two_wide(half), 2, 2, 2), rows=2)) < 1e-12


def _two_wide(half: CorrelatedData) -> Denoiser:
    """`half` on windows of two columns, whatever their rows."""

    def denoise(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        flat = half(x_t.reshape(-1, 2), t)
        return Prediction(t, flat.x0.reshape(x_t.shape), flat.eps.reshape(x_t.shape))

    return denoise


def test_windows_that_cannot_cover_are_refused() -> None:
    with pytest.raises(InputError, match=r"stride in 1\.\.3"):
        Windows(local, 3, 5, 4)
    with pytest.raises(InputError, match="canvas of at least 3 x 5"):
        Windows(local, 3, 5, 2)(images(3, 4), T)
