"""A transformer of diffusers, and weights of Meta's, to and from those of ours.

diffusers' `DiTTransformer2DModel` has square images, classes and a row of no class after them, a perceptron four times
as wide as a token, and in every block a copy of what embeds time and class: copies that differ are refused. Meta's
weights have queries, keys and values in one, and the table of places.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from ancestral.errors import InputError
from ancestral.hub.keys import Json, keys_of
from ancestral.hub.network import CLASS_EMBEDDING, Form, ImageKeys, NetworkFolder, SizeKey, with_images
from ancestral.networks.dit import places
from ancestral.settings import MOST_CLASS_EMBEDS, DiTSettings

Names = tuple[tuple[str, str, str], ...]
ENDS: Names = (
    ("patches.", "pos_embed.proj.", "x_embedder.proj."),
    ("modulation.", "proj_out_1.", "final_layer.adaLN_modulation.1."),
    ("pixels.", "proj_out_2.", "final_layer.linear."),
)
"""How our names begin, diffusers' and Meta's."""
EMBEDDERS: Names = (
    ("time_embedding.linear_1.", "timestep_embedder.linear_1.", "t_embedder.mlp.0."),
    ("time_embedding.linear_2.", "timestep_embedder.linear_2.", "t_embedder.mlp.2."),
    (CLASS_EMBEDDING, "class_embedder.embedding_table.weight", "y_embedder.embedding_table.weight"),
)
"""The same; diffusers' stand in every block, under `norm1.emb`."""
IN_BLOCKS: Names = (
    ("modulation.", "norm1.linear.", "adaLN_modulation.1."),
    ("to_q.", "attn1.to_q.", "attn.to_q."),
    ("to_k.", "attn1.to_k.", "attn.to_k."),
    ("to_v.", "attn1.to_v.", "attn.to_v."),
    ("to_out.", "attn1.to_out.0.", "attn.proj."),
    ("widen.", "ff.net.0.proj.", "mlp.fc1."),
    ("narrow.", "ff.net.2.", "mlp.fc2."),
)
"""The same, behind the name of a block; Meta's queries, keys and values once they are apart."""


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
    theirs = settings.mlp_ratio == 4 and settings.time_frequency_shift == 1
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


def _stored(named: Mapping[str, Any]) -> dict[str, Any]:
    blocks = sorted({name.split(".")[1] for name in named if name.startswith("transformer_blocks.")}, key=int)
    return {theirs: each for name, each in named.items() for theirs in _names(name, blocks)}


def _names(name: str, blocks: list[str]) -> Iterator[str]:
    """diffusers' names of a tensor of ours."""
    for ours, theirs, _ in EMBEDDERS:
        if name.startswith(ours):
            yield from (f"transformer_blocks.{k}.norm1.emb.{theirs}{name.removeprefix(ours)}" for k in blocks)
            return
    yield _renamed(name, 0, 1)


def _renamed(name: str, of: int, to: int) -> str:
    """A name of the one column of the tables as that of another; as it is where it is in none."""
    blocks = ("transformer_blocks.", "transformer_blocks.", "blocks.")
    table, prefix, rest = ENDS, "", name
    if name.startswith(blocks[of]):
        number, _, rest = name.removeprefix(blocks[of]).partition(".")
        table, prefix = IN_BLOCKS, f"{blocks[to]}{number}."
    here = next((row for row in table if rest.startswith(row[of])), None)
    return name if here is None else f"{prefix}{here[to]}{rest.removeprefix(here[of])}"


def _loaded(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    ours: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        _, copied, rest = name.partition(".norm1.emb.")
        row = next((row for row in EMBEDDERS if copied and rest.startswith(row[1])), None)
        mine = _renamed(name, 1, 0) if row is None else f"{row[0]}{rest.removeprefix(row[1])}"
        if not torch.equal(ours.setdefault(mine, tensor), tensor):
            raise InputError(
                f"expected {name} in {path} to equal that of the first block, as all are copies of one, got another; "
                "take weights that were trained whole"
            )
    return ours


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
            continue
        thirds = [name.replace(".qkv.", f".to_{which}.") for which in "qkv"] if ".qkv." in name else [name]
        apart |= dict(zip(thirds, tensor.chunk(len(thirds)), strict=True))
    return {_of_meta(name): tensor for name, tensor in apart.items()}


def _of_meta(name: str) -> str:
    row = next((row for row in EMBEDDERS if name.startswith(row[2])), None)
    return _renamed(name, 2, 0) if row is None else f"{row[0]}{name.removeprefix(row[2])}"
