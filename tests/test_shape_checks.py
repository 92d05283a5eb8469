"""That shapes are checked while the tests run: in the first calls of each function, and again in the next test."""

import os

import pytest
import shape_checks
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from ancestral.diffusion.schedules import cosine
from ancestral.tensors import broadcast_like

pytestmark = pytest.mark.skipif(bool(os.environ.get("ANCESTRAL_NO_SHAPE_CHECKS")), reason="nothing is checked")


@shape_checks.first_calls
def transposed(x: Float[Tensor, "A B"], right: bool = True) -> Float[Tensor, "B A"]:
    return x.T if right else x


def test_wrong_shapes_are_noticed_in_the_first_calls_of_a_test() -> None:
    with pytest.raises(TypeCheckError, match="parameters"):
        transposed(torch.zeros(3))
    for _ in range(shape_checks.CALLS - 2):
        transposed(torch.zeros(2, 3))
    with pytest.raises(TypeCheckError, match="return value"):
        transposed(torch.zeros(2, 3), right=False)
    transposed(torch.zeros(2, 3), right=False)
    shape_checks.begin_test()
    with pytest.raises(TypeCheckError):
        transposed(torch.zeros(2, 3), right=False)


def test_the_package_is_checked() -> None:
    """Its functions, and the methods of its classes."""
    with pytest.raises(TypeCheckError):
        broadcast_like("no tensor", torch.zeros(2, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError):
        cosine(10).alpha_bar_at("no timestep")  # type: ignore[arg-type]
