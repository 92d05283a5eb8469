"""Why a prediction came out as no number: said once it has, since looking takes time."""

from collections.abc import Mapping

from torch import nn

from ancestral.networks.weights import first_not_finite
from ancestral.tensors import Data, is_finite

VAST = 1e4
"""No image on its way from noise holds a number so large."""


def cause(x_t: Data, networks: Mapping[str, nn.Module], precision: str) -> str:
    """What has probably made a prediction at x_t that is not finite.

    Args:
        networks: those that predicted, by whose they are: "" or "weaker network's ".
        precision: of their products.
    """
    for whose, network in networks.items():
        if (name := first_not_finite(network.state_dict())) is not None:
            return f"the {whose}weights are no numbers, {name} first; take others, of before training diverged"
    if not is_finite(x_t) or x_t.abs().max() > VAST:
        return "x_t had grown beyond all images: take more steps, less guidance, or clip static"
    if precision == "bfloat16":
        return "a product in bfloat16 overflowed; set --compute.precision float32"
    return "a product overflowed float32; take less guidance or other weights"
