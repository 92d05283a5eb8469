"""A transformer of diffusers, and weights of Meta's, to and from those of ours.

diffusers' `DiTTransformer2DModel` has square images, classes and a row of no class after them, a perceptron four times
as wide as a token, and in every block a copy of what embeds time and class: copies that differ are refused. Meta's
weights have queries, keys and values in one, and the table of places.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ancestral.errors import InputError
from ancestral.hub.keys import Json, keys_of
from ancestral.hub.network import Form, ImageKeys, NetworkFolder, SizeKey, with_images
from ancestral.networks.dit import places
from ancestral.settings import MOST_CLASS_EMBEDS, DiTSettings

NAMES = (
    ("patches", "pos_embed.proj", "x_embedder.proj"),
    ("time_embedding.linear_1", "transformer_blocks.*.norm1.emb.timestep_embedder.linear_1", "t_embedder.mlp.0"),
    ("time_embedding.linear_2", "transformer_blocks.*.norm1.emb.timestep_embedder.linear_2", "t_embedder.mlp.2"),
    ("class_embedding", "transformer_blocks.*.norm1.emb.class_embedder.embedding_table", "y_embedder.embedding_table"),
    ("transformer_blocks.*.modulation", "transformer_blocks.*.norm1.linear", "blocks.*.adaLN_modulation.1"),
    ("transformer_blocks.*.to_q", "transformer_blocks.*.attn1.to_q", "blocks.*.attn.q"),
    ("transformer_blocks.*.to_k", "transformer_blocks.*.attn1.to_k", "blocks.*.attn.k"),
    ("transformer_blocks.*.to_v", "transformer_blocks.*.attn1.to_v", "blocks.*.attn.v"),
    ("transformer_blocks.*.to_out", "transformer_blocks.*.attn1.to_out.0", "blocks.*.attn.proj"),
    ("transformer_blocks.*.widen", "transformer_blocks.*.ff.net.0.proj", "blocks.*.mlp.fc1"),
    ("transformer_blocks.*.narrow", "transformer_blocks.*.ff.net.2", "blocks.*.mlp.fc2"),
    ("modulation", "proj_out_1", "final_layer.adaLN_modulation.1"),
    ("pixels", "proj_out_2", "final_layer.linear"),
)
"""Of each layer, of every block where there is a star: ours, diffusers', and Meta's once q, k and v are apart."""


class _DiT2D(ImageKeys):
    """The file of a `DiTTransformer2DModel`. Keys of one value may change what the network is."""

    sample_size: SizeKey = 32
    in_channels: Annotated[int, Field(ge=1, le=4096)] = 4
    out_channels: Annotated[int, Field(ge=1, le=4096)] | None = None
    num_attention_heads: SizeKey = 16
    attention_head_dim: SizeKey = 72
    num_layers: Annotated[int, Field(ge=1, le=100)] = 28
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm_num_groups: Any = 32  # of no use there
    attention_bias: Literal[True] = True
    patch_size: Annotated[int, Field(ge=1, le=64)] = 2
    activation_fn: Literal["gelu-approximate"] = "gelu-approximate"
    num_embeds_ada_norm: Annotated[int, Field(ge=1, lt=MOST_CLASS_EMBEDS)] = 1000
    upcast_attention: Literal[False] = False
    norm_type: Literal["ada_norm_zero"] = "ada_norm_zero"
    norm_elementwise_affine: Literal[False] = False
    norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-5


def _read(values: Json, path: Path) -> NetworkFolder:
    keys = keys_of(_DiT2D, values, path)
    settings = DiTSettings(
        patch=keys.patch_size,
        width=keys.num_attention_heads * keys.attention_head_dim,
        layers=keys.num_layers,
        heads=keys.num_attention_heads,
        dropout=keys.dropout,
        norm_eps=keys.norm_eps,
        time_frequency_shift=1,
    )
    return with_images(settings, keys, keys.num_embeds_ada_norm + 1, null_is_last=True)


def _fits(network: NetworkFolder) -> bool:
    """Whether diffusers' `DiTTransformer2DModel` can be this network and run images of this size."""
    settings = network.settings
    assert isinstance(settings, DiTSettings)
    theirs = settings.mlp_ratio == 4 and settings.time_frequency_shift == 1 and network.text is None
    return theirs and network.height == network.width and (network.num_class_embeds or 0) > 1


def _config(network: NetworkFolder) -> Json:
    settings = network.settings
    assert isinstance(settings, DiTSettings)
    return _DiT2D(
        sample_size=network.height,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
        num_attention_heads=settings.heads,
        attention_head_dim=settings.width // settings.heads,
        num_layers=settings.layers,
        dropout=settings.dropout,
        patch_size=settings.patch,
        num_embeds_ada_norm=(network.num_class_embeds or 0) - 1,
        norm_eps=settings.norm_eps,
    ).model_dump(mode="json")


def _names(present: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Ours, diffusers' and Meta's of all tensors, of as many blocks as there are among the names of any of them."""
    blocks = {int(found[1]) for name in present if (found := re.search(r"blocks\.(\d+)\.", name))}
    for row, block, kind in product(NAMES, sorted(blocks), ("weight", "bias")):
        yield tuple(f"{name}.{kind}".replace("*", str(block)) for name in row)


def _stored(named: Mapping[str, Any]) -> dict[str, Any]:
    assert named.keys() <= {ours for ours, *_ in _names(named)}, "no tensor that diffusers has no name for"
    return {theirs: named[ours] for ours, theirs, _ in _names(named) if ours in named}


def _loaded(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = {}
    for ours, theirs, _ in _names(tensors):
        if theirs in tensors and not torch.equal(loaded.setdefault(ours, tensors[theirs]), tensors[theirs]):
            raise InputError(
                f"expected {theirs} in {path} to equal that of the first block, as all are copies of one, got another; "
                "take weights that were trained whole"
            )
    return loaded


DIT = Form("DiTTransformer2DModel", _read, _fits, _config, _stored, _loaded)


def from_meta(tensors: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """The state of a `DiT` (time_frequency_shift 0, norm_eps 1e-6) from Meta's of the same shape, whose table of places
    must be that of images of `side` patches."""
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name == "pos_embed":
            wanted = places(side, side, tensor.shape[-1], tensor.device)
            if tensor.shape[1:] != wanted.shape or (tensor[0].float() - wanted).abs().max() > 1e-4:
                raise InputError(f"expected pos_embed of {side}x{side} patches, got another; say the side in patches")
        elif ".qkv." in name:
            apart |= {name.replace("qkv", which): third for which, third in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            apart[name] = tensor
    ours = {theirs: ours for ours, _, theirs in _names(tensors)}
    return {ours.get(name, name): tensor for name, tensor in apart.items()}
