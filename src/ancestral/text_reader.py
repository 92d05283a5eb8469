"""What stands between captions and a network: whatever makes of texts the rows of tokens that a network is told."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from ancestral.condition import Tokens
from ancestral.settings import TextSpec


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
    def write(self, folder: Path) -> None:
        """Writes it as parts of a folder, as those of a pipeline."""
