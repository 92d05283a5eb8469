"""A U-Net of diffusers to and from the settings of ours, and the shapes that its tensors must have.

diffusers' `UNet2DModel` has no stem of its own width, one middle layer, and sizes that halve evenly. A network beyond
that is written under the class name `AncestralUNet`, which diffusers will refuse by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ancestral.hub.keys import DIFFUSERS_VERSION, Json, Keys, between, is_count, shown
from ancestral.networks.unet import UNet
from ancestral.settings import MOST_CLASS_EMBEDS, NetworkSettings, parse

CLASS_EMBEDDING = "class_embedding.weight"
"""The tensor with a row for each class."""
BUILT_IN = {
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "class_embed_type": None,
}
"""Keys of diffusers that have one value here."""


@dataclass(frozen=True)
class NetworkFolder:
    """A network at rest: its settings, the images it is for, and its tensors under diffusers' names.

    `num_class_embeds`: rows of the class embedding, one of which may stand for no class; None: no classes.
    """

    settings: NetworkSettings
    in_channels: int
    out_channels: int
    height: int
    width: int
    num_class_embeds: int | None
    tensors: dict[str, Tensor] = field(repr=False)

    def with_row_moved(self, source: int, target: int) -> "NetworkFolder":
        """The same with one row of the class embedding taken out and put in elsewhere, the others in order."""
        order = [*range(self.num_class_embeds or 0)]
        order.insert(target, order.pop(source))
        return replace(self, tensors={**self.tensors, CLASS_EMBEDDING: self.tensors[CLASS_EMBEDDING][order]})


def read_network(keys: Keys) -> NetworkFolder:
    """What a network's file says, without any tensors. Raises InputError for what cannot be honoured."""
    own = keys.values.get("_class_name") == "AncestralUNet"
    settings = _own_settings(keys) if own else _unet_settings(keys)
    height, width = _size(keys)
    network = NetworkFolder(
        settings=settings,
        in_channels=keys.count("in_channels", 3, 4096),
        out_channels=keys.count("out_channels", 3, 4096),
        height=height,
        width=width,
        num_class_embeds=keys.count_or_null("num_class_embeds", None, "a whole number", MOST_CLASS_EMBEDS),
        tensors={},
    )
    keys.finish()
    return network


def expected_shapes(network: NetworkFolder) -> dict[str, list[int]]:
    """Name and shape of every tensor, from a network built without memory."""
    classes = network.num_class_embeds or 0
    with torch.device("meta"):
        built = UNet(network.settings, network.in_channels, network.out_channels, classes, null_class=False)
    return {name: list(tensor.shape) for name, tensor in built.state_dict().items()}


def is_diffusers_unet(settings: NetworkSettings, height: int, width: int) -> bool:
    """Whether diffusers' `UNet2DModel` can be this network and run images of this size."""
    halvings = 2 ** (len(settings.widths) - 1)
    own_stem = settings.stem not in (None, settings.widths[0])
    own_middle = settings.middle_layers != 1 or (settings.time_conditioning == "add" and not settings.middle_norm)
    own_ends = own_stem or settings.fourier or settings.output_rank
    return not own_ends and not own_middle and height % halvings == 0 and width % halvings == 0


def _size(keys: Keys) -> tuple[int, int]:
    def fits(value: Any) -> bool:
        sides = value if isinstance(value, list) and len(value) == 2 else [value]
        return all(is_count(side, 16_384) for side in sides)

    size: Any = keys.get("sample_size", None, "a side, or height and width, in 1..16384", fits)
    return (size[0], size[1]) if isinstance(size, list) else (size, size)


def _own_settings(keys: Keys) -> NetworkSettings:
    values = keys.get("settings", None, "the settings of the network", lambda value: isinstance(value, dict))
    settings = parse(NetworkSettings, dict(values or {}), f"settings in {keys.path}")
    largest = max(len(settings.widths), settings.layers, settings.middle_layers)
    if largest > 64 or max(*settings.widths, settings.stem or 1, settings.output_rank or 1) > 16_384:
        raise keys.fault("settings", "at most 64 levels and layers and at most 16384 channels")
    return settings


def _unet_settings(keys: Keys) -> NetworkSettings:
    """The settings of a `UNet2DModel`; a missing key means what it means in diffusers."""
    keys.only("_class_name", "UNet2DModel")
    for key, value in BUILT_IN.items():
        keys.only(key, value)
    keys.choice("act_fn", "silu", {"silu": "silu", "swish": "silu"})
    keys.asked.add("num_train_timesteps")  # used by learned time embeddings only, which are refused above
    widths = keys.get("block_out_channels", [224, 448, 672, 896], "1 to 16 widths in 1..16384", _is_widths)
    keys.get("time_embedding_dim", None, f"null or {4 * widths[0]}", lambda value: value in (None, 4 * widths[0]))
    settings: Json = {
        "widths": widths,
        "layers": keys.count("layers_per_block", 2, 64),
        "attention": _attention_levels(keys, len(widths)),
        "middle_attention": keys.flag("add_attention", True),
        "head_width": keys.count_or_null("attention_head_dim", 8, "a width", 16_384),
        "dropout": keys.get("dropout", 0.0, "a number from 0 to below 1", _is_fraction),
        "norm_groups": keys.count("norm_num_groups", 32, 16_384),
        "norm_eps": keys.number("norm_eps", 1e-5, 0.0, 1.0),
        "time_conditioning": keys.choice(
            "resnet_time_scale_shift", "default", {"default": "add", "scale_shift": "scale-shift"}
        ),
        "time_order": "cos-sin" if keys.flag("flip_sin_to_cos", True) else "sin-cos",
        "time_frequency_shift": keys.choice("freq_shift", 0, {0: 0, 1: 1}),
        "downsample_padding": keys.choice("downsample_padding", 1, {1: "even", 0: "right-bottom"}),
    }
    settings["middle_norm"] = _middle_norm(keys, settings)
    return parse(NetworkSettings, settings, str(keys.path))


def _is_widths(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= 16 and all(is_count(width, 16_384) for width in value)


def _is_fraction(value: Any) -> bool:
    return between(0.0, 1.0)(value) or (value == 0 and not isinstance(value, bool))


def _attention_levels(keys: Keys, levels: int) -> list[int]:
    """Levels of attention blocks; the way up must mirror the way down."""

    def types(key: str, default: Sequence[str], kinds: Sequence[str]) -> list[str]:
        expected = f"{levels} of {' and '.join(kinds)}"
        return keys.get(
            key,
            list(default),
            expected,
            lambda value: isinstance(value, list) and len(value) == levels and all(kind in kinds for kind in value),
        )

    down = types("down_block_types", ["DownBlock2D"] + ["AttnDownBlock2D"] * 3, ["DownBlock2D", "AttnDownBlock2D"])
    up = types("up_block_types", ["AttnUpBlock2D"] * 3 + ["UpBlock2D"], ["UpBlock2D", "AttnUpBlock2D"])
    attends = [kind == "AttnDownBlock2D" for kind in down]
    if attends != [kind == "AttnUpBlock2D" for kind in reversed(up)]:
        raise keys.fault("up_block_types", f"the mirror image of down_block_types {shown(down)}")
    return [level for level, attending in enumerate(attends) if attending]


def _middle_norm(keys: Keys, settings: Json) -> bool:
    """Whether the middle's attention is normalised: null means norm_num_groups, but with scale_shift not at all."""
    groups = settings["norm_groups"]
    if not settings["middle_attention"]:
        keys.asked.add("attn_norm_num_groups")
        return True
    given = keys.get(
        "attn_norm_num_groups", None, f"null or norm_num_groups = {groups}", lambda it: it in (groups, None)
    )
    return given is not None or settings["time_conditioning"] == "add"


def _images(network: NetworkFolder) -> Json:
    square = network.height == network.width
    return {
        "sample_size": network.height if square else [network.height, network.width],
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "num_class_embeds": network.num_class_embeds,
    }


def own_config(network: NetworkFolder) -> Json:
    """The file of a network that diffusers cannot be."""
    return {"_class_name": "AncestralUNet", **_images(network), "settings": network.settings.model_dump(mode="json")}


def unet_config(network: NetworkFolder) -> Json:
    """The file of a `UNet2DModel`."""
    settings = network.settings
    attends = [level in settings.attention for level in range(len(settings.widths))]
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": DIFFUSERS_VERSION,
        **_images(network),
        **BUILT_IN,
        "act_fn": "silu",
        "block_out_channels": list(settings.widths),
        "layers_per_block": settings.layers,
        "down_block_types": ["AttnDownBlock2D" if attending else "DownBlock2D" for attending in attends],
        "up_block_types": ["AttnUpBlock2D" if attending else "UpBlock2D" for attending in reversed(attends)],
        "add_attention": settings.middle_attention,
        "attention_head_dim": settings.head_width,
        "dropout": settings.dropout,
        "norm_num_groups": settings.norm_groups,
        "attn_norm_num_groups": settings.norm_groups if settings.middle_norm else None,
        "norm_eps": settings.norm_eps,
        "resnet_time_scale_shift": {"add": "default", "scale-shift": "scale_shift"}[settings.time_conditioning],
        "flip_sin_to_cos": settings.time_order == "cos-sin",
        "freq_shift": settings.time_frequency_shift,
        "downsample_padding": {"even": 1, "right-bottom": 0}[settings.downsample_padding],
    }
