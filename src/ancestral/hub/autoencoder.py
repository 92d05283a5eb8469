"""A codec to and from an autoencoder's folder of diffusers: config.json and diffusion_pytorch_model.safetensors.

Mean m and deviation s of the latents are folded into the 1x1 convolutions around them, whose weights are W and biases
b, so that a file says scaling_factor 1 and every pipeline has x0 of the scale that it has here, also one that knows no
mean. With the rows of the mean first and those of the log-variance after them, and V and c of the convolution behind:

    W' = W / s,   b' = (b - m) / s,   b'_log-variance = b_log-variance - 2 log s                                    (1)
    V' = V diag(s),   c' = c + V m,   e' = (e - m) / s for every code e                                              (2)

kl is an `AutoencoderKL` and vq a `VQModel`. So is plain an `AutoencoderKL`, of a log-variance that is the least there
is, whatever the image: what is drawn there differs from the mean by 3e-7.

Of a folder of others, the scaling_factor and the shift_factor or means and deviations beside it are those of the codec,
as Stable Diffusion XL and 3 apply them; without 1x1 convolutions there are such that change nothing. A file knows
nothing of losses: their settings are the usual ones.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ancestral.files import write_whole
from ancestral.hub.keys import DIFFUSERS_VERSION, Json, keys_of, read_named
from ancestral.hub.network import ImageKeys, SizeKey
from ancestral.hub.weights import WEIGHTS, read_tensors
from ancestral.networks.autoencoder import LOG_VARIANCES, Autoencoder
from ancestral.networks.backbone import weightless
from ancestral.networks.latents import LatentCodec, OfChannels, latent_codec
from ancestral.networks.rounding import FloatBits, in_bits
from ancestral.networks.weights import write_tensors
from ancestral.settings import AutoencoderSettings, KLSettings, PlainSettings, VQSettings, parse

CODES = "quantize.embedding.weight"
STATE = ("quantize.counts", "quantize.sums")
"""What a codebook keeps while it is trained, which is in no such file."""
_Scale = Annotated[float, Field(gt=0, le=1e6)]
_Numbers = list[Annotated[float, Field(ge=-1e6, le=1e6)]]


class _AutoencoderKeys(ImageKeys):
    """What both files have. Keys of one value may change what the network is, and have no other one here."""

    sample_size: SizeKey | Annotated[list[SizeKey], Field(min_length=2, max_length=2)] = 32
    out_channels: Annotated[int, Field(ge=1, le=4096)] = 3
    down_block_types: list[Literal["DownEncoderBlock2D"]] = Field(["DownEncoderBlock2D"])
    up_block_types: list[Literal["UpDecoderBlock2D"]] = Field(["UpDecoderBlock2D"])
    block_out_channels: list[SizeKey] = Field([64], min_length=1, max_length=16)
    layers_per_block: Annotated[int, Field(ge=1, le=64)] = 1
    act_fn: Literal["silu", "swish"] = "silu"
    latent_channels: Annotated[int, Field(ge=1, le=4096)] = 4
    norm_num_groups: SizeKey = 32
    scaling_factor: _Scale = 0.18215
    force_upcast: bool = True  # everything is computed in float32 here
    mid_block_add_attention: bool = True

    @model_validator(mode="after")
    def _fit(self) -> "_AutoencoderKeys":
        if self.in_channels != self.out_channels:
            raise ValueError(f"expected in_channels and out_channels alike, got {self.in_channels, self.out_channels}")
        if not len(self.down_block_types) == len(self.up_block_types) == len(self.block_out_channels):
            raise ValueError("expected block types as many as block_out_channels, got more or fewer")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """As ours have them."""
        return {
            "widths": self.block_out_channels,
            "channels": self.latent_channels,
            "layers": self.layers_per_block,
            "norm_groups": self.norm_num_groups,
            "middle_attention": self.mid_block_add_attention,
        }

    @property
    def statistics(self) -> tuple[OfChannels, OfChannels]:
        """Mean and deviation of the latents."""
        ones = torch.ones(self.latent_channels, dtype=torch.float64)
        return 0 * ones, ones / self.scaling_factor


class _KL(_AutoencoderKeys):
    """The file of an `AutoencoderKL`."""

    shift_factor: Annotated[float, Field(ge=-1e6, le=1e6)] | None = None
    latents_mean: _Numbers | None = None
    latents_std: list[_Scale] | None = None
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> "_KL":
        counts = {None if each is None else len(each) for each in (self.latents_mean, self.latents_std)}
        if counts not in ({None}, {self.latent_channels}):
            raise ValueError(
                "expected latents_mean and latents_std of each latent channel, or neither, got other lists"
            )
        if self.shift_factor and self.latents_mean:
            raise ValueError(
                "expected a shift_factor or latents_mean, got both, which no pipeline applies; set one null"
            )
        return self

    @property
    def statistics(self) -> tuple[OfChannels, OfChannels]:
        mean, std = super().statistics
        if self.latents_mean and self.latents_std:
            return torch.tensor(self.latents_mean).double(), std * torch.tensor(self.latents_std).double()
        return mean + (self.shift_factor or 0), std


class _VQ(_AutoencoderKeys):
    """The file of a `VQModel`."""

    latent_channels: Annotated[int, Field(ge=1, le=4096)] = 3
    num_vq_embeddings: Annotated[int, Field(ge=2, le=2**20)] = 256
    vq_embed_dim: int | None = None
    norm_type: Literal["group"] = "group"
    lookup_from_codebook: bool = False  # of a way to decode that nobody asks for here
    force_upcast: bool = False

    @model_validator(mode="after")
    def _one_width(self) -> "_VQ":
        if self.vq_embed_dim not in (None, self.latent_channels):
            raise ValueError(f"expected vq_embed_dim null or {self.latent_channels}, as latent_channels, got another")
        return self

    @property
    def settings(self) -> dict[str, Any]:
        return {**super().settings, "codes": self.num_vq_embeddings}


FORMS: dict[str, tuple[type[_AutoencoderKeys], type[AutoencoderSettings]]] = {
    "AutoencoderKL": (_KL, KLSettings),
    "VQModel": (_VQ, VQSettings),
}
"""By the name of a class there: the keys of its file, and what it is here."""


def class_of(codec: LatentCodec) -> str:
    """The class of diffusers that a codec is written as."""
    return "VQModel" if isinstance(codec.network.settings, VQSettings) else "AutoencoderKL"


def write_autoencoder(folder: Path, codec: LatentCodec, sample_size: int = 32, bits: FloatBits = 32) -> None:
    """Writes a codec as a folder of diffusers, over what stands there under the same names. `sample_size`: side of the
    images that it was trained on, px: diffusers takes it for the side of a tile, when it is asked for tiles."""
    network = codec.network
    config = {
        "_class_name": class_of(codec),
        "_diffusers_version": DIFFUSERS_VERSION,
        **_config(network, sample_size).model_dump(mode="json"),
    }
    tensors = folded(network.settings, network.state_dict(), codec.mean, codec.std)
    write_whole(folder / "config.json", json.dumps(config, indent=2, allow_nan=False) + "\n")
    write_tensors(folder / WEIGHTS, in_bits(tensors, bits))


def read_autoencoder(folder: Path) -> LatentCodec:
    """The codec in a folder of an `AutoencoderKL` or `VQModel`; its network is frozen, on the CPU, in float32."""
    path = folder / "config.json"
    name, values = read_named(path, (*FORMS,))
    form, kind = FORMS[name]
    keys = keys_of(form, values, path)
    settings = parse(kind, keys.settings, f"settings in {path}")
    tensors = _read(settings, keys, folder)
    if isinstance(settings, KLSettings) and _is_point(tensors, settings.channels):
        settings, tensors = PlainSettings(**keys.settings), _of_mean(tensors, settings.channels)
    with weightless():
        network = Autoencoder(settings, keys.in_channels)
    network.load_state_dict(tensors, assign=True)
    return latent_codec(network.eval().requires_grad_(False), *keys.statistics)


def folded(
    settings: AutoencoderSettings, tensors: Mapping[str, Tensor], mean: OfChannels, std: OfChannels
) -> dict[str, Tensor]:
    """The tensors of a file, by (1) and (2), from those of a network and the statistics of its latents."""
    state = {name: tensor.cpu() for name, tensor in tensors.items() if name not in STATE}
    z, m, s = settings.channels, mean.cpu(), std.cpu()
    assert not isinstance(settings, VQSettings) or bool((s == s[0]).all()), "codes are compared by one deviation"
    before, bias = (state[f"quant_conv.{kind}"].to(torch.float64, copy=True) for kind in ("weight", "bias"))
    behind = state["post_quant_conv.weight"].double()
    before[:z] /= s[:, None, None, None]
    bias[:z] = (bias[:z] - m) / s
    bias[z:] -= 2 * torch.log(s) if len(bias) > z else 0
    new = {
        "quant_conv.weight": before,
        "quant_conv.bias": bias,
        "post_quant_conv.weight": behind * s[None, :, None, None],
        "post_quant_conv.bias": state["post_quant_conv.bias"].double() + behind[:, :, 0, 0] @ m,
    }
    if isinstance(settings, VQSettings):
        new[CODES] = (state[CODES].double() - m) / s
    state |= {name: tensor.float() for name, tensor in new.items()}
    return _with_variance(state, z) if isinstance(settings, PlainSettings) else state


def _config(network: Autoencoder, sample_size: int) -> _AutoencoderKeys:
    settings, levels = network.settings, len(network.settings.widths)
    shared: Json = {
        "sample_size": sample_size,
        "in_channels": network.image_channels,
        "out_channels": network.image_channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(settings.widths),
        "layers_per_block": settings.layers,
        "latent_channels": settings.channels,
        "norm_num_groups": settings.norm_groups,
        "scaling_factor": 1.0,
        "mid_block_add_attention": settings.middle_attention,
    }
    return _VQ(**shared, num_vq_embeddings=settings.codes) if isinstance(settings, VQSettings) else _KL(**shared)


def _read(settings: AutoencoderSettings, keys: _AutoencoderKeys, folder: Path) -> dict[str, Tensor]:
    """All tensors of the network, those too that a file may do without."""
    with weightless():
        shapes = {name: list(each.shape) for name, each in Autoencoder(settings, keys.in_channels).state_dict().items()}
    missing = {*STATE}
    if isinstance(keys, _KL):
        used = {"quant_conv": keys.use_quant_conv, "post_quant_conv": keys.use_post_quant_conv}
        missing |= {f"{layer}.{kind}" for layer in used if not used[layer] for kind in ("weight", "bias")}
    tensors = read_tensors(folder, {name: shape for name, shape in shapes.items() if name not in missing})
    if CODES in tensors:
        tensors |= {"quantize.counts": torch.ones(len(tensors[CODES])), "quantize.sums": tensors[CODES].clone()}
    for name in shapes.keys() - tensors.keys():
        count = shapes[name][0]
        tensors[name] = torch.zeros(count) if name.endswith("bias") else torch.eye(count)[:, :, None, None]
    return tensors


def _with_variance(tensors: Mapping[str, Tensor], z: int) -> dict[str, Tensor]:
    """Those of a kl encoder whose log-variance is the least there is, from those of a plain one."""
    grown = dict(tensors)
    for name in ("encoder.conv_out.weight", "encoder.conv_out.bias", "quant_conv.bias", "quant_conv.weight"):
        grown[name] = torch.cat([tensors[name], torch.zeros_like(tensors[name])])
    grown["quant_conv.bias"][z:] = LOG_VARIANCES[0]
    grown["quant_conv.weight"] = torch.cat([grown["quant_conv.weight"]] * 2, dim=1)
    grown["quant_conv.weight"][:, z:] = 0
    return grown


def _is_point(tensors: Mapping[str, Tensor], z: int) -> bool:
    """Whether they are those that `_with_variance` makes."""
    weight, bias = tensors["quant_conv.weight"], tensors["quant_conv.bias"]
    return not weight[z:].any() and not weight[:, z:].any() and bool((bias[z:] <= LOG_VARIANCES[0]).all())


def _of_mean(tensors: Mapping[str, Tensor], z: int) -> dict[str, Tensor]:
    """Those of a plain encoder, out of which `_with_variance` makes these."""
    first = {
        name: tensors[name][:z] for name in ("encoder.conv_out.weight", "encoder.conv_out.bias", "quant_conv.bias")
    }
    return {**tensors, **first, "quant_conv.weight": tensors["quant_conv.weight"][:z, :z]}
