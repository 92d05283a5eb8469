"""The embedding of time, changes of resolution, and normalisation in half precision."""

import math
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.networks.layers import Downsample, GroupNorm, TimeEmbedding, Upsample, convolution, linear, sinusoids


@pytest.mark.parametrize("order", ["sin-cos", "cos-sin"])
@pytest.mark.parametrize("shift", [0, 1])
def test_the_first_wave_has_period_2_pi_and_the_last_is_the_slowest(
    order: Literal["sin-cos", "cos-sin"], shift: Literal[0, 1]
) -> None:
    waves = sinusoids(torch.tensor([math.pi / 2]), 64, order, shift)[0].double()
    sines, cosines = waves.split(32) if order == "sin-cos" else waves.split(32)[::-1]
    assert (sines[0].item(), cosines[0].item()) == pytest.approx((1, 0), abs=1e-6)
    slowest = 1e-4 if shift else 1e-4 ** (31 / 32)
    assert torch.atan2(sines[-1], cosines[-1]).item() == pytest.approx(slowest * math.pi / 2, rel=1e-4)


def test_the_narrowest_embedding_has_one_finite_frequency() -> None:
    assert sinusoids(torch.tensor([0.5]), 2, "sin-cos", 1).tolist()[0] == pytest.approx([math.sin(0.5), math.cos(0.5)])


@given(st.integers(0, 999))
def test_neighbouring_timesteps_stay_apart_under_bfloat16(index: int) -> None:
    """Trap: bfloat16 has eight bits and turns t = 998 into 1000."""
    with torch.autocast("cpu", torch.bfloat16):
        here, next_one = sinusoids(torch.tensor([index, index + 1]).float(), 128, "sin-cos", 1)
    assert here.dtype == torch.float32
    angles = torch.atan2(here, here.roll(-64))[0], torch.atan2(next_one, next_one.roll(-64))[0]
    assert math.remainder(angles[1].item() - angles[0].item(), 2 * math.pi) == pytest.approx(1, abs=1e-3)


def test_time_embedding_tells_998_from_1000_under_bfloat16() -> None:
    torch.manual_seed(0)
    embed = TimeEmbedding(32, 128)
    with torch.autocast("cpu", torch.bfloat16):
        out = embed(sinusoids(torch.tensor([998.0, 999.0, 1000.0]), 32, "sin-cos", 1))
    assert (out[0] - out[2]).abs().max() > 0.1
    assert (out[0] - out[1]).abs().max() > 0.1


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["even", "right-bottom"]))
def test_down_and_up_again_is_the_same_size(height: int, width: int, padding: Literal["even", "right-bottom"]) -> None:
    x = torch.randn(1, 4, height, width)
    small = Downsample(4, padding)(x)
    rounded = [(n + 1) // 2 if padding == "even" else max(n // 2, 1) for n in (height, width)]
    assert list(small.shape[2:]) == rounded
    assert Upsample(4)(small, x).shape == x.shape


def test_right_bottom_padding_leaves_the_first_pixel_in_the_corner() -> None:
    """With `even` the window of the first output is centred on pixel 0; with `right-bottom` it starts there."""
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 0, 0] = 1
    for padding, tap in (("even", (1, 1)), ("right-bottom", (0, 0))):
        down = Downsample(1, padding)
        assert down(x)[0, 0, 0, 0].item() == pytest.approx(down.conv.weight[0, 0][tap].item())


@pytest.mark.parametrize("groups", [1, 8])
def test_half_precision_norm_keeps_its_type_and_agrees_with_float32(groups: int) -> None:
    torch.manual_seed(0)
    norm, x = GroupNorm(groups, 32), torch.randn(2, 32, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), norm(x), atol=0.05, rtol=0.02)
    assert norm.double()(x.double()).dtype == torch.float64


def test_starting_weights_have_the_paper_s_variance_and_no_bias() -> None:
    torch.manual_seed(0)
    for layer, fan_in, fan_out in ((convolution(64, 32), 64 * 9, 32 * 9), (linear(256, 64), 256, 64)):
        assert layer.weight.var().item() == pytest.approx(2 / (fan_in + fan_out), rel=0.05)
        assert layer.bias.abs().max() == 0
