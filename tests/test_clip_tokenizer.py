"""The files of our tokenizer, read by transformers' CLIPTokenizer, give the same numbers.

Loading transformers takes seconds, so all that needs it is here. Texts may differ in characters that one side's tables
of Unicode are too old to know, and nowhere else.
"""

import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ancestral.errors import InputError
from ancestral.tokenizer import Tokenizer

transformers = pytest.importorskip("transformers")

LENGTH = 24
CAPTIONS = [f"a {size} {colour} {shape}'s 1{i}" for i, size in enumerate(("small", "large")) for colour in
            ("red", "blue", "green") for shape in ("circle", "square", "ünïcode 🐕‍🦺")]  # fmt: skip
NASTY = [
    *("", " ", "\t\n a \r\n b", "A RED Fox's 12 don'ts", "it's 'S 'ſ 's", "!!'s ''ve '''ll 'd 'RE", "1,234.56e-7"),
    *("e\u0301 é ñ Å \u212b ﬁ", "ΑΣ ΟΔΥΣΣΕΥΣ σ", "İstanbul ı", "🐕‍🦺 👩🏽‍🚀 ❤️", "\u200b\u200d\ufeff a", "ǅ ß ẞ SS"),
    *("\x00\x01\x1c\x1d\x1e\x1f \x7f \x85 \xa0 \xad", "x" * 10_000, "Ünïcödé " * 1_250, "一二三 ١٢٣ ⅷ ½ ²"),
    *("a\u0300\u0301\u0302", "<|endoftext|>", "a <|startoftext|>b<|endoftext|> c", "<|ENDOFTEXT|>", "</w> <w>"),
    *(
        "\ufffd\ufffe",
        "\U0010ffff\ue000",
        "नमस्ते किताब",
        "\u3000全角　ＡＢＣ１２",
        "\u1680\u180e\u2000\u2028\u2029\u202f\u205f",
    ),
    *map(chr, range(256)),
]


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return Tokenizer.learn(CAPTIONS * 2, length=LENGTH)


@pytest.fixture(scope="module")
def theirs(ours: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    ours.save(folder)
    return transformers.CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)


def test_it_is_as_large_and_as_long(ours: Tokenizer, theirs: Any) -> None:
    assert (len(theirs), theirs.model_max_length) == (len(ours), LENGTH)
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (ours.start, ours.end, ours.end)


def test_nasty_texts_have_the_same_numbers(ours: Tokenizer, theirs: Any) -> None:
    """Cut at the length of a row and filled up to it, and whole."""
    texts = CAPTIONS + NASTY
    rows = theirs(texts, padding="max_length", truncation=True)["input_ids"]
    whole = theirs(texts, add_special_tokens=False)["input_ids"]
    for text, row, found, tokens in zip(texts, ours.encode(texts).tolist(), rows, whole, strict=True):
        assert row == found, text[:40]
        assert ours.tokens(text) == tokens, text[:40]


def test_texts_at_random_have_the_same_numbers(ours: Tokenizer, theirs: Any) -> None:
    draw = random.Random(1)
    pages = ((0, 0x7F), (0, 0x24F), (0x300, 0x2FFF), (0x1F300, 0x1FAFF))
    known = [[c for c in map(chr, range(first, last + 1)) if unicodedata.category(c) != "Cn"] for first, last in pages]
    texts = ["".join(draw.choice(draw.choice(known)) for _ in range(draw.randrange(30))) for _ in range(1000)]
    rows = theirs(texts, padding="max_length", truncation=True)["input_ids"]
    assert [text for text, a, b in zip(texts, ours.encode(texts).tolist(), rows, strict=True) if a != b] == []


def test_every_character_is_of_the_same_kind(ours: Tokenizer, theirs: Any) -> None:
    """Letter, number, white space or another, and its lower case: some of every page."""
    pages = [*range(0x250), *range(0x250, 0x3000, 7), *range(0x3000, 0x20000, 97)]
    characters = [chr(c) for c in pages if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    texts = [f"a{character}a" for character in characters]
    whole = theirs(texts, add_special_tokens=False)["input_ids"]
    assert [c for c, text, found in zip(characters, texts, whole, strict=True) if ours.tokens(text) != found] == []


def test_rows_are_read_alike(ours: Tokenizer, theirs: Any) -> None:
    for row in ours.encode([*CAPTIONS, "It's 12 ÜNÏ!", "🐕‍🦺" * 9, ""]):
        assert ours.decode(row) == theirs.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def older(tree: Any) -> None:
    """As transformers 4 wrote it."""
    tree["model"]["merges"] = [" ".join(pair) for pair in tree["model"]["merges"]]
    split, bytewise = tree["pre_tokenizer"]["pretokenizers"]
    split["pattern"]["Regex"] = split["pattern"]["Regex"].partition("endoftext\\|>|")[2]
    del bytewise["use_regex"], tree["model"]["ignore_merges"]
    tree["added_tokens"][0]["normalized"] = True


@pytest.mark.parametrize("change", [lambda tree: None, older])
def test_one_file_says_the_same_as_four(ours: Tokenizer, theirs: Any, tmp_path: Path, change: Callable) -> None:
    theirs.save_pretrained(tmp_path)
    assert not (tmp_path / "vocab.json").exists() and not (tmp_path / "merges.txt").exists()
    _change(tmp_path, change)
    assert Tokenizer.load(tmp_path).hash == ours.hash


def _change(folder: Path, change: Callable[[Any], object]) -> None:
    tree = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    change(tree)
    (folder / "tokenizer.json").write_text(json.dumps(tree), "utf-8")


OTHERS: dict[str, tuple[Callable[[Any], object], str]] = {
    "no model": (lambda tree: tree.pop("model"), "expected the"),
    "another model": (lambda tree: tree["model"].update(type="Unigram"), "the model of"),
    "dropped joins": (lambda tree: tree["model"].update(dropout=0.1), "the model of"),
    "whole words first": (lambda tree: tree["model"].update(ignore_merges=True), "the model of"),
    "a key that nobody knows": (lambda tree: tree["model"].update(new=1), "the model of"),
    "a token of one's own": (lambda tree: tree["added_tokens"].append({"id": 999, "content": "<cat>"}), "added_tokens"),
    "capitals": (lambda tree: tree["normalizer"]["normalizers"].pop(), "the normalizer of"),
    "accents": (lambda tree: tree["normalizer"]["normalizers"].append({"type": "StripAccents"}), "the normalizer of"),
    "whole numbers": (lambda tree: tree["pre_tokenizer"]["pretokenizers"][0].update(pattern=0), "pre_tokenizer of"),
    "other words": (lambda tree: tree["pre_tokenizer"]["pretokenizers"][1].update(use_regex=False), "pre_tokenizer of"),
    "no start": (lambda tree: tree.update(post_processor=None), "the post_processor of"),
    "a join before its parts": (lambda tree: tree["model"]["merges"].reverse(), "known by then in join 1 of"),
    "a join that is none": (lambda tree: tree["model"]["merges"].__setitem__(3, 7), "known by then in join 4 of"),
    "another vocabulary": (lambda tree: tree["model"]["vocab"].update({"!": 1}), "to list the tokens"),
    "no vocabulary": (lambda tree: tree["model"].pop("vocab"), "to list the tokens"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_says_anything_else_is_one_line(theirs: Any, tmp_path: Path, name: str) -> None:
    change, message = OTHERS[name]
    theirs.save_pretrained(tmp_path)
    _change(tmp_path, change)
    with pytest.raises(InputError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)
