"""What stands between captions and a network: whatever makes of texts the rows of tokens that a network is told.

The network reads the tokens itself, by an encoder that is trained with it, or is given the states that an encoder
outside makes of them.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ancestral.condition import Condition, States, Tokens
from ancestral.settings import TextSpec

TEXT_ENCODER, TOKENIZER = "text_encoder", "tokenizer"  # parts of a pipeline's folder


@runtime_checkable
class TextReader(Protocol):
    """Makes rows of `length` tokens of texts. `name`: of the settings that ask for it."""

    name: str
    length: int

    @property
    @abstractmethod
    def spec(self) -> TextSpec:
        """What a network must know of it."""

    @property
    @abstractmethod
    def hash(self) -> str:
        """Of all that decides what a network is told of a text."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, list[str]]:
        """The parts that `write` makes of a folder, with the library and the class that open each."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is, in a few words."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Tokens:
        """(B, length) int64."""

    @abstractmethod
    def decode(self, row: Sequence[int] | Tensor) -> str:
        """The text of a row."""

    @abstractmethod
    def cut(self, texts: Iterable[str]) -> int:
        """How many of the texts have more tokens than there is room for, so that `encode` drops their end."""

    @abstractmethod
    def write(self, folder: Path, copies: Sequence[Path] = ()) -> None:
        """Writes it as parts of a folder. `copies`: folders that may hold the very same files, to be linked to."""

    def states(self, tokens: Tokens, device: torch.device) -> States | None:
        """(B, *K, length, W) what an encoder outside the network makes of tokens, on `device`; they lie where these do.
        None: the network's own encoder reads them."""
        return None

    def complete(self, condition: Condition, count: int, device: torch.device) -> Condition:
        """A condition of `count` images on a device as the network is told it there."""
        return condition
