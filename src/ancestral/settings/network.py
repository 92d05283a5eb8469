"""Settings of the networks there are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral.settings.base import Depth, Fraction, PositiveFloat, Settings, Width


class NetworkSettings(Settings):
    """What the settings of all networks have."""

    name: str

    @property
    def attends_to_text(self) -> bool:
        """Whether anything would, in a network that is told a text."""
        return True


class UNetSettings(NetworkSettings):
    """The shape of the U-Net. Levels count from 0, full resolution; each next one halves it."""

    name: Literal["unet"] = "unet"
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=14)] = (64, 128, 128)
    """Channels at each level."""
    layers: Depth = 2
    """ResNet blocks at each level on the way down (one more on the way up); of dit, its blocks (8)."""
    attention: Annotated[tuple[int, ...], Field(max_length=14)] = (2,)
    """Levels that attend after every ResNet block."""
    cross_attention: Annotated[
        tuple[int, ...] | None, Field(max_length=14, exclude_if=lambda levels: levels is None)
    ] = None
    """Levels, of those that attend, whose attention sees the text too, as the middle's does. None: all of them."""
    middle_layers: Annotated[int, Field(ge=0, le=100)] = 1
    """Attention and ResNet block pairs in the middle, after its first ResNet block."""
    middle_attention: bool = True
    """Attend in the middle."""
    middle_norm: bool = True
    """Normalise what the middle attends to; published networks with scale-shift do not."""
    positions: Annotated[bool, Field(exclude_if=lambda known: not known)] = False
    """Pixels that attend know their places, by cosines over the image: for texts that say what is above what."""
    head_width: Width | None = None
    """Channels of an attention head. None: one head; of linear-attention 32."""
    heads: Annotated[Width | None, Field(exclude_if=lambda heads: heads is None)] = None
    """Attention heads at every level, however wide, in place of head_width; of dit, linear-attention everywhere (4)."""
    stem: Width | None = None
    """Channels of the first convolution. None: those of level 0."""
    waves: Annotated[Width | None, Field(exclude_if=lambda waves: waves is None)] = None
    """Sinusoids of time; its embedding is four times as wide. None: as many as channels of the first convolution."""
    dropout: Fraction = 0.0
    """Dropout inside every block."""
    norm_groups: Width = 32
    """Groups of every group normalisation; must divide every width."""
    norm_eps: PositiveFloat = 1e-5
    """Added to the variance in every normalisation; of dit before a perceptron, elsewhere 1e-6."""
    fourier: Annotated[tuple[Annotated[int, Field(ge=0, le=12)], ...], Field(max_length=13)] = ()
    """Exponents n: the network also sees sin(2^n pi x) and cos(2^n pi x) of every pixel."""
    output_rank: Width | None = None
    """Channels out of which a 1x1 convolution mixes the output: for predictions of many channels (levels)."""
    time_conditioning: Literal["add", "scale-shift"] = "add"
    """How the time embedding enters a ResNet block: added, or as scale and shift of its second normalisation."""
    time_order: Literal["sin-cos", "cos-sin"] = "sin-cos"
    """Order of the halves of the sinusoidal embedding."""
    time_frequency_shift: Literal[0, 1] = 1
    """Lowest frequency of the embedding of time: 1 / 10000 with 1, one step above it with 0."""
    downsample_padding: Literal["even", "right-bottom"] = "even"
    """Zeros around the image before a stride-2 convolution; the DDPM paper's network pads right and bottom only."""
    resampling: Annotated[
        Literal["convolution", "resnet"], Field(exclude_if=lambda resampling: resampling == "convolution")
    ] = "convolution"
    """What changes the resolution between levels: a convolution, or a ResNet block that averages or repeats pixels."""

    @model_validator(mode="after")
    def _sizes_divide(self) -> UNetSettings:
        first = self.stem or self.widths[0]
        for width in (first, *self.widths):
            if width % self.norm_groups:
                raise ValueError(f"expected widths that norm_groups = {self.norm_groups} divides, got {width}")
        if (waves := self.waves or first) % 2:
            raise ValueError(f"expected an even {'number of waves' if self.waves else 'first width'}, got {waves}")
        if self.resampling == "resnet" and self.downsample_padding != "even":
            raise ValueError("expected no downsample_padding with resampling resnet, which pads nothing")
        attends = [self.widths[level] for level in self.attention if 0 <= level < len(self.widths)]
        if len(attends) != len(self.attention):
            raise ValueError(f"expected attention levels in 0..{len(self.widths) - 1}, got {list(self.attention)}")
        if others := sorted({*(self.cross_attention or ())} - {*self.attention}):
            raise ValueError(f"expected cross_attention at levels of attention {list(self.attention)}, got {others[0]}")
        if self.middle_attention and self.middle_layers:
            attends.append(self.widths[-1])
        elif not self.middle_norm:
            raise ValueError("expected middle_norm without an attention in the middle, which is all that it is for")
        if self.positions and not attends:
            raise ValueError(
                "expected positions with attention, at a level or in the middle, got none of it: do without them"
            )
        for width in attends:
            if self.positions and width % 2:
                raise ValueError(f"expected even attended widths, for positions on two axes, got {width}")
            for name in ("head_width", "heads"):
                if (size := getattr(self, name)) and width % size:
                    raise ValueError(f"expected attended widths that {name} = {size} divides, got {width}")
        if self.heads and self.head_width:
            raise ValueError("expected head_width or heads, got both: one follows from the other")
        return self

    @property
    def attends_to_text(self) -> bool:
        levels = self.attention if self.cross_attention is None else self.cross_attention
        return bool(levels) or (self.middle_attention and self.middle_layers > 0)


class DiTSettings(NetworkSettings):
    """The shape of the transformer."""

    name: Literal["dit"] = "dit"
    patch: Annotated[int, Field(ge=1, le=64)] = 2
    """Side of a patch in pixels, which must divide height and width: half of it is four times the work."""
    width: Width = 256
    """Features of a token."""
    layers: Depth = 8
    """Blocks, each of attention and a perceptron."""
    heads: Width = 4
    """Heads of attention; must divide the width."""
    mlp_ratio: Annotated[int, Field(ge=1, le=64)] = 4
    """Width inside a perceptron, over that of a token."""
    dropout: Fraction = 0.0
    """Dropout after attention and inside the perceptrons."""
    norm_eps: PositiveFloat = 1e-6
    """Added to the variance before a perceptron: 1e-6 as published, 1e-5 in diffusers. Elsewhere it is 1e-6."""
    time_frequency_shift: Literal[0, 1] = 1
    """Lowest frequency of the embedding: 1 / 10000 with 1, as in diffusers; one step above it with 0, as published."""

    @model_validator(mode="after")
    def _sizes_divide(self) -> DiTSettings:
        if self.width % 4:
            raise ValueError(f"expected a width that 4 divides, for sines and cosines of two axes, got {self.width}")
        if self.width % self.heads:
            raise ValueError(f"expected a width that heads = {self.heads} divides, got {self.width}")
        return self


class LinearAttentionSettings(NetworkSettings):
    """The shape of the U-Net that attends at every level. Levels count from 0, full resolution; each next one halves
    it, so sides must be multiples of 2^(levels - 1)."""

    name: Literal["linear-attention"] = "linear-attention"
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=14)] = (64, 128, 256)
    """Channels below each level, and on its way up."""
    full_attention: Annotated[tuple[int, ...] | None, Field(max_length=14)] = None
    """Levels whose pixels attend to one another by pairs; others do in linear time. None: the lowest alone."""
    heads: Width = 4
    """Heads of attention at every level."""
    head_width: Width = 32
    """Channels of a head, whatever the width of the level."""
    memories: Annotated[int, Field(ge=1, le=4096)] = 4
    """Keys and values that are weights, which every attention sees beside those of the pixels."""
    stem: Width | None = None
    """Channels of the first convolution. None: those of level 0."""
    waves: Width | None = None
    """Sinusoids of time; its embedding is four times as wide. None: as many as channels of the first convolution."""
    dropout: Fraction = 0.0
    """Dropout inside every block."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> LinearAttentionSettings:
        if self.num_waves % 2:
            raise ValueError(f"expected an even number of waves, got {self.num_waves}")
        if not {*self.full_levels} <= {*range(len(self.widths))}:
            raise ValueError(
                f"expected full_attention levels in 0..{len(self.widths) - 1}, got {list(self.full_levels)}"
            )
        return self

    @property
    def attends_to_text(self) -> bool:
        return False

    @property
    def full_levels(self) -> tuple[int, ...]:
        return (len(self.widths) - 1,) if self.full_attention is None else self.full_attention

    @property
    def num_waves(self) -> int:
        return self.waves or self.stem or self.widths[0]


AnyNetwork = UNetSettings | DiTSettings | LinearAttentionSettings
