"""Settings of what a network makes of the captions of its images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral.settings.base import Depth, Settings, Width

Vocabulary = Annotated[int, Field(ge=514, le=2**20)]  # every byte, within a word and at its end; start and end
POOL_HEADS = 4  # of the attention by which a text becomes one vector
Length = Annotated[int, Field(ge=3, le=2**14)]  # start, a token and end


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
    """Tokens of a caption, start and end among them; a longer one is cut."""
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

    @model_validator(mode="after")
    def _sizes_divide(self) -> LearnedText:
        if self.width % self.heads or self.width % POOL_HEADS:
            raise ValueError(
                f"expected a width that heads = {self.heads} and the {POOL_HEADS} heads that pool a text divide, got "
                f"{self.width}"
            )
        return self


AnyText = NoText | LearnedText


class TextSpec(Settings):
    """The tokens that a network is told a text in: how many there are, and how many a text has. The last two of the
    vocabulary are start and end, and the end fills up a row."""

    vocab_size: Vocabulary
    length: Length
