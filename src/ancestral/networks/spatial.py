"""The transformer block of a U-Net that is told a text (Rombach et al. 2022, appendix E.2.1): attention of the pixels
to one another and to the text, and a gated perceptron. Tensors are named as in diffusers' `Transformer2DModel`.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.networks.attention import Sequences, attend
from ancestral.networks.layers import GroupNorm, convolution, linear, placed, zeroed
from ancestral.networks.text import Text, TextAttention
from ancestral.settings import UNetSettings
from ancestral.tensors import Images

EPS = 1e-6  # added to the variance in the normalisation before the block; elsewhere in it 1e-5
HEAD_WIDTH = 32


def heads_of(settings: UNetSettings, width: int) -> int:
    """Heads in a block of that width."""
    if settings.head_width:
        return max(1, width // settings.head_width)
    return settings.heads or usual_heads(width)


def usual_heads(width: int) -> int:
    """Where the settings do not say: the most that are at least 32 wide and divide the width, or one."""
    return next(heads for heads in range(max(1, width // HEAD_WIDTH), 0, -1) if width % heads == 0)


class SpatialTransformer(nn.Module):
    """x + convolution(block(convolution(norm(x)))), whose last convolution starts at 0."""

    def __init__(self, settings: UNetSettings, width: int, text_width: int) -> None:
        super().__init__()
        self.positions = settings.positions
        self.norm = GroupNorm(settings.norm_groups, width, EPS)
        self.proj_in, self.proj_out = convolution(width, width, 1), zeroed(convolution(width, width, 1))
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, text_width, heads_of(settings, width))])

    def forward(self, x: Images, text: Text) -> Images:
        pixels = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        if self.positions:
            pixels = placed(pixels, x)
        for block in self.transformer_blocks:
            pixels = block(pixels, text)
        return x + self.proj_out(pixels.transpose(1, 2).reshape(x.shape))


class TransformerBlock(nn.Module):
    """Three residual branches, each behind a normalisation."""

    def __init__(self, width: int, text_width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1, self.attn2 = SelfAttention(width, heads), TextAttention(width, text_width, heads)
        self.ff = nn.ModuleDict({"net": nn.Sequential(Gated(width), nn.Identity(), linear(4 * width, width))})

    def forward(self, x: Sequences, text: Text) -> Sequences:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), text)
        return x + self.ff["net"](self.norm3(x))


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (linear(width, width, bias=False) for _ in range(3))
        self.to_out = nn.Sequential(linear(width, width))

    def forward(self, x: Sequences) -> Sequences:
        return self.to_out(attend(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class Gated(nn.Module):
    """Half of a linear layer times gelu of the other half (Shazeer 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = linear(width, 8 * width)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L _"]:
        features, gate = self.proj(x).chunk(2, dim=2)
        return features * F.gelu(gate)
