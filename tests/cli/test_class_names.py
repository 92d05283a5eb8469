"""Classes as they are asked for by name: in any form of Unicode, under any locale, and called like words of our own."""

import os
import unicodedata
from pathlib import Path

import pytest
from cli_calls import TINY, call
from PIL import Image
from pipelines import untrained

from ancestral.condition import NOTHING_TOLD
from ancestral.errors import InputError
from ancestral.jobs.generated import as_asked, condition_for, note_of_words
from ancestral.pipeline import Pipeline

CLASSES = ("none", "all", unicodedata.normalize("NFD", "café"), "a, b", "3", "=x")


@pytest.fixture
def pipeline() -> Pipeline:
    return untrained(classes=CLASSES)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("=none", [0]), ("=none,=all", [0, 1]), ("a, b", [3]), ("=a, b", [3]), ("3", [4]), ("=3", [4]), ("2", [2]),
        ("all", [0, 1, 2, 3, 4, 5]), ("=x", [5]), ("==x", [5]),
        ("café", [2]), (unicodedata.normalize("NFD", "café"), [2]),
        ("=café,=none", [2, 0]),
    ],
)  # fmt: skip
def test_every_class_can_be_asked_for(pipeline: Pipeline, typed: str, expected: list[int]) -> None:
    labels = condition_for(pipeline, typed, len(expected)).labels
    assert labels is not None and labels.tolist() == expected


def test_words_of_our_own_keep_their_meaning_and_say_so(pipeline: Pipeline) -> None:
    assert condition_for(pipeline, "none", 2) == NOTHING_TOLD
    assert ["=none is the class that is called so" in note.text for note in note_of_words(pipeline, "none")] == [True]
    for typed in ("=2", "=cat", "cat"):
        with pytest.raises(InputError, match="expected a class, got"):
            condition_for(pipeline, typed, 1)


def test_what_a_file_says_of_its_class_asks_for_it_again(pipeline: Pipeline) -> None:
    for label, name in enumerate(CLASSES):
        labels = condition_for(pipeline, as_asked(name), 1).labels
        assert labels is not None and labels.tolist() == [label]


def test_a_class_is_found_when_its_bytes_were_read_by_another_locale(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under LC_ALL=C without coercion a typed é comes as two lone surrogates."""
    typed = "café".encode().decode("ascii", "surrogateescape")
    assert typed != "café" and os.fsencode(typed) == "café".encode()
    assert pipeline.class_index(typed) == 2


def test_training_warns_of_classes_without_an_image_to_train_on_and_goes_on_by_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, name in enumerate([*("train/a", "train/b") * 6, *("test/a", "test/c") * 2]):
        (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 9 * i).save(tmp_path / "in" / name / f"{i}.png")
    words = ["train", tmp_path / "in", *TINY, "--data.size", "8", "--training.steps", "1", "--out", tmp_path / "run"]
    first = call(capsys, *words)
    assert first.code == 0
    assert "no image to train on in 1 class, which cannot be learned: c" in first.err
    assert "(test, train): 12 train, 4 test images" in first.err
    again = call(capsys, "train", tmp_path / "run", "--training.steps", "2")
    assert again.code == 0 and "resuming at step 1" in again.out and f"{tmp_path / 'run'} is finished" in again.out
    for path in ("run/pipeline", "run/checkpoints/step-00000002"):
        wrong = call(capsys, "train", tmp_path / path)
        assert (wrong.code, len(wrong.err.splitlines())) == (2, 1) and "; ancestral " in wrong.err
