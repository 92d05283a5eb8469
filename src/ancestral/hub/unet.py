"""A U-Net of diffusers to and from the settings of ours, and the shapes that its tensors must have.

diffusers' `UNet2DModel` has no stem of its own width, one middle layer, and sizes that halve evenly. A network beyond
that is written under the class name `AncestralUNet`, which diffusers will refuse by name.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ancestral.hub.keys import DIFFUSERS_VERSION, Json, Keys, keys_of, read_named
from ancestral.networks.backbone import build
from ancestral.settings import MOST_CLASS_EMBEDS, NetworkSettings, parse

CLASS_EMBEDDING = "class_embedding.weight"  # the tensor with a row for each class
_Size = Annotated[int, Field(ge=1, le=16_384)]
_Channels = Annotated[int, Field(ge=1, le=4096)]


class _Images(Keys):
    """The images that a network is for."""

    sample_size: _Size | Annotated[list[_Size], Field(min_length=2, max_length=2)]
    in_channels: _Channels = 3
    out_channels: _Channels = 3
    num_class_embeds: Annotated[int, Field(ge=1, le=MOST_CLASS_EMBEDS)] | None = None


class _OwnUNet(_Images):
    """The file of a network that diffusers cannot be."""

    settings: dict[str, Any]


class _UNet2D(_Images):
    """The file of a `UNet2DModel`. Keys of one value may change what the network is, and have no other one here."""

    center_input_sample: Literal[False] = False
    time_embedding_type: Literal["positional"] = "positional"
    mid_block_type: Literal["UNetMidBlock2D"] = "UNetMidBlock2D"
    mid_block_scale_factor: Annotated[int | float, Field(ge=1, le=1)] = 1
    downsample_type: Literal["conv"] = "conv"
    upsample_type: Literal["conv"] = "conv"
    class_embed_type: None = None
    act_fn: Literal["silu", "swish"] = "silu"
    block_out_channels: list[_Size] = Field([224, 448, 672, 896], min_length=1, max_length=16)
    layers_per_block: Annotated[int, Field(ge=1, le=64)] = 2
    down_block_types: list[Literal["DownBlock2D", "AttnDownBlock2D"]] = Field(
        ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]
    )
    up_block_types: list[Literal["UpBlock2D", "AttnUpBlock2D"]] = Field(
        ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]
    )
    add_attention: bool = True
    attention_head_dim: _Size | None = 8
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm_num_groups: _Size = 32
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
        return self

    @property
    def attends(self) -> list[bool]:
        """Whether each level has attention."""
        return [kind == "AttnDownBlock2D" for kind in self.down_block_types]


@dataclass(frozen=True)
class NetworkFolder:
    """A network at rest: its settings, the images it is for, and its tensors under diffusers' names."""

    settings: NetworkSettings
    in_channels: int
    out_channels: int
    height: int
    width: int
    num_class_embeds: int | None  # one of which may stand for no class; None: no classes
    tensors: dict[str, Tensor] = field(repr=False)

    def with_row_moved(self, source: int, target: int) -> "NetworkFolder":
        """The same with one row of the class embedding taken out and put in elsewhere, the others in order."""
        order = [*range(self.num_class_embeds or 0)]
        order.insert(target, order.pop(source))
        return replace(self, tensors={**self.tensors, CLASS_EMBEDDING: self.tensors[CLASS_EMBEDDING][order]})


def read_network(path: Path) -> NetworkFolder:
    """What a network's file says, without any tensors."""
    name, values = read_named(path, ("UNet2DModel", "AncestralUNet"))
    keys = keys_of(_OwnUNet, values, path) if name == "AncestralUNet" else keys_of(_UNet2D, values, path)
    ours = keys.settings if isinstance(keys, _OwnUNet) else _settings_of(keys)
    settings = parse(NetworkSettings, ours, f"settings in {path}")
    height, width = keys.sample_size if isinstance(keys.sample_size, list) else (keys.sample_size, keys.sample_size)
    return NetworkFolder(settings, keys.in_channels, keys.out_channels, height, width, keys.num_class_embeds, {})


def expected_shapes(network: NetworkFolder) -> dict[str, list[int]]:
    """Name and shape of every tensor, from a network built without memory."""
    classes = network.num_class_embeds or 0
    with torch.device("meta"):
        built = build(network.settings, network.in_channels, network.out_channels, classes, null_class=False)
    return {name: list(tensor.shape) for name, tensor in built.state_dict().items()}


def is_diffusers_unet(settings: NetworkSettings, height: int, width: int) -> bool:
    """Whether diffusers' `UNet2DModel` can be this network and run images of this size."""
    halvings = 2 ** (len(settings.widths) - 1)
    own_stem = settings.stem not in (None, settings.widths[0])
    own_middle = settings.middle_layers != 1 or (settings.time_conditioning == "add" and not settings.middle_norm)
    own_ends = own_stem or settings.fourier or settings.output_rank
    return not own_ends and not own_middle and height % halvings == 0 and width % halvings == 0


def _settings_of(unet: _UNet2D) -> Json:
    adds = unet.resnet_time_scale_shift == "default"
    normalises = adds or unet.attn_norm_num_groups is not None
    return {
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
        "downsample_padding": "even" if unet.downsample_padding else "right-bottom",
    }


def network_config(network: NetworkFolder, as_diffusers: bool) -> Json:
    """The file of a `UNet2DModel`, or of a network that diffusers cannot be."""
    settings = network.settings
    square = network.height == network.width
    images: Json = {
        "sample_size": network.height if square else [network.height, network.width],
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "num_class_embeds": network.num_class_embeds,
    }
    if not as_diffusers:
        return {"_class_name": "AncestralUNet", **images, "settings": settings.model_dump(mode="json")}
    attends = [level in settings.attention for level in range(len(settings.widths))]
    unet = _UNet2D.model_construct(
        **images,
        block_out_channels=list(settings.widths),
        layers_per_block=settings.layers,
        down_block_types=["AttnDownBlock2D" if attending else "DownBlock2D" for attending in attends],
        up_block_types=["AttnUpBlock2D" if attending else "UpBlock2D" for attending in reversed(attends)],
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
    return {"_class_name": "UNet2DModel", "_diffusers_version": DIFFUSERS_VERSION, **unet.model_dump(mode="json")}
