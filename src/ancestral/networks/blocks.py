"""ResNet blocks, self-attention, and the levels of a U-Net that are made of them."""

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor, cat, nn

from ancestral.networks import layers
from ancestral.networks.attention import attend
from ancestral.networks.layers import Embedding, GroupNorm, TimeInput, convolution, linear, zeroed
from ancestral.networks.spatial import SpatialTransformer
from ancestral.networks.text import Text
from ancestral.settings import UNetSettings
from ancestral.tensors import Images

FeatureMap = Float[Tensor, "B features H W"]


def stem_width(settings: UNetSettings) -> int:
    """Channels of the first convolution."""
    return settings.stem or settings.widths[0]


def num_waves(settings: UNetSettings) -> int:
    """How many sinusoids of time there are."""
    return settings.waves or stem_width(settings)


def time_width(settings: UNetSettings) -> int:
    """Width of the time embedding: four times that of the sinusoids (Ho et al. 2020, appendix B)."""
    return 4 * num_waves(settings)


def time_waves(settings: UNetSettings, time: TimeInput) -> Embedding:
    """The sinusoids of time, (B, how many), in the order of the settings."""
    return layers.sinusoids(time.float(), num_waves(settings), settings.time_order, settings.time_frequency_shift)


class ResnetBlock(nn.Module):
    """x + conv(dropout(silu(norm(conv(silu(norm(x))) + time)))) (Ho et al. 2020, appendix B).

    With `scale-shift`, time scales and shifts the second normalisation instead (Nichol and Dhariwal 2021, section 3).
    A 1x1 convolution carries x where the width changes. Where the resolution changes, it does so before the first
    convolution, and that of x with it (Dhariwal and Nichol 2021, section 3).
    """

    def __init__(self, settings: UNetSettings, in_width: int, out_width: int) -> None:
        super().__init__()
        self.scales = settings.time_conditioning == "scale-shift"
        self.norm1 = GroupNorm(settings.norm_groups, in_width, settings.norm_eps)
        self.conv1 = convolution(in_width, out_width)
        self.time_emb_proj = linear(time_width(settings), 2 * out_width if self.scales else out_width)
        self.norm2 = GroupNorm(settings.norm_groups, out_width, settings.norm_eps)
        self.dropout = layers.Dropout(settings.dropout)
        self.conv2 = zeroed(convolution(out_width, out_width))
        self.conv_shortcut = convolution(in_width, out_width, 1) if in_width != out_width else None

    def forward(
        self, x: Images, time: Embedding, resized: Callable[[Tensor], Tensor] | None = None
    ) -> Float[Tensor, "B out h w"]:
        """(B, in_width, H, W) -> (B, out_width, H, W); `time`, (B, time width), has been through SiLU. `resized`: what
        changes H and W; None: nothing."""
        h = self.norm1(x, activates=True)
        if resized is not None:
            h, x = resized(h), resized(x)
        h = self._with_time(self.conv1(h), time)
        h = self.conv2(self.dropout(h))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))

    def _with_time(self, h: FeatureMap, time: Embedding) -> FeatureMap:
        projected = self.time_emb_proj(time)
        if not self.scales:
            return self.norm2(h, added=projected, activates=True)
        return self.norm2(h, modulation=projected.chunk(2, dim=1), activates=True)


class Attention(nn.Module):
    """x + self-attention of its pixels, after a group normalisation or none (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, settings: UNetSettings, width: int, normalises: bool = True) -> None:
        super().__init__()
        self.heads = settings.heads or width // (settings.head_width or width)
        self.positions = settings.positions
        self.group_norm = GroupNorm(settings.norm_groups, width, settings.norm_eps) if normalises else nn.Identity()
        self.to_q, self.to_k, self.to_v = (linear(width, width) for _ in range(3))
        self.to_out = nn.Sequential(zeroed(linear(width, width)))

    def forward(self, x: Images) -> Images:
        """(B, C, H, W) -> the same shape. Of many pixels, memory grows with HW; time with (HW)^2."""
        pixels = self.group_norm(x).flatten(2).transpose(1, 2)
        if self.positions:
            pixels = layers.placed(pixels, x)
        seen = attend(self.to_q(pixels), self.to_k(pixels), self.to_v(pixels), self.heads)
        return x + self.to_out(seen).transpose(1, 2).reshape(x.shape)


def attention_or_nothing(
    settings: UNetSettings, width: int, attends: bool, text_width: int = 0, normalises: bool = True
) -> nn.Module:
    """Attention where `attends`, to a text too where that has features, else the identity, which has no parameters."""
    if attends and text_width:
        return SpatialTransformer(settings, width, text_width)
    return Attention(settings, width, normalises) if attends else nn.Identity()


def attended(attention: nn.Module, x: FeatureMap, text: Text | None) -> FeatureMap:
    """`x` after such attention."""
    return attention(x, text) if isinstance(attention, SpatialTransformer) else attention(x)


def text_width_at(settings: UNetSettings, level: int, text_width: int) -> int:
    """Features of the text that a level's attention sees; 0: it sees none."""
    return text_width if settings.cross_attention is None or level in settings.cross_attention else 0


class DownLevel(nn.Module):
    """A level on the way down: ResNet blocks, each with or without attention. `halve` leads to the level below."""

    def __init__(self, settings: UNetSettings, level: int, in_width: int, text_width: int = 0) -> None:
        super().__init__()
        width, attends = settings.widths[level], level in settings.attention
        seen = text_width_at(settings, level, text_width)
        in_widths = [in_width] + [width] * (settings.layers - 1)
        self.resnets = nn.ModuleList(ResnetBlock(settings, inner, width) for inner in in_widths)
        self.attentions = nn.ModuleList(attention_or_nothing(settings, width, attends, seen) for _ in in_widths)
        halvings = range(int(level + 1 < len(settings.widths)))
        convolves = settings.resampling == "convolution"
        self.downsamplers = nn.ModuleList(
            layers.Downsample(width, settings.downsample_padding) if convolves else ResnetBlock(settings, width, width)
            for _ in halvings
        )

    def forward(self, x: Images, time: Embedding, text: Text | None = None) -> list[Tensor]:
        """The output of every block: each is a skip for the way up."""
        outputs = []
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attended(attention, resnet(x, time), text)
            outputs.append(x)
        return outputs

    def halve(self, x: Images, time: Embedding) -> Float[Tensor, "B C h w"]:
        """The last block's output at half the resolution; the lowest level has no way to."""
        (downsample,) = self.downsamplers
        return downsample(x, time, layers.halved) if isinstance(downsample, ResnetBlock) else downsample(x)


class Middle(nn.Module):
    """The bottom of the U: a ResNet block, then pairs of attention and ResNet block."""

    def __init__(self, settings: UNetSettings, text_width: int = 0) -> None:
        super().__init__()
        width, pairs, attends = settings.widths[-1], settings.middle_layers, settings.middle_attention
        self.resnets = nn.ModuleList(ResnetBlock(settings, width, width) for _ in range(pairs + 1))
        self.attentions = nn.ModuleList(
            attention_or_nothing(settings, width, attends, text_width, settings.middle_norm) for _ in range(pairs)
        )

    def forward(self, x: Images, time: Embedding, text: Text | None = None) -> Images:
        x = self.resnets[0](x, time)
        for attention, resnet in zip(self.attentions, self.resnets[1:], strict=True):
            x = resnet(attended(attention, x, text), time)
        return x


class UpLevel(nn.Module):
    """A level on the way up: twice the resolution comes last, so that the next level's skips, met last first, fit."""

    def __init__(
        self, settings: UNetSettings, level: int, in_width: int, above_width: int, text_width: int = 0
    ) -> None:
        super().__init__()
        width, attends = settings.widths[level], level in settings.attention
        seen = text_width_at(settings, level, text_width)
        in_widths, skip_widths = [in_width] + [width] * settings.layers, [width] * settings.layers + [above_width]
        self.resnets = nn.ModuleList(
            ResnetBlock(settings, inner + skip, width) for inner, skip in zip(in_widths, skip_widths, strict=True)
        )
        self.attentions = nn.ModuleList(attention_or_nothing(settings, width, attends, seen) for _ in in_widths)
        convolves = settings.resampling == "convolution"
        self.upsamplers = nn.ModuleList(
            layers.Upsample(width) if convolves else ResnetBlock(settings, width, width) for _ in range(int(level > 0))
        )

    def forward(
        self, x: Images, skips: list[Tensor], time: Embedding, text: Text | None = None
    ) -> Float[Tensor, "B out h w"]:
        """(B, in_width, H, W) -> (B, out_width, H', W'), taking its skips off the end of `skips`."""
        for resnet, attention in zip(self.resnets, self.attentions, strict=True):
            x = attended(attention, resnet(cat([x, skips.pop()], dim=1), time), text)
        for upsample in self.upsamplers:
            if isinstance(upsample, ResnetBlock):
                x = upsample(x, time, partial(layers.enlarged, like=skips[-1]))
            else:
                x = upsample(x, skips[-1])
        return x
