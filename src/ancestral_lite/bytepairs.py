"""Texts as rows of token numbers: byte-level byte-pair encoding as CLIP has it (Sennrich et al. 2016; Radford et al.
2021).

A text is brought into one form (NFC, white space collapsed, lower case) and split into words: contractions, stretches
of letters, single digits, stretches of anything else. A word is its bytes, the last of them marked as its end, so there
is no word that cannot be written. Then neighbours are joined, in the order in which the joins were learned. Numbers of
tokens are those of CLIP's vocab.json:

    0 .. 255  a byte     256 .. 511  a byte that ends a word     512 ..  joins, in order     last two  start and end
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

START, END = "<|startoftext|>", "<|endoftext|>"
UNITS = 512  # tokens of one byte
SPECIAL = re.compile("|".join(map(re.escape, (START, END))))
SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's White_Space; \s of `re` has more
NO_SPACE = re.compile(f"[^{SPACE}]+")
CONTRACTION = re.compile("'(?:s|t|re|ve|m|ll|d)")
PRINTED = (*range(33, 127), *range(161, 173), *range(174, 256))  # bytes that stand for themselves as characters
HIDDEN = tuple(byte for byte in range(256) if byte not in PRINTED)  # those that stand as characters from 256 on
BYTES = (*PRINTED, *HIDDEN)
NUMBER = {byte: number for number, byte in enumerate(BYTES)}
CACHED = 2**15  # words whose tokens are kept
LONGEST_CACHED = 64  # characters
Join = tuple[int, int]


class BytePairs:
    """The tokens of texts, `length` numbers each. `joins`: pairs of tokens; the n-th makes the token 512 + n."""

    def __init__(self, joins: Iterable[Join], length: int, lower: bool) -> None:
        self.joins, self.length, self.lower = tuple(joins), length, lower
        self._made = {pair: UNITS + i for i, pair in enumerate(self.joins)}
        self._cached = lru_cache(CACHED)(self._tokens_of)

    def __len__(self) -> int:
        """How many tokens there are."""
        return UNITS + len(self.joins) + 2

    @property
    def start(self) -> int:
        return len(self) - 2

    @property
    def end(self) -> int:
        """The number of <|endoftext|>, which ends a text and fills up its row; the largest of all."""
        return len(self) - 1

    def rows(self, texts: Iterable[str]) -> list[list[int]]:
        """Of each text start, its tokens or as many as there is room for, end, and end to the last."""
        rows = []
        for text in texts:
            row = [self.start, *self.tokens(text)[: self.length - 2], self.end]
            rows.append(row + [self.end] * (self.length - len(row)))
        return rows

    def tokens(self, text: str) -> list[int]:
        """All tokens of a text, without start and end; where it says <|startoftext|> or <|endoftext|> it has those."""
        numbers: list[int] = []
        for special, part in parts_of(text):
            if special:
                numbers.append(self.start if special == START else self.end)
            for word in NO_SPACE.findall(normal(part, self.lower)):
                numbers += self._cached(word) if len(word) <= LONGEST_CACHED else self._tokens_of(word)
        return numbers

    def cut(self, texts: Iterable[str]) -> int:
        """How many of the texts have more tokens than there is room for, so that their end is dropped."""
        return sum(len(self.tokens(text)) > self.length - 2 for text in texts)

    def _tokens_of(self, stretch: str) -> list[int]:
        """Of a stretch without white space."""
        return [number for word in words_in(stretch) for number in self._joined(units(word))]

    def _joined(self, numbers: list[int]) -> list[int]:
        """The units of a word after all joins, at each step the earliest one that applies, wherever it does."""
        made = self._made
        while len(numbers) > 1:
            join = min((made[pair] for pair in pairwise(numbers) if pair in made), default=None)
            if join is None:
                break
            numbers = replaced(numbers, self.joins[join - UNITS], join)
        return numbers


def parts_of(text: str) -> Iterator[tuple[str, str]]:
    """A text as (special token or "", what follows it)."""
    if "<|" not in text:
        yield "", text
        return
    yield from zip(["", *SPECIAL.findall(text)], SPECIAL.split(text), strict=True)


def normal(text: str, lower: bool) -> str:
    """NFC, and in lower case character by character: a sigma at the end of a word is like any other."""
    text = text if text.isascii() else unicodedata.normalize("NFC", text)
    return text.replace("Σ", "σ").lower() if lower else text


def words_in(stretch: str) -> Iterator[str]:
    """The words in a stretch without white space: '(?:s|t|re|ve|m|ll|d)|[letters]+|[number]|[other]+, the first that
    matches."""
    start = 0
    while start < len(stretch):
        if found := CONTRACTION.match(stretch, start):
            stop = found.end()
        else:
            kind, stop = _kind(stretch[start]), start + 1
            while kind != "N" and stop < len(stretch) and _kind(stretch[stop]) == kind:
                stop += 1
        yield stretch[start:stop]
        start = stop


def units(word: str) -> list[int]:
    """The bytes of a word as tokens; half a surrogate pair, which JSON can say, is its three bytes."""
    numbers = [NUMBER[byte] for byte in word.encode("utf-8", "surrogatepass")]
    numbers[-1] += len(BYTES)
    return numbers


def replaced(numbers: Sequence[int], pair: Join, by: int) -> list[int]:
    """`by` in place of each `pair`, from the left."""
    found: list[int] = []
    at, (left, right) = 0, pair
    while at < len(numbers):
        if numbers[at] == left and at + 1 < len(numbers) and numbers[at + 1] == right:
            found.append(by)
            at += 2
        else:
            found.append(numbers[at])
            at += 1
    return found


def _kind(character: str) -> str:
    """L for letters, N for numbers, of any script; "" for anything else."""
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else ""
