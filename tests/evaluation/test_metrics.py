"""Distances between feature matrices against closed forms, sets worked out by hand, and repeated draws."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ancestral.errors import InputError
from ancestral.evaluation.metrics import (
    CHUNK,
    frechet_distance,
    frechet_estimate,
    gaussian_frechet,
    kernel_distance,
    neighbourhood,
)


def normal(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed)).Q


@given(st.floats(-3, 3), st.floats(0, 4), st.floats(-3, 3), st.floats(0, 4))
def test_frechet_of_two_normals_on_a_line(m1: float, s1: float, m2: float, s2: float) -> None:
    """W₂² of N(m, s²) in one dimension is the squared distance of (m, s); s = 0 is a point."""

    def line(mean: float, deviation: float) -> tuple[Tensor, Tensor]:
        return torch.tensor([mean], dtype=torch.float64), torch.tensor([[deviation]], dtype=torch.float64).square()

    assert gaussian_frechet(line(m1, s1), line(m2, s2)) == pytest.approx(math.dist((m1, s1), (m2, s2)) ** 2, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=12), st.integers(0, 99))
def test_frechet_of_commuting_covariances(deviations: list[tuple[float, float]], seed: int) -> None:
    """With common axes the distance is that of the deviations, whichever way the axes turn and however many are 0."""
    first, second = torch.tensor(deviations, dtype=torch.float64).T
    turn, zero = rotation(len(first), seed), torch.zeros(len(first), dtype=torch.float64)
    covariances = [turn @ torch.diag(s.square()) @ turn.T for s in (first, second)]
    distance = gaussian_frechet((zero, covariances[0]), (zero, covariances[1]))
    assert distance == pytest.approx(float((first - second).square().sum()), abs=1e-6)


def test_frechet_of_two_planes_in_singular_covariances() -> None:
    """Two rank-one Gaussians at an angle: d² = 2 - 2 |cos|. Roots of rounding errors would show as 1e-8."""
    u, v = torch.zeros(2, 40, dtype=torch.float64)
    u[0], v[0], v[1] = 1, 0.6, 0.8
    distance = gaussian_frechet((torch.zeros(40).double(), u.outer(u)), (torch.zeros(40).double(), v.outer(v)))
    assert distance == pytest.approx(2 - 2 * 0.6, abs=1e-13)


def test_frechet_is_zero_of_a_set_with_itself_symmetric_and_blind_to_rotation() -> None:
    a, b, turn = normal(30, 50, 0), normal(45, 50, 1) + 0.3, rotation(50, 2)  # fewer images than features: singular
    assert abs(frechet_distance(a, a)) < 1e-10
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_frechet_is_biased_in_the_number_of_images() -> None:
    """The trap behind every floor: the same law, fewer images, a larger distance."""
    distances = [frechet_distance(normal(n, 16, 0), normal(n, 16, 1)) for n in (50, 500, 5000)]
    assert distances[0] > 5 * distances[1] > 25 * distances[2] > 0


def test_kernel_distance_by_hand() -> None:
    """Three numbers on a line: k(x, y) = (xy + 1)³, no image paired with itself."""
    a, b = torch.tensor([[0.0], [0.0], [0.0]]).double(), torch.tensor([[1.0], [1.0], [1.0]]).double()
    assert kernel_distance(a, b).value == pytest.approx(1 + 8 - 2 * 1)


def test_kernel_distance_is_unbiased_and_its_error_bar_holds_within_one_law() -> None:
    """Mean zero over many draws (a biased estimate is positive); the jackknife is at most √2 too wide."""
    draws = [kernel_distance(normal(40, 4, 2 * i), normal(60, 4, 2 * i + 1)) for i in range(300)]
    values = torch.tensor([d.value for d in draws])
    spread, claimed = float(values.std()), float(torch.tensor([d.standard_error**2 for d in draws]).mean().sqrt())
    assert abs(float(values.mean())) < 3 * spread / math.sqrt(300)
    assert 0.95 < claimed / spread < 1.6


def test_error_bars_match_repeated_draws_between_two_laws() -> None:
    """The claimed errors of both distances against the spread of 200 independent repetitions."""
    pairs = [(normal(120, 4, 2 * i), 1.3 * normal(80, 4, 2 * i + 1) + 0.7) for i in range(200)]
    for distance in (kernel_distance, frechet_estimate):
        draws = [distance(*pair) for pair in pairs]
        spread = float(torch.tensor([d.value for d in draws]).std())
        claimed = float(torch.tensor([d.standard_error**2 for d in draws]).mean().sqrt())
        assert 0.85 < claimed / spread < 1.25, distance.__name__


def test_chunks_change_nothing() -> None:
    """Rows of two chunks, the second a short one: which are computed together depends on their order."""
    a, b = normal(CHUNK + 76, 3, 0), normal(CHUNK + 41, 3, 1) + 0.5
    found, turned = ((kernel_distance(x, y), neighbourhood(x, y)) for x, y in ((a, b), (a.flip(0), b.flip(0))))
    assert turned[0] == pytest.approx(found[0], rel=1e-9)
    for one, other in zip(turned[1], found[1], strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-9)


def test_a_set_against_itself_scores_one_and_a_far_one_zero() -> None:
    a = normal(60, 8, 0)
    assert [score.value for score in neighbourhood(a, a)] == pytest.approx([1, 1, 1, 1])
    assert [score.value for score in neighbourhood(a, a + 1000)] == [0, 0, 0, 0]


def test_neighbourhood_by_hand() -> None:
    """k = 1. Real 0, 1, 10 have radii 1, 1, 9; drawn 0.5, 2, 30 have radii 1.5, 1.5, 28.

    0.5 lies in the balls of 0 and 1; 2 on the rim of 1's ball and inside 10's (closed: counted; open: only 10's);
    30 in none. Density: (2 + 1 + 0) / 3. Every real image is within 1.5 of a drawn one, but 10, which 30 reaches.
    """
    real, drawn = torch.tensor([[0.0], [1.0], [10.0]]).double(), torch.tensor([[0.5], [2.0], [30.0]]).double()
    precision, recall, density, coverage = (score.value for score in neighbourhood(real, drawn, k=1))
    assert (precision, recall, density, coverage) == pytest.approx((2 / 3, 1, 1, 1))


def test_an_outlier_inflates_precision_but_not_density() -> None:
    """Naeem et al. 2020, figure 2: one real outlier's ball swallows far images; density divides by k of them."""
    real = torch.cat([normal(50, 2, 0), torch.full((1, 2), 40.0).double()])
    far = 20 + normal(50, 2, 1)
    scores = neighbourhood(real, far)
    assert scores.precision.value == 1
    assert scores.density.value < 0.25
    assert scores.coverage.value <= 1 / 51


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="at least 2 images"):
        frechet_distance(normal(1, 3, 0), normal(9, 3, 1))
    with pytest.raises(InputError, match="at least 3 images"):
        kernel_distance(normal(9, 3, 0), normal(2, 3, 1))
    with pytest.raises(InputError, match="more than k = 5"):
        neighbourhood(normal(5, 3, 0), normal(9, 3, 1))
