"""That shapes are checked while the tests run: in the first calls of each function, and again in the next test."""

import os

import pytest
import shape_checks
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor

from ancestral.tensors import broadcast_like

pytestmark = pytest.mark.skipif(bool(os.environ.get("ANCESTRAL_NO_SHAPE_CHECKS")), reason="nothing is checked")


@jaxtyped(typechecker=shape_checks.first_calls)
def transposed(x: Float[Tensor, "A B"], right: bool = True) -> Float[Tensor, "B A"]:
    return x.T if right else x


def test_wrong_shapes_are_noticed_in_the_first_calls_of_a_test() -> None:
    with pytest.raises(TypeCheckError, match="parameters"):
        transposed(torch.zeros(3))
    with pytest.raises(TypeCheckError, match="return value"):
        transposed(torch.zeros(2, 3), right=False)
    for _ in range(shape_checks.CALLS):
        transposed(torch.zeros(2, 3))
    transposed(torch.zeros(2, 3), right=False)
    shape_checks.begin_test()
    with pytest.raises(TypeCheckError):
        transposed(torch.zeros(2, 3), right=False)


def test_the_package_is_checked() -> None:
    with pytest.raises(TypeCheckError):
        broadcast_like("no tensor", torch.zeros(2, 3))  # type: ignore[arg-type]
