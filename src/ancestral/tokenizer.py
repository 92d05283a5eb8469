"""Captions as rows of token numbers, by a tokenizer that is learned from them.

How a text becomes tokens stands in `ancestral_lite.bytepairs`. The joins are learned one after the other, each of the
pair of neighbours that is commonest in the captions by then (Sennrich et al. 2016).
"""

import heapq
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ancestral.condition import Tokens
from ancestral.errors import InputError
from ancestral.files import MOST_TEXT, read_json, read_text, write_whole
from ancestral.settings import TextSpec
from ancestral.text_reader import TOKENIZER, TextReader
from ancestral_lite.bytepairs import (
    BYTES,
    END,
    HIDDEN,
    NO_SPACE,
    PRINTED,
    START,
    UNITS,
    BytePairs,
    Join,
    normal,
    parts_of,
    replaced,
    units,
    words_in,
)

END_OF_WORD = "</w>"
LEAST_LENGTH = 3  # start, a token and end
CHARACTERS = (*map(chr, PRINTED), *(chr(256 + i) for i in range(len(HIDDEN))))  # of vocab.json, for `BYTES`
FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
ONE_FILE = "tokenizer.json"
"""What newer transformers write in place of the first two, and of the last: these, and how texts become words."""
SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
UNHEEDED = ("trim_offsets", "normalized")  # of it: of places in a text, and of <|ENDOFTEXT|> in capitals


class Tokenizer(BytePairs, TextReader):
    """The tokens of captions, `length` numbers each. `joins`: pairs of tokens; the n-th makes the token 512 + n."""

    name = "learned"

    def __init__(self, joins: Sequence[Join], length: int = 32, lower: bool = True) -> None:
        if length < LEAST_LENGTH:
            raise InputError(f"expected a length of at least {LEAST_LENGTH} tokens, got {length}")
        super().__init__(joins, length, lower)

    @classmethod
    def learn(
        cls, captions: Iterable[str], vocab_size: int = 1024, length: int = 32, lower: bool = True
    ) -> "Tokenizer":
        """The tokenizer of these captions: at most `vocab_size` tokens, fewer where no pair stands there twice. It
        depends on the words and their counts alone, not on their order."""
        if vocab_size < UNITS + 2:
            raise InputError(f"expected a vocabulary of at least {UNITS + 2} tokens, got {vocab_size}")
        return cls(_joins(words_of(captions, lower), vocab_size - UNITS - 2), length, lower)

    @property
    def spec(self) -> TextSpec:
        return TextSpec(vocab_size=len(self), length=self.length)

    @property
    def parts(self) -> dict[str, list[str]]:
        return {TOKENIZER: ["transformers", "CLIPTokenizer"]}

    @property
    def words(self) -> str:
        return f"{len(self):,} tokens"

    def encode(self, texts: Sequence[str]) -> Tokens:
        """(B, length) int64: start, the tokens of a text or as many as there is room for, end, and end to the last."""
        return torch.tensor(self.rows(texts), dtype=torch.int64).reshape(len(texts), self.length)

    def pieces(self, text: str) -> list[str]:
        """The same as they stand in vocab.json."""
        return [self.vocabulary[number] for number in self.tokens(text)]

    def decode(self, row: Sequence[int] | Tensor) -> str:
        """The text of a row of tokens, its words apart; what is no UTF-8, as where a text was cut, is U+FFFD."""
        content = b"".join(self._bytes[int(number)] for number in row)
        return content.decode("utf-8", "replace").strip(" ")

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """All tokens, as they stand in vocab.json."""
        tokens = [*CHARACTERS, *(character + END_OF_WORD for character in CHARACTERS)]
        for left, right in self.joins:
            tokens.append(tokens[left] + tokens[right])
        return (*tokens, START, END)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all that decides how texts are encoded, in hexadecimal."""
        return sha256(json.dumps([self.joins, self.length, self.lower]).encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Writes CLIP's four files, which transformers' CLIPTokenizer reads; that one lower-cases whatever they say."""
        words, special = self.vocabulary, {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
        about: dict[str, Any] = {"tokenizer_class": "CLIPTokenizer", "model_max_length": self.length, **special}
        about |= {"do_lower_case": self.lower, "errors": "replace"}
        merges = "".join(f"{words[left]} {words[right]}\n" for left, right in self.joins)
        vocabulary = json.dumps({word: number for number, word in enumerate(words)}, ensure_ascii=False)
        contents = (vocabulary, f"#version: 0.2\n{merges}", json.dumps(about, indent=2), json.dumps(special, indent=2))
        for name, content in zip(FILES, contents, strict=True):
            write_whole(folder / name, content)

    def write(self, folder: Path, copies: Sequence[Path] = ()) -> None:
        self.save(folder / TOKENIZER)

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """The tokenizer of such files, ours, CLIP's own or `ONE_FILE`; an InputError for any other."""
        about, words, one = read_json(folder / FILES[2]), folder / FILES[0], folder / ONE_FILE
        length, lower = about.get("model_max_length"), about.get("do_lower_case", True)
        kinds = about.get("tokenizer_class", "CLIPTokenizer"), about.get("pad_token", END)
        said = kinds in {("CLIPTokenizer", END), ("CLIPTokenizerFast", END)}
        if not said or type(length) is not int or not LEAST_LENGTH <= length <= MOST_TEXT or type(lower) is not bool:
            raise InputError(
                f"expected a CLIPTokenizer with a model_max_length, padded with {END}, in {folder / FILES[2]}, got "
                "another; choose the folder of one"
            )
        if one.exists() and not words.exists():
            words, (there, joins) = one, _read_one_file(one, lower)
        else:
            there, joins = read_json(words), _read_joins(folder / FILES[1])
        found = cls(joins, length, lower)
        if there != {word: number for number, word in enumerate(found.vocabulary)}:
            raise InputError(f"expected {words} to list the tokens that its joins make, got others; copy it again")
        return found

    @cached_property
    def _bytes(self) -> list[bytes]:
        """What each token stands for; a space after words, nothing for start and end."""
        found = [bytes([byte]) for byte in BYTES]
        found += [byte + b" " for byte in found]
        for left, right in self.joins:
            found.append(found[left] + found[right])
        return [*found, b"", b""]


def words_of(captions: Iterable[str], lower: bool = True) -> Counter[str]:
    """The words of captions, as they are tokenised, and how often each stands there."""
    stretches: Counter[str] = Counter()
    for caption in captions:
        for _, part in parts_of(caption):
            stretches.update(NO_SPACE.findall(normal(part, lower)))
    words: Counter[str] = Counter()
    for stretch, count in stretches.items():
        for word in words_in(stretch):
            words[word] += count
    return words


def _joins(words: Counter[str], most: int) -> list[Join]:
    """At most `most` joins, each of the commonest pair by then; of several the lowest, and none that stands once."""
    spelled = [(units(word), count) for word, count in sorted(words.items())]
    counts: Counter[Join] = Counter()
    places: defaultdict[Join, set[int]] = defaultdict(set)
    for place, (numbers, count) in enumerate(spelled):
        for pair in pairwise(numbers):
            counts[pair] += count
            places[pair].add(place)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    joins: list[Join] = []
    while queue and len(joins) < most:
        count, best = heapq.heappop(queue)
        if -count != counts[best]:  # it has become rarer since
            heapq.heappush(queue, (-counts[best], best))
            continue
        if -count < 2:
            break
        made, changed = UNITS + len(joins), set[Join]()
        joins.append(best)
        for place in places.pop(best):
            numbers, count = spelled[place]
            after = replaced(numbers, best, made)
            spelled[place] = after, count
            for pair in pairwise(numbers):
                counts[pair] -= count
            for pair in pairwise(after):
                counts[pair] += count
                if made in pair:
                    places[pair].add(place)
                    changed.add(pair)
        for pair in changed:
            heapq.heappush(queue, (-counts[pair], pair))
    return joins


def _read_one_file(path: Path, lower: bool) -> tuple[Any, list[Join]]:
    """The vocabulary and the joins in `ONE_FILE`, where all else in it is as CLIP has it."""
    values = read_json(path)
    model = values["model"] = dict(values["model"]) if isinstance(values.get("model"), dict) else {}
    vocabulary, merges = model.pop("vocab", None), model.pop("merges", None)
    merges = merges if isinstance(merges, list) else []
    for name, usual in _usual(UNITS + len(merges), lower).items():
        if _plain(values.get(name)) not in usual:
            raise InputError(f"expected the {name} of a CLIPTokenizer in {path}, got another; choose the folder of one")
    lines = [" ".join(map(str, each)) if isinstance(each, list) else str(each) for each in merges]
    return vocabulary, _joins_in(lines, path)


def _usual(start: int, lower: bool) -> dict[str, list[Any]]:
    """What `_plain` leaves of the branches of `ONE_FILE`, all that they may be."""
    specials = {START: start, END: start + 1}
    normalizers = [{"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}]
    patterns = (SPLIT, rf"<\|startoftext\|>|<\|endoftext\|>|{SPLIT}")
    split = [{"type": "Split", "pattern": {"Regex": each}, "behavior": "Removed", "invert": True} for each in patterns]
    return {
        "added_tokens": [[{"id": number, "content": word, "special": True} for word, number in specials.items()]],
        "normalizer": [{"type": "Sequence", "normalizers": normalizers + [{"type": "Lowercase"}] * lower}],
        "pre_tokenizer": [{"type": "Sequence", "pretokenizers": [each, {"type": "ByteLevel"}]} for each in split],
        "post_processor": [{"type": "RobertaProcessing", "sep": [END, start + 1], "cls": [START, start]}],
        "model": [{"type": "BPE", "unk_token": END, "end_of_word_suffix": END_OF_WORD}],
    }


def _plain(tree: Any) -> Any:
    """JSON without the keys that change no token, as they are or at all."""
    if isinstance(tree, list):
        return [_plain(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    heeded = {key: value for key, value in tree.items() if key not in UNHEEDED and (key, value) != ("use_regex", True)}
    return {key: _plain(value) for key, value in heeded.items() if value or key == "use_regex"}


def _read_joins(path: Path) -> list[Join]:
    """The pairs in merges.txt, by the numbers of their tokens."""
    first, *lines = read_text(path).split("\n")
    if not first.startswith("#version"):
        raise InputError(
            f"expected {path} to begin with #version: 0.2, got {first[:40]!r}; choose that of a CLIPTokenizer"
        )
    return _joins_in([line for line in lines if line], path)


def _joins_in(lines: Sequence[str], path: Path) -> list[Join]:
    units = [*CHARACTERS, *(character + END_OF_WORD for character in CHARACTERS)]
    number = {unit: i for i, unit in enumerate(units)}
    joins: list[Join] = []
    for i, line in enumerate(lines, 1):
        left, _, right = line.partition(" ")
        if left not in number or right not in number or left + right in number:
            raise InputError(
                f"expected two tokens known by then in join {i} of {path}, got {line[:40]!r}; copy it again"
            )
        joins.append((number[left], number[right]))
        number[left + right] = len(number)
    return joins
