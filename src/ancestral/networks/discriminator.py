"""A discriminator of patches: one score for each, higher where it takes the patch for one of a real image.

Convolutions that halve the sides and see 54 pixels around each score (Isola et al. 2017, section 3.2.2). Between
them stands group normalisation: that of a batch would let the score of an image depend on the others of its batch, and
of the process that it was computed on.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.networks.layers import GroupNorm, convolution, initialised
from ancestral.tensors import Images

WIDTH = 32  # of the first level; each next one has twice as many
LEVELS = 3  # at most
GROUPS = 8
SLOPE = 0.2  # of the rectifier below 0


class PatchDiscriminator(nn.Module):
    """Scores (B, h, w) of the patches of images (B, C, H, W), whose shorter side has at least 2^levels pixels."""

    def __init__(self, image_channels: int, levels: int = LEVELS) -> None:
        super().__init__()
        widths = [WIDTH * 2**level for level in range(levels)]
        self.conv_in = halving(image_channels, WIDTH)
        self.levels = nn.ModuleList(halving(above, 2 * above) for above in widths[:-1])
        self.norms = nn.ModuleList(GroupNorm(GROUPS, wide) for wide in widths[1:])
        self.conv_mid, self.norm_mid = convolution(widths[-1], widths[-1]), GroupNorm(GROUPS, widths[-1])
        self.conv_out = convolution(widths[-1], 1)

    def forward(self, x: Images) -> Float[Tensor, "B h w"]:
        h = F.leaky_relu(self.conv_in(x), SLOPE)
        for convolve, norm in zip((*self.levels, self.conv_mid), (*self.norms, self.norm_mid), strict=True):
            h = F.leaky_relu(norm(convolve(h)), SLOPE)
        return self.conv_out(h).squeeze(1)


def levels_for(height: int, width: int) -> int:
    """As many as leave several scores along the shorter side, at least one and at most `LEVELS`."""
    return max(1, min(LEVELS, int(math.log2(min(height, width))) - 2))


def halving(in_width: int, out_width: int) -> nn.Conv2d:
    """A convolution that halves the sides, rounded down; each of its pixels sees as much of either neighbour."""
    return initialised(nn.Conv2d(in_width, out_width, 4, stride=2, padding=1))
