"""A transformer on the patches of an image, DiT (Peebles and Xie 2023), in place of a U-Net.

The image is cut into patches of p x p pixels. Each is a token of D features, to which its place is added in sines and
cosines. What is told, time and class, is embedded in one vector c. A block is self-attention and then a perceptron,
each behind a normalisation without weights of its own:

    x <- x + gate_1 attention((1 + scale_1) norm(x) + shift_1)      (1)
    x <- x + gate_2 perceptron((1 + scale_2) norm(x) + shift_2)     (2)

and all six are linear in silu(c), by weights that start at 0 (adaLN-zero). So a new block is the identity; the last
layer starts at 0 too, and a new network answers 0. Between the two a block of a network that is told a text attends to
it, x <- x + attention(norm(x), text), by a last layer that starts at 0 (Chen et al. 2023, PixArt).

The table of places is made for the size at hand, so any height and width that p divides will do.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.errors import InputError
from ancestral.networks.attention import Sequences, attend
from ancestral.networks.conditions import NOTHING, Embedded, Told
from ancestral.networks.interface import Backbone
from ancestral.networks.layers import (
    Dropout,
    Embedding,
    Extent,
    TimeEmbedding,
    TimeInput,
    linear,
    sides,
    sinusoids,
    zeroed,
)
from ancestral.networks.text import Text, TextAttention, text_attentions
from ancestral.settings import DiTSettings
from ancestral.tensors import Images

WAVES = 256  # numbers in the sinusoids of time
NORM_EPS = 1e-6  # of all normalisations but those before a perceptron


class DiTBlock(nn.Module):
    """Equations (1) and (2)."""

    def __init__(self, settings: DiTSettings, text_width: int = 0) -> None:
        super().__init__()
        width, self.heads, self.norm_eps = settings.width, settings.heads, settings.norm_eps
        self.modulation = zeroed(linear(width, 6 * width))
        self.to_q, self.to_k, self.to_v, self.to_out = (linear(width, width) for _ in range(4))
        self.attn2 = TextAttention(width, text_width, settings.heads, silent=True) if text_width else None
        self.widen, self.narrow = linear(width, settings.mlp_ratio * width), linear(settings.mlp_ratio * width, width)
        self.dropout = Dropout(settings.dropout)

    def forward(self, x: Sequences, told: Embedding, text: Text | None = None) -> Sequences:
        """(B, L, D) -> the same shape; `told`, (B, D), has been through SiLU."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.modulation(told)[:, None].chunk(6, dim=2)
        x = x + gate_1 * self._attention(normed(x, NORM_EPS) * (1 + scale_1) + shift_1)
        if self.attn2 is not None and text is not None:
            x = x + self.attn2(normed(x, NORM_EPS), text)
        return x + gate_2 * self._perceptron(normed(x, self.norm_eps) * (1 + scale_2) + shift_2)

    def _attention(self, x: Sequences) -> Sequences:
        return self.dropout(self.to_out(attend(self.to_q(x), self.to_k(x), self.to_v(x), self.heads)))

    def _perceptron(self, x: Sequences) -> Sequences:
        return self.narrow(self.dropout(F.gelu(self.widen(x), approximate="tanh")))


class DiT(Backbone):
    """A transformer of (image, time, condition)."""

    def __init__(
        self,
        settings: DiTSettings,
        in_channels: int,
        out_channels: int,
        told: Told = NOTHING,
    ) -> None:
        super().__init__()
        self.settings: DiTSettings = settings
        self.told = told
        width, self.side_multiple = settings.width, settings.patch
        self.patches = nn.Conv2d(in_channels, width, settings.patch, settings.patch)
        nn.init.xavier_uniform_(self.patches.weight.data.flatten(1))  # of a linear layer, which it is
        nn.init.zeros_(cast(Tensor, self.patches.bias))
        self.time_embedding = TimeEmbedding(WAVES, width)
        self.class_embedding = told.class_embedding(width)
        self.transformer_blocks = nn.ModuleList(DiTBlock(settings, told.text_width) for _ in range(settings.layers))
        self.modulation = zeroed(linear(width, 2 * width))
        self.pixels = zeroed(linear(width, settings.patch**2 * out_channels))
        self.read_last(told, width)

    def forward(
        self, x: Images, time: TimeInput, condition: Condition | Embedded = NOTHING_TOLD
    ) -> Float[Tensor, "B out H W"]:
        """The network's output, (B, out_channels, H, W), for images of any H and W that the patch divides."""
        patch, (height, width) = self.side_multiple, sides(x)
        if height % patch or width % patch:
            raise InputError(
                f"expected sides that are multiples of the patch, {patch} pixels, got {height}x{width}; take other "
                "sides, or train with another network.patch"
            )
        told = condition if isinstance(condition, Embedded) else self.read(condition, x)
        grid, embedding = (height // patch, width // patch), F.silu(self._embedding(time.expand(x.shape[0]), told))
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = tokens + places(*grid, self.settings.width, x.device).to(tokens.dtype)
        for block in self.transformer_blocks:
            tokens = block(tokens, embedding, told.text)
        shift, scale = self.modulation(embedding)[:, None].chunk(2, dim=2)
        pixels = self.pixels(normed(tokens, NORM_EPS) * (1 + scale) + shift)
        apart = pixels.reshape(x.shape[0], *grid, patch, patch, -1)  # (B, rows, columns, p, p, out)
        return apart.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def blocks(self) -> list[nn.Module]:
        layers = self.text_encoder.layers() if self.text_encoder else []
        return [*text_attentions(self), *self.transformer_blocks, *layers]

    def matrices(self) -> list[str]:
        inner = ("transformer_blocks.", "text_encoder.text_model.encoder.")
        return [name for name, weight in self.named_parameters() if weight.ndim > 1 and name.startswith(inner)]

    def _embedding(self, time: TimeInput, told: Embedded) -> Embedding:
        shift = self.settings.time_frequency_shift
        embedding = self.time_embedding(sinusoids(time.float(), WAVES, "cos-sin", shift))
        return told.added_to(embedding)


def places(rows: Extent, columns: Extent, width: int, device: torch.device) -> Float[Tensor, "L D"]:
    """Where each patch lies, row after row: the sinusoids of its column, then those of its row."""
    counted = (torch.arange(n, dtype=torch.float32, device=device) for n in (rows, columns))
    down, along = (sinusoids(numbers, width // 2, "sin-cos", frequency_shift=0) for numbers in counted)
    return torch.cat([along.expand(rows, -1, -1), down[:, None].expand(-1, columns, -1)], dim=2).flatten(0, 1)


def normed(x: Sequences, eps: float) -> Sequences:
    """Each token with mean 0 and variance 1 (Ba et al. 2016)."""
    return F.layer_norm(x, [int(x.shape[-1])], eps=eps)  # a plain number, where the call is traced too
