"""Settings of what a network makes of the captions of its images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral.settings.base import Depth, Settings, Width

Vocabulary = Annotated[int, Field(ge=514, le=2**20)]  # every byte, within a word and at its end; start and end
POOL_HEADS = 4  # of the attention by which a text becomes one vector
Length = Annotated[int, Field(ge=3, le=2**14)]  # start, a token and end
Pooled = Annotated[bool, Field(exclude_if=lambda pooled: pooled)]


class TextSettings(Settings):
    """What the settings of all ways to read captions have."""

    name: str


class NoText(TextSettings):
    """Captions are not read."""

    name: Literal["none"] = "none"


class LearnedText(TextSettings):
    """A tokenizer learned from the captions that are trained on, and an encoder trained with the network."""

    name: Literal["learned"] = "learned"
    vocab_size: Vocabulary = 1024
    """Most tokens that are learned: fewer, where no pair of them stands in the captions twice."""
    length: Length = 32
    """Tokens of a caption, start and end among them; a longer one is cut (of frozen 77)."""
    width: Width = 128
    """Features of a token."""
    layers: Depth = 3
    """Layers of the text encoder, each of attention and a perceptron."""
    heads: Width = 4
    """Heads of attention in the text encoder; must divide the width."""
    lower: bool = True
    """Read captions in lower case."""
    masked: bool = False
    """Hide from the image the tokens that only fill up a caption; Stable Diffusion shows them."""
    pooled: Pooled = True
    """Add one vector of the whole text to that of time; Stable Diffusion has none."""

    @model_validator(mode="after")
    def _sizes_divide(self) -> LearnedText:
        if self.width % self.heads or (self.pooled and self.width % POOL_HEADS):
            divisors = f" and the {POOL_HEADS} heads that pool a text divide" if self.pooled else " divides"
            raise ValueError(f"expected a width that heads = {self.heads}{divisors}, got {self.width}")
        return self


class FrozenText(TextSettings):
    """A text encoder that exists already, CLIP or T5, which is never trained."""

    name: Literal["frozen"] = "frozen"
    folder: str = ""
    """Folder of transformers that holds it and its tokenizer, side by side or as text_encoder and tokenizer."""
    length: Length = 77
    """Tokens of a caption, start and end among them; a longer one is cut."""
    masked: bool = False
    """Hide from the encoder and the image the tokens that only fill up a caption; Stable Diffusion shows them."""
    pooled: Pooled = True
    """Add one vector of the whole text to that of time; Stable Diffusion has none."""

    @model_validator(mode="after")
    def _names_a_folder(self) -> FrozenText:
        if not self.folder:
            raise ValueError("expected text.folder with text.name frozen, got none; name the folder of a text encoder")
        return self


AnyText = NoText | LearnedText | FrozenText


class EncoderSpec(Settings):
    """A text encoder outside a network, which is told the states that it makes of tokens."""

    kind: str
    """Its class in transformers."""
    width: Width
    """Features of a state."""
    hash: str
    """SHA-256 of its files, its tokenizer's, and of how both are asked, in hexadecimal."""


class TextSpec(Settings):
    """The tokens that a network is told a text in: how many there are, and how many a text has. Where the network reads
    them itself, the last two of the vocabulary are start and end, and the end fills up a row."""

    vocab_size: Annotated[int, Field(ge=1, le=2**20)]
    length: Length
    encoder: Annotated[EncoderSpec | None, Field(exclude_if=lambda encoder: encoder is None)] = None
    """What reads them outside the network. None: the network's own encoder does."""

    @property
    def words(self) -> str:
        if self.encoder is not None:
            return f"{self.encoder.kind} of hash {self.encoder.hash[:16]}, {self.length} tokens of a text"
        return f"a tokenizer of {self.vocab_size} tokens, {self.length} of a text"
