"""Attention in either form: values, gradients, memory, and which form where."""

import pytest
import torch
from torch import Tensor

from ancestral.networks.attention import attend, is_written_out
from ancestral.training.memory import peak_bytes

CPU = torch.device("cpu")


def by_hand(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Head after head, each on features of its own."""
    parts = zip(*(each.chunk(heads, dim=2) for each in (q, k, v)), strict=True)
    return torch.cat([(q @ k.mT / q.shape[2] ** 0.5).softmax(2) @ v for q, k, v in parts], dim=2)


@pytest.mark.parametrize("shape", [(3, 49, 96, 1), (3, 49, 128, 4), (2, 256, 256, 1), (2, 256, 64, 4), (1, 784, 32, 2)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)]
)
def test_values_and_gradients_are_those_of_each_head_by_hand(
    shape: tuple[int, int, int, int], dtype: torch.dtype, tolerance: float
) -> None:
    *size, heads = shape
    torch.manual_seed(0)
    leaves, toward = [torch.randn(size, dtype=dtype) for _ in range(3)], torch.randn(size, dtype=dtype)

    def found(form: object, dtype: torch.dtype) -> list[Tensor]:
        own = [leaf.to(dtype, copy=True).requires_grad_() for leaf in leaves]
        output = form(*own, heads)  # type: ignore[operator]
        return [output, *torch.autograd.grad(output, own, toward.to(dtype))]

    for ours, wanted in zip(found(attend, dtype), found(by_hand, torch.float64), strict=True):
        assert ours.dtype == dtype
        assert (ours.double() - wanted).norm() < tolerance * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_does_not_grow_with_the_square_of_many_tokens(dtype: torch.dtype) -> None:
    def both_ways(tokens: int) -> int:
        q = torch.randn(1, tokens, 32, dtype=dtype, requires_grad=True)
        return peak_bytes(lambda: torch.autograd.backward(attend(q, q, q, 2).sum()))

    assert both_ways(2048) < 2.5 * both_ways(1024)


def test_a_gpu_takes_the_fused_kernel_for_any_shape() -> None:
    for tokens, dtype in ((16, torch.bfloat16), (49, torch.float32), (256, torch.bfloat16)):
        assert is_written_out(tokens, 64, 1, dtype, CPU)
        assert not is_written_out(tokens, 64, 1, dtype, torch.device("cuda"))
