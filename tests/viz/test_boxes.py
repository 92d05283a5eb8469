"""The algebra of boxes: nothing is cut off, whatever the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ancestral.viz import boxes


def ink(box: boxes.Box) -> np.ndarray:
    """Where a box is not background, (H, W) bool."""
    return (np.asarray(box) != boxes.BACKGROUND).any(axis=2)


@pytest.mark.slow
@given(st.text(max_size=60), st.integers(13, 20), st.integers(40, 200))
def test_text_of_any_letters_keeps_within_its_width(string: str, size: int, width: int) -> None:
    assert boxes.text(string, size, width).width <= width


@given(st.lists(st.text("abcdefghijklm", min_size=1, max_size=25), min_size=1, max_size=6))
def test_wrapping_loses_no_letter(words: list[str]) -> None:
    lines = boxes.wrapped(" ".join(words), 14, 80)
    assert "".join(lines).replace(" ", "") == "".join(words)


def test_words_that_fit_are_not_broken() -> None:
    assert boxes.wrapped("medium-light skin", 14, 90) == ["medium-", "light skin"]
    assert set(" ".join(boxes.wrapped("coat ankle boot shirt", 14, 90)).split()) == {"coat", "ankle", "boot", "shirt"}


def test_a_file_name_that_is_not_utf8_is_drawn_and_not_an_error() -> None:
    assert ink(boxes.text("caf\udce9\n", 14)).any()


@pytest.mark.parametrize("letters", ["xₜ", "x₀", "ε", "Ж"])
def test_letters_beyond_ascii_are_in_the_typeface(letters: str) -> None:
    missing = ink(boxes.text("\uffff", 40))
    drawn = ink(boxes.text(letters[-1], 40))
    assert drawn.any()
    assert drawn.shape != missing.shape or (drawn != missing).any()


@pytest.mark.parametrize("size", [13, 18, 40])
def test_tall_and_deep_letters_are_whole(size: int) -> None:
    letters = "Ågjpqy|ₜ"
    whole = np.asarray(boxes.font(size).getmask(letters)) > 0
    assert ink(boxes.text(letters, size)).sum() == whole.sum()


def test_a_column_is_as_wide_as_its_widest_cell() -> None:
    cells = [[boxes.blank(10, 5), boxes.blank(3, 5)], [boxes.blank(4, 7), boxes.blank(8, 2)]]
    assert boxes.table(cells, gap=2).size == (10 + 2 + 8, 5 + 2 + 7)


@pytest.mark.parametrize(("fraction", "dark"), [(0.0, 0), (0.25, 25), (1.0, 100)])
def test_progress_is_dark_up_to_its_fraction(fraction: float, dark: int) -> None:
    assert (np.asarray(boxes.progress(fraction, 100))[0, :, 0] == boxes.INK[0]).sum() == dark
