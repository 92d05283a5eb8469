"""Operators against their own matrices: the transpose is the transpose, and the solution solves."""

import pytest
import torch

from ancestral.editing.operators import Blurred, Grey, Masked, MeanPooled, Operator, gaussian_kernel
from ancestral.errors import InputError
from ancestral.oracles import matrix_of

SHAPE = (3, 4, 6)
LOPSIDED = torch.tensor([[0.1, 0.3, 0.05], [0.0, 0.2, 0.15], [0.1, 0.0, 0.1]], dtype=torch.float64)
"""Not symmetric: convolution and correlation differ."""
OPERATORS: dict[str, Operator] = {
    "masked": Masked(torch.rand(4, 6, generator=torch.manual_seed(0)) > 0.4),
    "pooled": MeanPooled(2),
    "grey": Grey(),
    "blurred": Blurred(LOPSIDED),
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


def images(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, *SHAPE, generator=torch.manual_seed(1), dtype=torch.float64)


@every_operator
def test_the_transpose_is_the_transposed_matrix(operator: Operator) -> None:
    x = images()
    y = torch.randn(operator(x).shape, generator=torch.manual_seed(2), dtype=torch.float64)
    expected = (y.flatten(1) @ matrix_of(operator, SHAPE)).reshape(x.shape)
    assert torch.allclose(operator.transpose(y), expected, rtol=0, atol=1e-12)


@every_operator
@pytest.mark.parametrize(("p", "q"), [(1.0, 0.0), (0.3, 0.0), (0.7, 0.2)])
def test_the_solution_solves(operator: Operator, p: float, q: float) -> None:
    """For y in the range of A, by the matrix's pseudo-inverse."""
    matrix, y = matrix_of(operator, SHAPE), operator(images())
    gram = p * matrix @ matrix.T + q * torch.eye(len(matrix), dtype=torch.float64)
    expected = y.flatten(1) @ torch.linalg.pinv(gram, hermitian=True)
    assert torch.allclose(operator.solve(y, p, q).flatten(1), expected, rtol=0, atol=1e-9)


def test_a_blur_is_the_convolution_that_goes_around() -> None:
    """Against sums of rolled images; the kernel's centre leaves an image where it is."""
    x = images()
    rolls = [LOPSIDED[i, j] * x.roll((i - 1, j - 1), (-2, -1)) for i in range(3) for j in range(3)]
    assert torch.allclose(Blurred(LOPSIDED)(x), torch.stack(rolls).sum(0), rtol=0, atol=1e-12)
    kernel = gaussian_kernel(0.7, reach=2)
    assert kernel.shape == (5, 5) and float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    assert torch.equal(kernel, kernel.flip(0)) and float(kernel[2, 3] / kernel[2, 2]) == pytest.approx(
        0.360448, rel=1e-5
    )


def test_what_a_blur_loses_is_not_made_up() -> None:
    """A mean of two rows kills the finest stripes: dividing by their gain of 0 would be infinite."""
    mean = Blurred(torch.tensor([[0.25], [0.5], [0.25]], dtype=torch.float64))
    stripes = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64).reshape(1, 1, 4, 1).expand(1, 3, 4, 6)
    assert float(mean(stripes).abs().max()) < 1e-15
    back = mean.transpose(mean.solve(mean(images() + 5 * stripes), 1.0, 0.0))
    assert torch.allclose(mean(back), mean(images()), rtol=0, atol=1e-12)
    assert float((back * stripes).sum(dim=(1, 2, 3)).abs().max()) < 1e-9


def test_grey_is_the_luma_of_pillow() -> None:
    assert float(Grey()(torch.full((1, 3, 1, 1), 0.5))) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("operator", "words"),
    [(MeanPooled(4), "multiples of 4"), (Grey((0.5, 0.5)), "2 channels"), (Blurred(torch.ones(5, 7)), "kernel within")],
)
def test_images_that_do_not_fit_are_refused(operator: Operator, words: str) -> None:
    with pytest.raises(InputError, match=words):
        operator(images())


def test_impossible_kernels_are_refused() -> None:
    with pytest.raises(InputError, match="odd"):
        Blurred(torch.ones(2, 3))
    with pytest.raises(InputError, match="above 0"):
        gaussian_kernel(0.0)
