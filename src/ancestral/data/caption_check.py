"""What the captions of a data set say, in numbers: none, empty, the same, too long, and their words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ancestral.settings import LearnedText
from ancestral.tokenizer import Tokenizer, words_of

COMMONEST = 20  # words and repeated captions that are listed
VERY_LONG = 77  # tokens of a row of CLIP: a caption of more fits into no model that reads such rows


@dataclass(frozen=True)
class CaptionCheck:
    """Lists of names are of files, fit for printing, in their order."""

    missing: tuple[str, ...]  # of which nothing says anything, though of others something does
    empty: tuple[str, ...]  # of which it says nothing but white space
    distinct: int  # captions that differ, the empty one left out
    repeated: tuple[tuple[str, int], ...]  # the commonest of those that several images have, and how many do
    num_repeated: int  # images whose caption another one before them has
    length: int  # tokens in a row, start and end included
    cut: tuple[str, ...]  # those longer than that
    very_long: tuple[str, ...]  # those longer than `VERY_LONG`
    longest: int  # tokens of the longest, start and end included
    mean_tokens: float  # likewise, of those that say something
    vocabulary: int  # tokens that were learned from these captions to count by
    words: tuple[tuple[str, int], ...]  # the commonest, and how often they stand there
    num_words: int  # that differ
    num_once: int  # that stand there once


def check_captions(captions: Mapping[str, str | None]) -> CaptionCheck | None:
    """Of the captions by file, None where a file has none; None where no file has one."""
    said = {name: text for name, text in captions.items() if text and text.strip()}
    if all(text is None for text in captions.values()):
        return None
    usual = LearnedText()
    tokenizer = Tokenizer.learn(said.values(), usual.vocab_size, usual.length, usual.lower)
    tokens = {name: len(tokenizer.tokens(text)) + 2 for name, text in said.items()}
    words = Counter({word: n for word, n in words_of(said.values()).items() if any(map(str.isalnum, word))})
    counts = Counter(said.values())
    repeated = sorted(((text, n) for text, n in counts.items() if n > 1), key=lambda pair: (-pair[1], pair[0]))
    ranked = sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))
    return CaptionCheck(
        missing=tuple(name for name, text in captions.items() if text is None),
        empty=tuple(name for name, text in captions.items() if text is not None and not text.strip()),
        distinct=len(counts),
        repeated=tuple(repeated[:COMMONEST]),
        num_repeated=len(said) - len(counts),
        length=tokenizer.length,
        cut=tuple(name for name, count in tokens.items() if count > tokenizer.length),
        very_long=tuple(name for name, count in tokens.items() if count > VERY_LONG),
        longest=max(tokens.values(), default=0),
        mean_tokens=sum(tokens.values()) / max(1, len(tokens)),
        vocabulary=len(tokenizer),
        words=tuple(ranked[:COMMONEST]),
        num_words=len(words),
        num_once=sum(count == 1 for count in words.values()),
    )
