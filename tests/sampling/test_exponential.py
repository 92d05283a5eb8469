"""Weights of exponential integrators against quadrature, and against published tables."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss

from ancestral.sampling.samplers.exponential import moment, weights, weights_of_x0

NODES, MASSES = (torch.from_numpy(each) for each in leggauss(30))
THETA = 0.5 * (NODES + 1)


def integral(z: float, values: torch.Tensor) -> float:
    """Of e^(z (1 - theta)) times `values` at THETA, over 0..1, by Gauss and Legendre."""
    return float((0.5 * MASSES * torch.exp(z * (1 - THETA)) * values).sum())


@given(st.floats(-6, 6), st.integers(0, 4))
def test_moments_are_the_integrals(z: float, power: int) -> None:
    assert moment(z, power) == pytest.approx(integral(z, THETA**power), rel=1e-10)


@pytest.mark.parametrize("power", range(4))
def test_series_and_recursion_meet(power: int) -> None:
    """Trap: the recursion near z = 0 subtracts equal numbers."""
    for z in (-1.0, 1.0):
        assert moment(z * (1 - 1e-13), power) == pytest.approx(moment(z, power), rel=1e-11)
    assert moment(1e-9, power) == pytest.approx(1 / (power + 1), rel=1e-8)


@given(st.floats(-4, 4), st.lists(st.floats(-3, 1), min_size=1, max_size=4), st.lists(st.floats(-1, 1), min_size=4))
def test_weights_integrate_polynomials_through_nodes_anywhere(
    z: float, places: list[float], coefficients: list[float]
) -> None:
    assume(all(abs(a - b) > 0.1 for i, a in enumerate(places) for b in places[:i]))
    powers = range(len(places))
    values = sum(coefficients[k] * THETA**k for k in powers) + 0 * THETA
    at_places = [sum(coefficients[k] * place**k for k in powers) for place in places]
    found = sum(b * value for b, value in zip(weights(z, places), at_places, strict=True))
    assert found == pytest.approx(integral(z, values), rel=1e-8, abs=1e-8)


def test_weights_of_equal_steps_are_those_of_adams() -> None:
    bashforth = [55 / 24, -59 / 24, 37 / 24, -9 / 24]
    assert weights(0.0, [0.0, -1.0, -2.0, -3.0]) == pytest.approx(bashforth, rel=1e-12)
    moulton = [9 / 24, 19 / 24, -5 / 24, 1 / 24]
    assert weights(0.0, [1.0, 0.0, -1.0, -2.0]) == pytest.approx(moulton, rel=1e-12)


@given(st.floats(0.01, 3), st.floats(0.2, 3))
def test_two_predictions_are_read_at_mid_step(h: float, r: float) -> None:
    """A line is halfway at mid-step, wherever its nodes: behind the step, ahead of it, in either order of naming."""
    whole = float(-torch.expm1(torch.tensor(-h, dtype=torch.float64))) / h
    for places in ([0.0, -r], [0.0, r], [r, 0.0]):
        b = weights_of_x0(h, places)
        assert sum(b) == pytest.approx(whole, rel=1e-9)
        assert sum(x * place for x, place in zip(b, places, strict=True)) == pytest.approx(0.5 * whole, rel=1e-9)
