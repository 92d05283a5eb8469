r"""A distance of images by what a network sees in them that is never trained by it (Zhang et al. 2018, eq. 1).

Behind stage l of the network, a^l and b^l of two images, each brought to length 1 over its channels at every place:

    d(x, y) = sum_l mean_{h,w} sum_c w_lc (a^l_chw - b^l_chw)^2                                                      (1)
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.tensors import Images, PerImage

NOTHING = 1e-10  # added to a squared length: where a network answers 0, its answer stays 0 and has a gradient


class FeatureDistance(nn.Module):
    """(1) by the stages of a frozen network, each of which sees what the one before it answers."""

    def __init__(self, stages: Sequence[nn.Module], weights: Sequence[Float[Tensor, "C 1 1"]] | None = None) -> None:
        """`weights`: w_l of (1); None: all alike, so that it is the mean over stages, between 0 and 4."""
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.weights = nn.ParameterList(weights or [torch.full((1, 1, 1), 1 / len(stages)) for _ in stages])
        self.eval().requires_grad_(False)

    def forward(self, x: Images, y: Images) -> PerImage:
        """(B,), float32."""
        a, b, distance = x.float(), y.float(), torch.zeros(len(x), device=x.device)
        with torch.autocast(x.device.type, enabled=False):
            for stage, weight in zip(self.stages, self.weights, strict=True):
                a, b = stage(a), stage(b)
                distance = distance + ((unit(a) - unit(b)).square() * weight).sum(1).mean((1, 2))
        return distance


def unit(features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
    """Of length 1 over the channels at every place."""
    return features * (features.square().sum(1, keepdim=True) + NOTHING).rsqrt()
