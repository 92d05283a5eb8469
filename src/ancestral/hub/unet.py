"""A U-Net of diffusers to and from the settings of ours.

diffusers' `UNet2DModel` has no stem of its own width, one middle layer, and sizes that halve evenly. Our tensors bear
its names.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ancestral.hub.keys import Json, keys_of
from ancestral.hub.network import Form, ImageKeys, NetworkFolder, SizeKey, with_images
from ancestral.settings import MOST_CLASS_EMBEDS, UNetSettings, parse


class _UNet2D(ImageKeys):
    """The file of a `UNet2DModel`. Keys of one value may change what the network is, and have no other one here."""

    out_channels: Annotated[int, Field(ge=1, le=4096)] = 3
    num_class_embeds: Annotated[int, Field(ge=1, le=MOST_CLASS_EMBEDS)] | None = None
    center_input_sample: Literal[False] = False
    time_embedding_type: Literal["positional"] = "positional"
    mid_block_type: Literal["UNetMidBlock2D"] = "UNetMidBlock2D"
    mid_block_scale_factor: Annotated[int | float, Field(ge=1, le=1)] = 1
    downsample_type: Literal["conv", "resnet"] = "conv"  # of levels that attend; of the others their type says it
    upsample_type: Literal["conv", "resnet"] = "conv"
    class_embed_type: None = None
    act_fn: Literal["silu", "swish"] = "silu"
    block_out_channels: list[SizeKey] = Field([224, 448, 672, 896], min_length=1, max_length=16)
    layers_per_block: Annotated[int, Field(ge=1, le=64)] = 2
    down_block_types: list[Literal["DownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"]] = Field(
        ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]
    )
    up_block_types: list[Literal["UpBlock2D", "ResnetUpsampleBlock2D", "AttnUpBlock2D"]] = Field(
        ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
    )
    add_attention: bool = True
    attention_head_dim: SizeKey | None = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm_num_groups: SizeKey = 32
    attn_norm_num_groups: int | None = None  # of the middle; None: norm_num_groups, but with scale_shift no norm
    norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    resnet_time_scale_shift: Literal["default", "scale_shift"] = "default"
    flip_sin_to_cos: bool = True
    freq_shift: Literal[0, 1] = 0
    downsample_padding: Literal[0, 1] = 1
    time_embedding_dim: int | None = Field(default=None, exclude=True)
    num_train_timesteps: Any = Field(default=None, exclude=True)  # used by learned time embeddings only

    @model_validator(mode="after")
    def _fit(self) -> "_UNet2D":
        usual = 4 * self.block_out_channels[0]
        if self.time_embedding_dim not in (None, usual):
            raise ValueError(f"expected time_embedding_dim null or {usual}, got {self.time_embedding_dim}")
        if self.add_attention and self.attn_norm_num_groups not in (None, self.norm_num_groups):
            raise ValueError("expected attn_norm_num_groups null or equal to norm_num_groups, got another")
        if len(self.down_block_types) != len(self.block_out_channels):
            raise ValueError("expected down_block_types as many as block_out_channels, got more or fewer")
        if [kind == "AttnUpBlock2D" for kind in reversed(self.up_block_types)] != self.attends:
            raise ValueError("expected up_block_types to be the mirror image of down_block_types, got another order")
        if len(self._resamplings) > 1:
            raise ValueError(
                "expected blocks, downsample_type and upsample_type of convolutions or of ResNet blocks, got both"
            )
        return self

    @property
    def attends(self) -> list[bool]:
        """Whether each level has attention."""
        return [kind == "AttnDownBlock2D" for kind in self.down_block_types]

    @property
    def resampling(self) -> Literal["convolution", "resnet"]:
        """As the settings call it, of all levels that change the resolution."""
        return "resnet" if self._resamplings == {"resnet"} else "convolution"

    @property
    def _resamplings(self) -> set[str]:
        """The kinds there are, those of the last level down and of the last up, which lead nowhere, left out."""
        of_type = {"DownBlock2D": "conv", "UpBlock2D": "conv"}
        of_type |= {"ResnetDownsampleBlock2D": "resnet", "ResnetUpsampleBlock2D": "resnet"}
        down = {of_type.get(kind, self.downsample_type) for kind in self.down_block_types[:-1]}
        return down | {of_type.get(kind, self.upsample_type) for kind in self.up_block_types[:-1]}


def is_diffusers_unet(settings: UNetSettings, height: int, width: int) -> bool:
    """Whether diffusers' `UNet2DModel` can be this network and run images of this size."""
    halvings = 2 ** (len(settings.widths) - 1)
    own_stem = {settings.stem, settings.waves} - {None, settings.widths[0]}
    own_middle = settings.middle_layers != 1 or (settings.time_conditioning == "add" and not settings.middle_norm)
    own_ends = own_stem or settings.fourier or settings.output_rank
    own_parts = own_ends or own_middle or settings.positions
    return not own_parts and height % halvings == 0 and width % halvings == 0


def _read(values: Json, path: Path) -> NetworkFolder:
    unet = keys_of(_UNet2D, values, path)
    adds = unet.resnet_time_scale_shift == "default"
    normalises = adds or unet.attn_norm_num_groups is not None
    settings = {
        "widths": unet.block_out_channels,
        "layers": unet.layers_per_block,
        "attention": [level for level, attends in enumerate(unet.attends) if attends],
        "middle_attention": unet.add_attention,
        "middle_norm": normalises or not unet.add_attention,
        "head_width": unet.attention_head_dim,
        "dropout": unet.dropout,
        "norm_groups": unet.norm_num_groups,
        "norm_eps": unet.norm_eps,
        "time_conditioning": "add" if adds else "scale-shift",
        "time_order": "cos-sin" if unet.flip_sin_to_cos else "sin-cos",
        "time_frequency_shift": unet.freq_shift,
        "downsample_padding": "even" if unet.downsample_padding or unet.resampling == "resnet" else "right-bottom",
        "resampling": unet.resampling,
    }
    return with_images(parse(UNetSettings, settings, f"settings in {path}"), unet, unet.num_class_embeds)


def _config(network: NetworkFolder) -> Json:
    settings = network.settings
    assert isinstance(settings, UNetSettings)
    attends = [level in settings.attention for level in range(len(settings.widths))]
    convolves = settings.resampling == "convolution"
    down, up = ("DownBlock2D", "UpBlock2D") if convolves else ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    unet = _UNet2D.model_construct(
        sample_size=network.sample_size,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
        num_class_embeds=network.num_class_embeds,
        block_out_channels=list(settings.widths),
        layers_per_block=settings.layers,
        down_block_types=["AttnDownBlock2D" if attending else down for attending in attends],
        up_block_types=["AttnUpBlock2D" if attending else up for attending in reversed(attends)],
        downsample_type="conv" if convolves else "resnet",
        upsample_type="conv" if convolves else "resnet",
        add_attention=settings.middle_attention,
        attention_head_dim=settings.head_width,
        dropout=settings.dropout,
        norm_num_groups=settings.norm_groups,
        attn_norm_num_groups=settings.norm_groups if settings.middle_norm else None,
        norm_eps=settings.norm_eps,
        resnet_time_scale_shift="default" if settings.time_conditioning == "add" else "scale_shift",
        flip_sin_to_cos=settings.time_order == "cos-sin",
        freq_shift=settings.time_frequency_shift,
        downsample_padding=int(settings.downsample_padding == "even"),
    )
    return unet.model_dump(mode="json")


def _fits(network: NetworkFolder) -> bool:
    settings = network.settings
    if not isinstance(settings, UNetSettings) or settings.heads or network.text:
        return False
    return is_diffusers_unet(settings, network.height, network.width)


UNET = Form("UNet2DModel", _read, _fits, _config)
