"""Paths between noises: norm, law, and what happens at their ends."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.editing.interpolate import arc, path, slerp
from ancestral.errors import InputError

NOISE = torch.randn(2, 3, 1, 4, 5, generator=torch.manual_seed(0), dtype=torch.float64)
A, B = NOISE[0], NOISE[1]


def norms(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).norm(dim=1)


@given(u=st.floats(0, 1))
def test_the_norm_goes_straight_from_one_to_the_other(u: float) -> None:
    """Each image by its own angle. Trap: one angle for the whole batch."""
    assert torch.allclose(norms(slerp(A, B, u)), (1 - u) * norms(A) + u * norms(B), rtol=1e-12)


@given(u=st.floats(0, 1))
def test_the_angle_is_cut_in_proportion(u: float) -> None:
    def angle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.acos(((x * y).flatten(1).sum(1) / norms(x) / norms(y)).clamp(-1, 1))

    middle = slerp(A, B, u)
    assert torch.allclose(angle(A, middle), u * angle(A, B), rtol=0, atol=1e-7)
    assert torch.allclose(angle(A, middle) + angle(middle, B), angle(A, B), rtol=0, atol=1e-7)


@given(u=st.floats(0, 1))
def test_turning_both_ends_turns_the_path(u: float) -> None:
    """So that directions which are uniform stay uniform: half of the law."""
    turn, _ = torch.linalg.qr(torch.randn(20, 20, generator=torch.manual_seed(1), dtype=torch.float64))
    turned = slerp(A.flatten(1) @ turn, B.flatten(1) @ turn, u)
    assert torch.allclose(turned, slerp(A, B, u).flatten(1) @ turn, rtol=0, atol=1e-12)


@given(u=st.floats(0, 1))
def test_the_arc_between_independent_noises_is_standard_normal(u: float) -> None:
    """The variance of a sum of two: read off its response to each."""
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    assert float(arc(one, zero, u) ** 2 + arc(zero, one, u) ** 2) == pytest.approx(1, abs=1e-6)
    assert torch.allclose(arc(A, B, 0.0), A) and torch.allclose(arc(A, B, 1.0), B)


def test_of_many_pairs_the_slerp_has_the_moments_of_noise() -> None:
    """400 numbers, 500 pairs: variance 1 within five standard errors, where the straight line has one half."""
    a, b = torch.randn(2, 500, 400, generator=torch.manual_seed(3), dtype=torch.float64)
    standard_error = math.sqrt(2 / (500 * 400))
    assert abs(float(slerp(a, b, 0.5).var()) - 1) < 5 * standard_error + 1 / (4 * 400)
    assert float(torch.lerp(a, b, 0.5).var()) < 0.51


def test_near_ends_are_told_apart_and_equal_ends_stay() -> None:
    """Trap: the arc cosine of 1 - 1e-17, and 0 / 0 for equal ends."""
    assert torch.allclose(slerp(A, A, 0.3), A, rtol=1e-14)
    near = A + 1e-9 * B
    assert torch.allclose(slerp(A, near, 0.5) - A, 0.5e-9 * B, rtol=0, atol=2e-10 * float(B.abs().max()))


def test_a_path_has_both_ends() -> None:
    points = path(A, B, 5)
    assert points.shape == (5, *A.shape)
    assert torch.allclose(points[0], A, rtol=1e-14) and torch.allclose(points[-1], B, rtol=1e-14)
    assert torch.equal(points[1], slerp(A, B, 0.25))


def test_ends_without_a_shortest_path_are_refused() -> None:
    with pytest.raises(InputError, match="opposite"):
        slerp(A, -A, 0.5)
    with pytest.raises(InputError, match="no direction"):
        slerp(A, 0 * A, 0.5)
    with pytest.raises(InputError, match="at least 2"):
        path(A, B, 1)
