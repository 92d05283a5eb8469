"""Dropout on a CPU: how much is dropped, how the rest is scaled, which of them, and the same on the way back."""

import pytest
import torch
from torch import Tensor

from ancestral.networks.layers import Dropout, Linear, as_convolution


def dropped(p: float, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return Dropout(p)(x)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_the_share_that_is_asked_for_is_dropped_and_the_mean_is_kept(p: float) -> None:
    count = 2**20
    found = dropped(p, torch.ones(count, dtype=torch.float64))
    error = (p * (1 - p) / count) ** 0.5
    assert float((found == 0).double().mean()) == pytest.approx(p, abs=5 * error)
    assert float(found.mean()) == pytest.approx(1, abs=5 * error / (1 - p))
    assert found.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-3 if p == 0.9 else 1e-4)


def test_neighbours_are_dropped_independently() -> None:
    signs = 2 * (dropped(0.5, torch.ones(2**18)) > 0).double() - 1
    for lag in (1, 2, 3, 4, 8, 64):
        assert abs(float((signs[lag:] * signs[:-lag]).mean())) < 5 / 2**9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (3, 5, 7, 9), (2, 8, 4, 4)])
def test_the_way_back_drops_what_the_way_forward_did(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.ones(shape, dtype=dtype)
    if x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    found = dropped(0.3, x)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert found.dtype == dtype and found.stride() == x.stride()
    assert torch.equal(found, gradient)


def test_a_seed_has_one_mask_and_the_next_call_another() -> None:
    x = torch.ones(1000)
    assert torch.equal(dropped(0.5, x), dropped(0.5, x))
    assert not torch.equal(dropped(0.5, x), dropped(0.5, x, seed=1))
    layer = Dropout(0.5)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_a_linear_layer_as_a_convolution_has_the_same_output_and_gradients() -> None:
    torch.manual_seed(0)
    x, weight, bias, toward = (torch.randn(each, dtype=torch.float64) for each in ((4, 7, 6), (5, 6), (5,), (4, 7, 5)))
    given = [each.requires_grad_() for each in (x, weight, bias)]
    for found, wanted in zip(
        *(
            [form(*given), *torch.autograd.grad(form(*given), given, toward)]
            for form in (as_convolution, torch.nn.functional.linear)
        ),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_a_large_linear_layer_is_the_product_in_either_form() -> None:
    torch.manual_seed(0)
    layer, x = Linear(128, 256), torch.randn(8, 128, 128)
    wanted = x.double() @ layer.weight.double().T + layer.bias.double()
    assert layer(x).shape == wanted.shape
    torch.testing.assert_close(layer(x).double(), wanted, rtol=1e-4, atol=1e-5)
