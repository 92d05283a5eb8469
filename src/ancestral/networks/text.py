"""What is made of a text: the states of its tokens, one vector of the whole, and attention of an image to the states.

The encoder is that of CLIP (Radford et al. 2021, section 2.4): a transformer in which a token sees those before it and
itself. A normalisation comes first in each residual branch,

    x <- x + attention(norm(x)),    x <- x + W_2 gelu(W_1 norm(x)),    gelu(h) = h sigmoid(1.702 h),

and last of all. Its tensors are named as in transformers' `CLIPTextModel`, those of the vector as in diffusers'
`TextTimeEmbedding`: attention from the mean of the states, in the text's own place, to the mean and all states.

An encoder that is not trained lies outside the network, which is given its states.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ancestral.condition import UNTOLD, Condition, Tokens
from ancestral.errors import InputError
from ancestral.networks.attention import Sequences, attend
from ancestral.networks.layers import Embedding, linear, zeroed
from ancestral.settings import POOL_HEADS, FrozenText, LearnedText, TextSettings, TextSpec
from ancestral.tensors import Data

EPS = 1e-5  # added to the variance in every normalisation
Shown = Bool[Tensor, "B M"]
Read = tuple[Float[Tensor, "B *K M W"], Bool[Tensor, "B *K M"] | None]
"""The states of the texts of a condition of as many images, and which of them are seen; None: all."""
KeysValues = tuple[Float[Tensor, "B M D"], Float[Tensor, "B M D"]]


class TextShape(NamedTuple):
    """The tokens of a text and the encoder that reads them."""

    vocab_size: int  # the last two of which are start and end, and the end fills up a row
    length: int
    width: int
    layers: int
    heads: int
    masked: bool = False  # whether what fills up a row is hidden from the image
    pooled: bool = True  # whether a network is told one vector of the whole too

    def encoder(self) -> "TextEncoder":
        return TextEncoder(self)


class StatesShape(NamedTuple):
    """The states of a text that a network is given by an encoder outside."""

    length: int
    width: int
    masked: bool = False  # whether the tokens that are none, -1, are hidden from the image
    pooled: bool = True  # whether a network is told one vector of the whole too

    def encoder(self) -> "GivenStates":
        return GivenStates(self)


def shape_of(settings: TextSettings, tokens: TextSpec | None = None) -> TextShape | StatesShape | None:
    """What the settings ask for, with the tokens that there are; None: no text."""
    if isinstance(settings, FrozenText):
        if tokens is None or tokens.encoder is None:
            raise InputError("expected the encoder with text.name frozen, which says how wide its states are, got none")
        return StatesShape(tokens.length, tokens.encoder.width, settings.masked, settings.pooled)
    if not isinstance(settings, LearnedText):
        return None
    counts, told = tokens or settings, (settings.masked, settings.pooled)
    return TextShape(counts.vocab_size, counts.length, settings.width, settings.layers, settings.heads, *told)


class Text(NamedTuple):
    """Texts as attention sees them, with the keys and values of each layer that attends to them, in their order, where
    they have been computed."""

    states: Float[Tensor, "B M W"]
    seen: Shown | None = None  # the tokens that are seen; None: all
    keys_values: tuple[KeysValues, ...] = ()


class TextEncoder(nn.Module):
    """The states of tokens: (B, M) -> (B, M, W)."""

    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        self.shape = shape
        self.text_model = TextModel(shape)

    def forward(self, tokens: Tokens) -> Float[Tensor, "B M W"]:
        return self.text_model(self.told(tokens))

    def read(self, condition: Condition, images: Data) -> Read:
        length, tokens = self.shape.length, condition.tokens
        if tokens is None:
            tokens = torch.full((images.shape[0], length), UNTOLD, device=next(self.parameters()).device)
        if tokens.shape[-1] != length:
            raise InputError(
                f"expected {length} tokens of each text, got {tokens.shape[-1]}; encode it by the tokenizer"
            )
        flat = tokens.flatten(0, -2)
        states, seen = self(flat), self.seen(flat)
        return states.reshape(*tokens.shape, -1), None if seen is None else seen.reshape(tokens.shape)

    def told(self, tokens: Tokens) -> Tokens:
        """With the tokens of the empty text in rows of -1: what is not told (Ho and Salimans 2022)."""
        empty = torch.full_like(tokens[:1], self.shape.vocab_size - 1)
        empty[:, 0] -= 1
        return torch.where(tokens < 0, empty, tokens)

    def seen(self, tokens: Tokens) -> Shown | None:
        """Which tokens an image sees: with masks none after the first end."""
        ends = (self.told(tokens) == self.shape.vocab_size - 1).long()
        return ends.cumsum(1) - ends == 0 if self.shape.masked else None

    def layers(self) -> list[nn.Module]:
        """Each of which reads what the one before it made."""
        return [each for each in self.modules() if isinstance(each, TextLayer)]


class GivenStates(nn.Module):
    """Takes the states that a condition has."""

    def __init__(self, shape: StatesShape) -> None:
        super().__init__()
        self.shape = shape

    def read(self, condition: Condition, images: Data) -> Read:
        states, wanted = condition.states, (self.shape.length, self.shape.width)
        if states is None or states.shape[-2:] != wanted:
            got = "none" if states is None else f"{(*states.shape[-2:],)}"
            raise InputError(
                f"expected states {wanted} of each text, got {got}; ask by a pipeline, which has its encoder"
            )
        if not self.shape.masked:
            return states, None
        assert condition.tokens is not None, "which of them are seen"
        return states, condition.tokens >= 0

    def layers(self) -> list[nn.Module]:
        return []


class TextModel(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        tokens, places = nn.Embedding(shape.vocab_size, shape.width), nn.Embedding(shape.length, shape.width)
        nn.init.normal_(tokens.weight, std=0.02)
        nn.init.normal_(places.weight, std=0.01)
        self.embeddings = nn.ModuleDict({"token_embedding": tokens, "position_embedding": places})
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(TextLayer(shape) for _ in range(shape.layers))})
        self.final_layer_norm = nn.LayerNorm(shape.width, EPS)

    def forward(self, tokens: Tokens) -> Float[Tensor, "B M W"]:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embeddings["token_embedding"](tokens) + self.embeddings["position_embedding"](places)
        before = places[:, None] >= places
        for layer in self.encoder["layers"].children():
            x = layer(x, before)
        return self.final_layer_norm(x)


class TextLayer(nn.Module):
    def __init__(self, shape: TextShape) -> None:
        super().__init__()
        width = shape.width
        self.self_attn = TextSelfAttention(width, shape.heads)
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width, EPS), nn.LayerNorm(width, EPS)
        self.mlp = nn.ModuleDict({"fc1": linear(width, 4 * width), "fc2": zeroed(linear(4 * width, width))})

    def forward(self, x: Sequences, before: Bool[Tensor, "L L"]) -> Sequences:
        x = x + self.self_attn(self.layer_norm1(x), before)
        h = self.mlp["fc1"](self.layer_norm2(x))
        return x + self.mlp["fc2"](h * torch.sigmoid(1.702 * h))


class TextSelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (linear(width, width) for _ in range(3))
        self.out_proj = zeroed(linear(width, width))

    def forward(self, x: Sequences, before: Bool[Tensor, "L L"]) -> Sequences:
        return self.out_proj(attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads, before))


class PooledText(nn.Module):
    """A vector of the whole text, (B, D), to be added to that of time. The last normalisation starts at 0."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(text_width, EPS), nn.LayerNorm(width, EPS)
        self.pool, self.proj = TextPool(text_width), linear(text_width, width)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, text: Text) -> Embedding:
        return self.norm2(self.proj(self.pool(self.norm1(text.states), text.seen)))


class TextPool(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(1, width))
        nn.init.normal_(self.positional_embedding, std=width**-0.5)
        self.q_proj, self.k_proj, self.v_proj = (linear(width, width) for _ in range(3))

    def forward(self, x: Sequences, seen: Shown | None) -> Embedding:
        share = torch.ones_like(x[..., :1]) if seen is None else seen[..., None].to(x.dtype)
        mean = (x * share).sum(1, keepdim=True) / share.sum(1, keepdim=True)
        whole = mean + self.positional_embedding.to(x.dtype)
        tokens = torch.cat([whole, x], dim=1)
        mask = None if seen is None else torch.cat([torch.ones_like(seen[:, :1]), seen], dim=1)[:, None, None]
        return attend(self.q_proj(whole), self.k_proj(tokens), self.v_proj(tokens), POOL_HEADS, mask)[:, 0]


class TextAttention(nn.Module):
    """Attention of the features of an image to a text. `place`: which of the keys and values of a text are its own.
    `silent`: it starts at 0."""

    def __init__(self, width: int, text_width: int, heads: int, silent: bool = False) -> None:
        super().__init__()
        self.heads, self.place = heads, 0
        self.to_q = linear(width, width, bias=False)
        self.to_k, self.to_v = (linear(text_width, width, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(zeroed(linear(width, width)) if silent else linear(width, width))

    def keys_values(self, text: Text) -> KeysValues:
        """What of a text does not depend on the image. `forward`, in which weights that were gathered for it are to
        stay, calls no method by which others are gathered."""
        return self._of(text)

    def _of(self, text: Text) -> KeysValues:
        return self.to_k(text.states), self.to_v(text.states)

    def forward(self, x: Sequences, text: Text) -> Sequences:
        """(B, L, D) -> the same shape."""
        keys, values = text.keys_values[self.place] if text.keys_values else self._of(text)
        mask = None if text.seen is None else text.seen[:, None, None]
        return self.to_out(attend(self.to_q(x), keys, values, self.heads, mask))


def text_attentions(network: nn.Module) -> list[TextAttention]:
    """Those of a network, by their place."""
    return [each for each in network.modules() if isinstance(each, TextAttention)]
