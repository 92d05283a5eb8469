"""The division of a data set: disjoint, complete, stratified, deterministic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ancestral.data.imageset import Collection, ImageSet, arranged, divide, frozen


def numbered(count: int, labels: np.ndarray | None = None) -> ImageSet:
    """Images whose pixels are their own number."""
    pixels = np.arange(count, dtype=np.uint16).view(np.uint8).reshape(count, 1, 2, 1)
    names = tuple(str(i) for i in range(count))
    classes = () if labels is None else tuple("abcdefghij"[: labels.max() + 1])
    return ImageSet(frozen(pixels), labels, classes, names, names, "hash")


def numbers(image_set: ImageSet) -> list[int]:
    return image_set.images.reshape(-1, 2).view(np.uint16).ravel().tolist()


@given(st.integers(2, 400), st.floats(0, 0.49), st.floats(0, 0.5))
def test_parts_are_disjoint_and_complete(count: int, validation: float, test: float) -> None:
    parts = divide(Collection(numbered(count).ordered(arranged(None, count))), validation, test)
    assert sorted(number for part in parts[:3] for number in numbers(part)) == list(range(count))
    assert len(parts.train) >= 1
    assert len(parts.validation) == 0 if validation == 0 else abs(len(parts.validation) - validation * count) <= 1
    assert all(list(map(int, part.names or ())) == numbers(part) for part in parts[:3]), "names go with their images"


def test_an_official_test_part_is_kept_whole() -> None:
    parts = divide(Collection(numbered(100), num_test=20), validation=0.1, test=0.5)
    assert numbers(parts.test) == list(range(80, 100))
    assert numbers(parts.validation) == list(range(72, 80))


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.integers(0, 5))
def test_every_stretch_holds_the_classes_in_proportion(sizes: list[int], start: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    order = arranged(labels, len(labels))
    assert sorted(order) == list(range(len(labels)))
    stretch = labels[order][len(labels) * start // 10 : len(labels) * (start + 5) // 10]
    for label, size in enumerate(sizes):
        assert abs((stretch == label).sum() - size / 2) <= 2 + len(sizes) * size / len(labels)


def test_every_tenth_image_is_not_of_one_class() -> None:
    """Trap: classes of one size, evenly spread, alternate in a rhythm; any pick at even distances shows one class."""
    labels = np.arange(5000) % 10
    for stride in (10, 100, 250):
        assert len(set(labels[arranged(labels, 5000)][::stride])) >= 8


def test_the_order_is_always_the_same_but_not_the_given_one() -> None:
    labels = np.arange(1000) % 10
    order = arranged(labels, 1000)
    np.testing.assert_array_equal(order, arranged(labels, 1000))
    assert (order[:100] < 100).sum() < 30


def test_parts_copy_no_pixels_and_cannot_be_written() -> None:
    whole = numbered(100)
    parts = divide(Collection(whole), 0.1, 0.1)
    assert np.shares_memory(parts.test.images, whole.images)
    with pytest.raises(ValueError, match="read-only"):
        parts.train.images[0] = 0
    assert len({part.hash for part in parts[:3]}) == 3


def test_unlabelled_forgets_classes_and_nothing_else() -> None:
    labelled = numbered(20, np.arange(20) % 3)
    assert labelled.unlabelled().labels is None and labelled.unlabelled().class_names == ()
    assert labelled.unlabelled().captions == labelled.captions
