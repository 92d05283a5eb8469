"""Our tokenizer: what is learned, that nothing is lost but what is cut and counted, and its files."""

import json
import random
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from ancestral.errors import InputError
from ancestral.tokenizer import CHARACTERS, FILES, Tokenizer
from ancestral_lite.bytepairs import BYTES, END, START, UNITS

CAPTIONS = ["a small red circle above a large blue square", "a red fox's 12 cubs", "Two RED circles"] * 3
ODD = {
    "nothing": "",
    "white space alone": " \t\r\n\u2028\u3000",
    "every byte of the first page": "".join(map(chr, range(256))),
    "every control character": "".join(map(chr, [*range(32), *range(127, 160)])),
    "emoji that are joined": "👩🏽‍🚀 🐕‍🦺 ❤️",
    "combining marks": "a\u0300\u0301\u0302 q\u0323\u0307",
    "ten thousand letters": "abcdefghij" * 1000,
    "private and last": "\ue000\U0010ffff",
    "half a pair": "\ud83d",
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.learn(CAPTIONS, length=16)


def test_the_example_of_the_paper_is_learned_in_its_order() -> None:
    """Sennrich et al. 2016: low 5 times, lower twice, newest 6 times, widest 3 times. The end of a word is a mark of
    its last byte here, and of pairs that are equally common the lowest tokens come first."""
    tokenizer = Tokenizer.learn(["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3, UNITS + 9)
    expected = ("es", "est</w>", "lo", "ew", "new", "newest</w>", "low</w>")
    assert tokenizer.vocabulary[UNITS:] == (*expected, START, END)
    assert tokenizer.pieces("lowest newest") == ["lo", "w", "est</w>", "newest</w>"]


def test_what_is_learned_is_of_the_words_alone() -> None:
    shuffled = random.Random(0).sample(CAPTIONS, len(CAPTIONS))
    assert Tokenizer.learn(CAPTIONS).hash == Tokenizer.learn(shuffled).hash
    assert Tokenizer.learn(CAPTIONS).hash == Tokenizer.learn([f"  {text.upper()}\n" for text in CAPTIONS]).hash
    assert Tokenizer.learn(CAPTIONS).hash != Tokenizer.learn(CAPTIONS, lower=False).hash


def test_nothing_is_joined_that_stands_there_once() -> None:
    assert len(Tokenizer.learn(["each word stands but once"])) == UNITS + 2
    assert len(Tokenizer.learn([])) == UNITS + 2
    assert len(Tokenizer.learn(CAPTIONS * 9, 540)) == 540


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_every_text_can_be_written_and_read_back(tokenizer: Tokenizer, text: str) -> None:
    """Trap: unknown bytes. Words are apart and in lower case; white space and Unicode's form are not kept."""
    byte = dict(zip(CHARACTERS, BYTES, strict=True))
    said = bytes(byte[character] for piece in tokenizer.pieces(text) for character in piece.removesuffix("</w>"))
    blank = dict.fromkeys(map(ord, " \t\n\v\f\r\x85\xa0\u2028\u3000"))
    assert said.decode("utf-8", "surrogatepass") == unicodedata.normalize("NFC", text).lower().translate(blank)
    assert tokenizer.encode([text]).shape == (1, 16)


def test_words_are_those_of_clip(tokenizer: Tokenizer) -> None:
    """Contractions, letters, single digits, and whatever is between them."""
    assert Tokenizer([]).decode(Tokenizer([]).tokens("It's 2024: don't!!'s  Ünï_1½")) == (
        "it 's 2 0 2 4 : don 't !!' s ünï _ 1 ½"
    )
    assert tokenizer.decode(tokenizer.encode(["A  RED\nFox's"])[0]) == "a red fox 's"
    assert Tokenizer([], lower=False).decode(Tokenizer([], lower=False).encode(["A Red"])[0]) == "A Red"


def test_rows_begin_and_end_and_are_filled_with_the_end(tokenizer: Tokenizer) -> None:
    """Trap: the pad token is <|endoftext|>, whose first place is where a text ends; it has the largest number."""
    empty, short = tokenizer.encode(["", "red"]).tolist()
    start, end = len(tokenizer) - 2, len(tokenizer) - 1
    assert (tokenizer.vocabulary[start], tokenizer.vocabulary[end]) == (START, END)
    assert empty == [start] + [end] * 15
    assert short == [start, *tokenizer.tokens("red"), *[end] * (15 - len(tokenizer.tokens("red")))]
    assert tokenizer.encode([]).shape == (0, 16)


def test_what_is_cut_is_counted() -> None:
    """Trap: truncation is silent at the length of a row. Start and end take two places."""
    tokenizer = Tokenizer([], length=6)
    rows = tokenizer.encode(["1234", "12345", "é" * 3])
    assert tokenizer.cut(["1234", "12345", "é" * 3, ""]) == 2
    assert [tokenizer.decode(row) for row in rows] == ["1 2 3 4", "1 2 3 4", "éé"]
    assert (rows[:, -1] == tokenizer.end).all(), "a row that is cut ends too"
    assert tokenizer.decode(Tokenizer([], length=5).encode(["éé"])[0, :3]) == "é"
    assert tokenizer.decode(tokenizer.encode(["xxxé"])[0]) == "xxx\N{REPLACEMENT CHARACTER}", "half a character"


def test_saved_and_loaded_it_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    for each in (tokenizer, Tokenizer([], 77), Tokenizer.learn(CAPTIONS, 520, lower=False)):
        each.save(tmp_path)
        found = Tokenizer.load(tmp_path)
        assert (found.hash, found.vocabulary, found.length, found.lower) == (
            each.hash, each.vocabulary, each.length, each.lower,
        )  # fmt: skip
        assert {file.name for file in tmp_path.iterdir()} == {*FILES}


def test_the_vocabulary_is_in_the_order_of_clip(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The first and the last tokens of openai/clip-vit-base-patch32, and where its bytes that cannot be seen stand."""
    tokenizer.save(tmp_path)
    numbers = json.loads((tmp_path / "vocab.json").read_text("utf-8"))
    assert [*numbers.values()] == [*range(len(tokenizer))]
    known = {"!": 0, '"': 1, "a": 64, "¡": 94, "ÿ": 187, "Ā": 188, "Ġ": 220, "Ń": 255, "!</w>": 256, "a</w>": 320}
    assert {word: numbers[word] for word in known} == known
    lines = (tmp_path / "merges.txt").read_text("utf-8").splitlines()
    assert lines[0] == "#version: 0.2"
    assert [line.replace(" ", "") for line in lines[1:]] == [*tokenizer.vocabulary[UNITS:-2]]


def _edit(name: str, change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(change((folder / name).read_text("utf-8")), "utf-8")


def _swapped(text: str) -> str:
    first, *lines = text.splitlines()
    return "\n".join([first, *sorted(lines)])


DAMAGE = {
    "no merges": (lambda folder: (folder / "merges.txt").unlink(), "cannot read .*merges.txt"),
    "no vocabulary": (lambda folder: (folder / "vocab.json").unlink(), "cannot read .*vocab.json"),
    "merges in another order": (_edit("merges.txt", _swapped), "join .* of|to list the tokens"),
    "half of the merges": (_edit("merges.txt", lambda text: text[: len(text) // 2]), "join .* of|to list the tokens"),
    "a token less": (_edit("vocab.json", lambda text: text.replace('"!": 0, ', "")), "to list the tokens"),
    "cut off": (_edit("vocab.json", lambda text: text[:99]), "not valid JSON"),
    "no version": (_edit("merges.txt", lambda text: text[14:]), "to begin with #version"),
    "of T5": (_edit(FILES[2], lambda text: text.replace("CLIP", "T5")), "expected a CLIPTokenizer"),
    "without a length": (_edit(FILES[2], lambda text: text.replace(": 16", ": null")), "expected a CLIPTokenizer"),
    "padded with another": (
        _edit(FILES[2], lambda text: text.replace(f'pad_token": "{END}', 'pad_token": "!')), "padded with",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_or_foreign_folder_is_one_line(tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    damage, message = DAMAGE[name]
    tokenizer.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="at least 514 tokens, got 513"):
        Tokenizer.learn(CAPTIONS, 513)
    with pytest.raises(InputError, match="at least 3 tokens, got 2"):
        Tokenizer.learn(CAPTIONS, length=2)
