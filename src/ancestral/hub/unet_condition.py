"""A U-Net of diffusers that is told a text, `UNet2DConditionModel`, to and from the settings of ours.

There every level that attends sees the text, as the middle does, and nothing of it is masked. `attention_head_dim` is
the number of heads, or a list of one for each level. With `addition_embed_type` text, a vector of the whole is added to
that of time; Stable Diffusion's own has none. Our tensors bear its names.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ancestral.errors import InputError
from ancestral.hub.keys import Json, keys_of
from ancestral.hub.network import Form, ImageKeys, NetworkFolder, SizeKey, with_images
from ancestral.hub.text import read_shape
from ancestral.hub.unet import is_diffusers_unet
from ancestral.networks.spatial import heads_of, usual_heads
from ancestral.networks.text import TextShape
from ancestral.settings import MOST_CLASS_EMBEDS, POOL_HEADS, NetworkSettings, UNetSettings, parse
from ancestral.text_reader import TEXT_ENCODER


class _UNet2DCondition(ImageKeys):
    """The file of a `UNet2DConditionModel`. Keys of one value may change what the network is."""

    in_channels: Annotated[int, Field(ge=1, le=4096)] = 4
    out_channels: Annotated[int, Field(ge=1, le=4096)] = 4
    num_class_embeds: Annotated[int, Field(ge=1, le=MOST_CLASS_EMBEDS)] | None = None
    center_input_sample: Literal[False] = False
    flip_sin_to_cos: bool = True
    freq_shift: Literal[0, 1] = 0
    down_block_types: list[Literal["CrossAttnDownBlock2D", "DownBlock2D"]]
    mid_block_type: Literal["UNetMidBlock2DCrossAttn"] = "UNetMidBlock2DCrossAttn"
    up_block_types: list[Literal["CrossAttnUpBlock2D", "UpBlock2D"]]
    only_cross_attention: Literal[False] = False
    block_out_channels: list[SizeKey] = Field(min_length=1, max_length=16)
    layers_per_block: Annotated[int, Field(ge=1, le=64)] = 2
    downsample_padding: Literal[0, 1] = 1
    mid_block_scale_factor: Annotated[int | float, Field(ge=1, le=1)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    act_fn: Literal["silu", "swish"] = "silu"
    norm_num_groups: SizeKey = 32
    norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    cross_attention_dim: SizeKey = 1280
    transformer_layers_per_block: Literal[1] = 1
    reverse_transformer_layers_per_block: None = None
    encoder_hid_dim: None = None
    encoder_hid_dim_type: None = None
    attention_head_dim: SizeKey | list[SizeKey] = 8  # the number of heads
    num_attention_heads: None = None
    dual_cross_attention: Literal[False] = False
    use_linear_projection: Literal[False] = False
    class_embed_type: None = None
    addition_embed_type: Literal["text"] | None = None
    addition_embed_type_num_heads: SizeKey = 64
    addition_time_embed_dim: None = None
    upcast_attention: Literal[False] = False
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    resnet_skip_time_act: Literal[False] = False
    resnet_out_scale_factor: Annotated[int | float, Field(ge=1, le=1)] = 1
    time_embedding_type: Literal["positional"] = "positional"
    time_embedding_dim: None = None
    time_embedding_act_fn: None = None
    timestep_post_act: None = None
    time_cond_proj_dim: None = None
    conv_in_kernel: Literal[3] = 3
    conv_out_kernel: Literal[3] = 3
    projection_class_embeddings_input_dim: None = None
    attention_type: Literal["default"] = "default"
    class_embeddings_concat: Literal[False] = False
    mid_block_only_cross_attention: Any = None  # of another middle
    cross_attention_norm: None = None

    @model_validator(mode="after")
    def _fit(self) -> "_UNet2DCondition":
        """A list of another length is taken there without a word."""
        levels, heads = len(self.block_out_channels), self.attention_head_dim
        if len(self.down_block_types) != levels or (isinstance(heads, list) and len(heads) != levels):
            raise ValueError(
                "expected down_block_types and attention_head_dim as many as block_out_channels, got others"
            )
        if [kind == "CrossAttnUpBlock2D" for kind in reversed(self.up_block_types)] != self.attends:
            raise ValueError("expected up_block_types to be the mirror image of down_block_types, got another order")
        if self.addition_embed_type and (pools := self.addition_embed_type_num_heads) != POOL_HEADS:
            raise ValueError(f"expected addition_embed_type_num_heads {POOL_HEADS}, got {pools}")
        return self

    @property
    def heads(self) -> list[int]:
        """Of each level."""
        heads = self.attention_head_dim
        return heads if isinstance(heads, list) else [heads] * len(self.block_out_channels)

    @property
    def attends(self) -> list[bool]:
        """Whether each level has attention."""
        return [kind == "CrossAttnDownBlock2D" for kind in self.down_block_types]


def _text(values: Json, path: Path) -> TextShape:
    unet, text = keys_of(_UNet2DCondition, values, path), read_shape(path.parent.with_name(TEXT_ENCODER))
    if unet.cross_attention_dim != text.width:
        raise InputError(
            f"expected cross_attention_dim {text.width} in {path}, the width of its {TEXT_ENCODER}, got "
            f"{unet.cross_attention_dim}; copy the whole folder again"
        )
    return text._replace(pooled=unet.addition_embed_type is not None)


def _read(values: Json, path: Path) -> NetworkFolder:
    unet = keys_of(_UNet2DCondition, values, path)
    attention = [level for level, attends in enumerate(unet.attends) if attends]
    heads = _heads({(unet.block_out_channels[level], unet.heads[level]) for level in (*attention, -1)})
    if heads is None:
        raise InputError(f"expected heads of one width or of one number at all levels of {path}, got {unet.heads}")
    settings = {
        "widths": unet.block_out_channels,
        "layers": unet.layers_per_block,
        "attention": attention,
        **heads,
        "dropout": unet.dropout,
        "norm_groups": unet.norm_num_groups,
        "norm_eps": unet.norm_eps,
        "time_conditioning": "add" if unet.resnet_time_scale_shift == "default" else "scale-shift",
        "time_order": "cos-sin" if unet.flip_sin_to_cos else "sin-cos",
        "time_frequency_shift": unet.freq_shift,
        "downsample_padding": "even" if unet.downsample_padding else "right-bottom",
    }
    return with_images(parse(UNetSettings, settings, f"settings in {path}"), unet, unet.num_class_embeds)


def _heads(levels: set[tuple[int, int]]) -> dict[str, int | None] | None:
    """The settings with which levels of these widths have so many heads each; None: there are none."""
    sizes, counts = {width / count for width, count in levels}, {count for _, count in levels}
    if all(count == usual_heads(width) for width, count in levels):
        return {"head_width": None, "heads": None}
    if len(sizes) == 1 and (size := min(sizes)).is_integer():
        return {"head_width": int(size), "heads": None}
    return {"head_width": None, "heads": min(counts)} if len(counts) == 1 else None


def canonical(network: NetworkFolder) -> NetworkSettings:
    """The settings of a network as its file has them, which says some in one way that we say in several."""
    settings = network.settings
    if not isinstance(settings, UNetSettings):
        return settings
    settings = settings.model_copy(update={"attention": tuple(sorted({*settings.attention}))})
    if network.text is None or not _all_attend(settings):
        return settings
    widths = {settings.widths[level] for level in (*settings.attention, -1)}
    heads = _heads({(width, heads_of(settings, width)) for width in widths})
    return settings.model_copy(update={"cross_attention": None, **(heads or {})})


def _all_attend(settings: UNetSettings) -> bool:
    """Whether every level that attends sees the text."""
    return settings.cross_attention is None or {*settings.cross_attention} == {*settings.attention}


def _fits(network: NetworkFolder) -> bool:
    settings, text = network.settings, network.text
    if not isinstance(settings, UNetSettings) or text is None or text.masked or not settings.middle_attention:
        return False
    is_theirs = settings.resampling == "convolution" and is_diffusers_unet(settings, network.height, network.width)
    return is_theirs and _all_attend(settings)


def _config(network: NetworkFolder) -> Json:
    settings, text = network.settings, network.text
    assert isinstance(settings, UNetSettings) and text is not None
    attends = [level in settings.attention for level in range(len(settings.widths))]
    unet = _UNet2DCondition(
        sample_size=network.sample_size,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
        num_class_embeds=network.num_class_embeds,
        flip_sin_to_cos=settings.time_order == "cos-sin",
        freq_shift=settings.time_frequency_shift,
        down_block_types=["CrossAttnDownBlock2D" if attending else "DownBlock2D" for attending in attends],
        up_block_types=["CrossAttnUpBlock2D" if attending else "UpBlock2D" for attending in reversed(attends)],
        block_out_channels=list(settings.widths),
        layers_per_block=settings.layers,
        downsample_padding=1 if settings.downsample_padding == "even" else 0,
        dropout=settings.dropout,
        norm_num_groups=settings.norm_groups,
        norm_eps=settings.norm_eps,
        cross_attention_dim=text.width,
        attention_head_dim=[heads_of(settings, width) for width in settings.widths],
        addition_embed_type="text" if text.pooled else None,
        addition_embed_type_num_heads=POOL_HEADS,
        resnet_time_scale_shift="default" if settings.time_conditioning == "add" else "scale_shift",
    )
    return unet.model_dump(mode="json")


UNET_CONDITION = Form("UNet2DConditionModel", _read, _fits, _config, text=_text)
