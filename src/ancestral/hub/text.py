"""The text encoder of a network as a folder of transformers' `CLIPTextModel`:

text_encoder/config.json, text_encoder/model.safetensors
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from ancestral.errors import InputError
from ancestral.files import read_json, write_whole
from ancestral.hub.keys import Json, Keys, keys_of
from ancestral.hub.weights import Shapes, read_tensors
from ancestral.networks.text import EPS, TextShape
from ancestral.networks.weights import write_tensors
from ancestral.text_reader import TEXT_ENCODER

STEM = "model"
PREFIX = f"{TEXT_ENCODER}."  # of its tensors' names in the network
INNER = "text_model."  # of their names in a file, but for those of transformers from 5 on
OF_THE_LIBRARY = frozenset({"transformers_version", "dtype", "torch_dtype", "initializer_factor", "initializer_range"})
LEGACY = (0, 2, 1)  # bos, eos and pad_token_id of old
EncoderSize = Annotated[int, Field(ge=1, le=2**20)]


class _CLIPText(Keys):
    """The file of a `CLIPTextModel`. Keys of one value may change what the network is."""

    architectures: list[Literal["CLIPTextModel"]] = Field(["CLIPTextModel"])
    model_type: Literal["clip_text_model"] = "clip_text_model"
    vocab_size: Annotated[int, Field(ge=3, le=2**20)]
    hidden_size: EncoderSize
    intermediate_size: EncoderSize
    num_hidden_layers: Annotated[int, Field(ge=1, le=100)]
    num_attention_heads: EncoderSize
    max_position_embeddings: Annotated[int, Field(ge=3, le=2**14)]
    hidden_act: Literal["quick_gelu"] = "quick_gelu"
    layer_norm_eps: Annotated[float, Field(ge=EPS, le=EPS)] = EPS
    attention_dropout: Annotated[int | float, Field(ge=0, le=0)] = 0
    dropout: Any = Field(default=None, exclude=True)  # of old; of no use there
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int
    projection_dim: Any = None  # of no use there


def encoder_config(shape: TextShape) -> Json:
    start, end = shape.vocab_size - 2, shape.vocab_size - 1
    return _CLIPText(
        architectures=["CLIPTextModel"],
        vocab_size=shape.vocab_size,
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.length,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        projection_dim=shape.width,
    ).model_dump(mode="json")


def read_shape(folder: Path) -> TextShape:
    """What the file in a text encoder's folder says; an InputError where that is no encoder of ours."""
    path = folder / "config.json"
    keys = keys_of(_CLIPText, read_json(path), path, OF_THE_LIBRARY)
    ends = (keys.bos_token_id, keys.eos_token_id, keys.pad_token_id)
    wanted = (keys.vocab_size - 2, keys.vocab_size - 1, keys.vocab_size - 1)
    # CLIP's own files have numbers of another vocabulary; they find what is pooled there, no states
    known = all(end in both for end, both in zip(ends, zip(wanted, LEGACY, strict=True), strict=True))
    if not known or keys.intermediate_size != 4 * keys.hidden_size:
        raise InputError(
            f"expected bos, eos and pad_token_id {wanted} and intermediate_size {4 * keys.hidden_size} in {path}, got "
            f"{ends} and {keys.intermediate_size}; other encoders cannot be this network's"
        )
    sizes = keys.vocab_size, keys.max_position_embeddings, keys.hidden_size, keys.num_hidden_layers
    return TextShape(*sizes, keys.num_attention_heads)


def without_encoder(named: Mapping[str, Any]) -> dict[str, Any]:
    """What bears the names of a network's tensors, but for those of its text encoder."""
    return {name: each for name, each in named.items() if not name.startswith(PREFIX)}


def of_encoder(named: Mapping[str, Any]) -> dict[str, Any]:
    """The others, as a `CLIPTextModel` names them."""
    return {name.removeprefix(PREFIX): each for name, each in named.items() if name.startswith(PREFIX)}


def write_encoder(folder: Path, shape: TextShape, tensors: Mapping[str, Tensor]) -> None:
    """Writes the encoder among a network's tensors."""
    write_whole(folder / "config.json", json.dumps(encoder_config(shape), indent=2) + "\n")
    write_tensors(folder / f"{STEM}.safetensors", of_encoder(tensors))


def read_encoder(folder: Path, shapes: Shapes) -> dict[str, Tensor]:
    """The tensors of an encoder under the names that they have in the network; shapes as `of_encoder` names them."""
    return {PREFIX + name: tensor for name, tensor in read_tensors(folder, shapes, STEM, _named).items()}


def _named(stored: str) -> str | None:
    """Old files hold the numbers 0, 1, ... of the places too."""
    name = INNER + stored.removeprefix(INNER)
    return None if name == f"{INNER}embeddings.position_ids" else name
