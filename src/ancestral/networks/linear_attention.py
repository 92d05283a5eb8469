"""A U-Net that attends at every level, at most of them in linear time.

On the way down and on the way up a level has two ResNet blocks and attention after the second. Features of one pixel
are normalised together, and with no other pixel's (Zhang and Sennrich 2019), g being weights:

    norm(x) = g sqrt(C) x / |x|                                                                              (1)

Attention sees a few keys and values that are weights, beside those of the pixels (Sukhbaatar et al. 2019). At some
levels and in the middle it is that of pairs. Elsewhere it is, with softmax_d over the features of a head and softmax_L
over all that is attended to (Shen et al. 2021),

    softmax_d(q) / sqrt(d) (softmax_L(k)' v)                                                                 (2)

whose inner product is d x d for any number of pixels. Two by two pixels become one of four times the features on the
way down, so sides must be multiples of the coarsest pixel.

A new network answers 0, and its branches add nothing: their last weights, g among them, start at 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.errors import InputError
from ancestral.networks.attention import Attended, Sequences, attend
from ancestral.networks.conditions import NOTHING, Embedded, Told
from ancestral.networks.interface import Backbone, inner_weights
from ancestral.networks.layers import (
    Dropout,
    Embedding,
    TimeEmbedding,
    TimeInput,
    convolution,
    enlarged,
    linear,
    sides,
    sinusoids,
    zeroed,
)
from ancestral.networks.text import TextLayer
from ancestral.settings import LinearAttentionSettings
from ancestral.tensors import Images


class PixelNorm(nn.Module):
    """(1). `silent`: g starts at 0, not at 1."""

    def __init__(self, width: int, silent: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width) if silent else torch.ones(width))

    def forward(self, x: Images) -> Images:
        return F.normalize(x, dim=1) * (self.weight * len(self.weight) ** 0.5)[:, None, None]


class PixelNormBlock(nn.Module):
    """x + silu(norm(conv(dropout(silu((1 + scale) norm(conv(x)) + shift))))), scale and shift linear in time.

    A 1x1 convolution carries x where the width changes.
    """

    def __init__(self, settings: LinearAttentionSettings, in_width: int, out_width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(in_width, out_width), PixelNorm(out_width)
        self.time_emb_proj = linear(4 * settings.num_waves, 2 * out_width)
        self.dropout = Dropout(settings.dropout)
        self.conv2, self.norm2 = convolution(out_width, out_width), PixelNorm(out_width, silent=True)
        self.conv_shortcut = convolution(in_width, out_width, 1) if in_width != out_width else nn.Identity()

    def forward(self, x: Images, time: Embedding) -> Float[Tensor, "B out H W"]:
        """(B, in_width, H, W) -> (B, out_width, H, W); `time`, (B, time width), has been through SiLU."""
        scale, shift = self.time_emb_proj(time)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(self.norm1(self.conv1(x)) * (1 + scale) + shift)
        return self.conv_shortcut(x) + F.silu(self.norm2(self.conv2(self.dropout(h))))


class MemoryAttention(nn.Module):
    """x + attention of its pixels to one another and to `memory`, of pairs where it is `full`, else (2)."""

    def __init__(self, settings: LinearAttentionSettings, width: int, full: bool) -> None:
        super().__init__()
        inner, self.heads, self.full = settings.heads * settings.head_width, settings.heads, full
        self.norm = PixelNorm(width)
        self.to_qkv = linear(width, 3 * inner, bias=False)
        self.memory = nn.Parameter(torch.empty(2, settings.memories, inner))  # keys and values
        nn.init.normal_(self.memory)
        self.to_out = zeroed(linear(inner, width)) if full else linear(inner, width)
        self.norm_out = nn.Identity() if full else PixelNorm(width, silent=True)

    def forward(self, x: Images) -> Images:
        queries, *pixels = self.to_qkv(self.norm(x).flatten(2).transpose(1, 2)).chunk(3, dim=2)
        memory = self.memory.to(queries.dtype)[:, None].expand(-1, x.shape[0], -1, -1).unbind()
        keys, values = (torch.cat(both, dim=1) for both in zip(memory, pixels, strict=True))
        seen = (attend if self.full else attend_linearly)(queries, keys, values, self.heads)
        return x + self.norm_out(self.to_out(seen).transpose(1, 2).reshape(x.shape))


def attend_linearly(queries: Sequences, keys: Attended, values: Attended, heads: int) -> Sequences:
    """(2), in time and memory that grow with L; a head has D / heads neighbouring features."""
    q, k, v = (each.reshape(*each.shape[:2], heads, -1).transpose(1, 2) for each in (queries, keys, values))
    seen = q.softmax(dim=3) @ (k.softmax(dim=2).transpose(2, 3) @ v) * q.shape[3] ** -0.5
    return seen.transpose(1, 2).flatten(2)


class _Level(nn.Module):
    """A level on one of the ways. `onward` leads to the next one, which `resizes` or has the same resolution."""

    def __init__(
        self,
        settings: LinearAttentionSettings,
        in_width: int,
        width: int,
        full: bool,
        onward: nn.Conv2d,
        resizes: bool,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(PixelNormBlock(settings, in_width, width) for _ in range(2))
        self.attention = MemoryAttention(settings, width, full)
        self.onward, self.resizes = onward, resizes


class _Down(_Level):
    def forward(self, x: Images, time: Embedding, skips: list[Tensor]) -> Float[Tensor, "B out h w"]:
        """What the next level is given; both blocks leave a skip."""
        first, second = self.resnets
        skips.append(first(x, time))
        skips.append(self.attention(second(skips[-1], time)))
        return self.onward(F.pixel_unshuffle(skips[-1], 2) if self.resizes else skips[-1])


class _Up(_Level):
    def forward(self, x: Images, time: Embedding, skips: list[Tensor]) -> Float[Tensor, "B out h w"]:
        """The same; both blocks take a skip off the end."""
        for resnet in self.resnets:
            x = resnet(torch.cat([x, skips.pop()], dim=1), time)
        x = self.attention(x)
        return self.onward(enlarged(x) if self.resizes else x)


class LinearAttentionUNet(Backbone):
    """A U-Net of (image, time, condition)."""

    def __init__(
        self, settings: LinearAttentionSettings, in_channels: int, out_channels: int, told: Told = NOTHING
    ) -> None:
        super().__init__()
        self.settings: LinearAttentionSettings = settings
        self.told = told
        widths, full, last = settings.widths, settings.full_levels, len(settings.widths) - 1
        stem, time_width = settings.stem or widths[0], 4 * settings.num_waves
        self.side_multiple = self.roll_multiple = 2**last
        self.conv_in = convolution(in_channels, stem, 7)
        self.time_embedding = TimeEmbedding(settings.num_waves, time_width, F.gelu)
        self.class_embedding = told.class_embedding(time_width)
        ends = [*enumerate(zip((stem, *widths), widths, strict=False))]  # channels above and below each level
        self.down_levels = nn.ModuleList(
            _Down(
                settings,
                above,
                above,
                level in full,
                convolution(4 * above, below, 1) if level < last else convolution(above, below),
                level < last,
            )
            for level, (above, below) in ends
        )
        self.mid_block = nn.ModuleList(
            [
                PixelNormBlock(settings, widths[-1], widths[-1]),
                MemoryAttention(settings, widths[-1], full=True),
                PixelNormBlock(settings, widths[-1], widths[-1]),
            ]
        )
        self.up_levels = nn.ModuleList(
            _Up(settings, above + below, below, level in full, convolution(below, above), level > 0)
            for level, (above, below) in reversed(ends)
        )
        self.resnet_out = PixelNormBlock(settings, 2 * stem, stem)
        self.conv_out = zeroed(convolution(stem, out_channels, 1))
        self.read_last(told, time_width)

    def forward(
        self, x: Images, time: TimeInput, condition: Condition | Embedded = NOTHING_TOLD
    ) -> Float[Tensor, "B out H W"]:
        """The network's output, (B, out_channels, H, W), for images of any H and W that the coarsest pixel divides."""
        height, width = sides(x)
        if height % self.side_multiple or width % self.side_multiple:
            raise InputError(
                f"expected sides that are multiples of the coarsest pixel, {self.side_multiple} pixels, got "
                f"{height}x{width}; take other sides, or train with fewer network.widths"
            )
        told = condition if isinstance(condition, Embedded) else self.read(condition, x)
        waves = sinusoids(time.float().expand(x.shape[0]), self.settings.num_waves, "sin-cos", frequency_shift=1)
        embedding = F.silu(told.added_to(self.time_embedding(waves)))
        x = stem = self.conv_in(x)
        skips: list[Tensor] = []
        for level in self.down_levels:
            x = level(x, embedding, skips)
        first, attention, second = self.mid_block
        x = second(attention(first(x, embedding)), embedding)
        for level in self.up_levels:
            x = level(x, embedding, skips)
        return self.conv_out(self.resnet_out(torch.cat([x, stem], dim=1), embedding))

    def blocks(self) -> list[nn.Module]:
        kinds = PixelNormBlock | MemoryAttention | TextLayer
        return [each for each in self.modules() if isinstance(each, kinds)]

    def matrices(self) -> list[str]:
        return [name for name in inner_weights(self) if not name.endswith(".memory")]
