"""Integers to bytes: they come back exactly, at the bits that their probabilities say, whatever the images are."""

import math

import numpy as np
import pytest

from ancestral.errors import InputError
from ancestral.evaluation.entropy_coding import ROOM, Symbols, fit_symbols

RANDOM = np.random.default_rng(0)


def smooth(count: int, channels: int = 2, side: int = 8) -> Symbols:
    """Levels that differ little from those to the left and above; the second channel follows the first."""
    steps = RANDOM.integers(-1, 2, (count, 1, side, side))
    first = steps.cumsum(axis=2) + RANDOM.integers(-1, 2, (count, 1, side, side)).cumsum(axis=3)
    rest = [first // 2 + RANDOM.integers(-1, 2, first.shape) for _ in range(channels - 1)]
    return np.concatenate([first, *rest], axis=1)


@pytest.mark.parametrize(("channels", "side"), [(1, 1), (2, 8), (6, 3)])
def test_what_is_coded_decodes_to_the_same_integers(channels: int, side: int) -> None:
    model, images = fit_symbols(smooth(40, channels, side)), smooth(3, channels, side)
    for image in model.clamped(images):
        np.testing.assert_array_equal(model.decode(model.encode(image), side, side), image)


def test_images_of_another_size_than_fitted_decode_too() -> None:
    model = fit_symbols(smooth(40))
    image = model.clamped(smooth(1, side=12))[0, :, :, :5]
    np.testing.assert_array_equal(model.decode(model.encode(image), 12, 5), image)


def test_bytes_are_those_of_the_probabilities_and_half_a_word() -> None:
    """Words of 32 bits: a stream may be a word longer than its bits, and never shorter by more than rounding."""
    model, images = fit_symbols(smooth(60)), smooth(20)
    kept = model.clamped(images)
    sizes = np.array([len(model.encode(image)) for image in kept])
    beyond = 8 * sizes - model.bits(kept)
    assert beyond.min() > -0.5 and beyond.max() < 64


def test_independent_symbols_cost_their_entropy() -> None:
    """The oracle: shares 1/2, 1/4, 1/8, 1/8 are 1.75 bits. Contexts, of which there is nothing to learn here, may cost
    a little."""
    draw = lambda count: RANDOM.choice([0, 1, 2, 3], p=[0.5, 0.25, 0.125, 0.125], size=(count, 1, 16, 16))  # noqa: E731
    model, images = fit_symbols(draw(200)), draw(40)
    assert model.bits(images).mean() / 256 == pytest.approx(1.75, rel=0.02)
    sizes = [len(model.encode(image)) for image in images]
    assert 8 * np.mean(sizes) / 256 == pytest.approx(1.75, rel=0.12)


def test_neighbours_make_smooth_images_cheap() -> None:
    """Not so where symbols are shuffled: the same shares, and no neighbour tells anything."""
    fitted, images = smooth(100), smooth(20)
    shuffled = lambda of: RANDOM.permuted(of.reshape(*of.shape[:2], -1), axis=2).reshape(of.shape)  # noqa: E731
    model, lost = fit_symbols(fitted), fit_symbols(shuffled(fitted))
    assert model.bits(model.clamped(images)).mean() < 0.75 * lost.bits(lost.clamped(shuffled(images))).mean()


def test_a_symbol_that_training_images_never_had_can_be_coded() -> None:
    """Trap: a frequency of zero is no probability, and the coder cannot go on."""
    fitted = smooth(20)
    fitted[fitted == 1] = 0
    model = fit_symbols(fitted)
    image = np.ones((2, 8, 8), np.int64)
    np.testing.assert_array_equal(model.decode(model.encode(image), 8, 8), image)
    assert model.bits(image[None])[0] > 128


def test_what_lies_beyond_the_tables_is_clamped_first() -> None:
    fitted, image = smooth(20), np.zeros((1, 2, 8, 8), np.int64)
    model = fit_symbols(fitted)
    image[0, 1, 4, 4:6] = 1000, -1000
    with pytest.raises(InputError, match="clamp them first"):
        model.encode(image[0])
    kept = model.clamped(image)
    assert [*kept[0, 1, 4, 4:6]] == [fitted[:, 1].max() + ROOM, fitted[:, 1].min() - ROOM] and (
        kept[image == 0] == 0
    ).all()
    np.testing.assert_array_equal(model.decode(model.encode(kept[0]), 8, 8), kept[0])


def test_bytes_that_are_cut_off_are_refused() -> None:
    model = fit_symbols(smooth(20))
    with pytest.raises(InputError, match="words of 4"):
        model.decode(model.encode(model.clamped(smooth(1))[0])[:-1], 8, 8)


def test_indices_of_a_codebook_cost_their_entropy_and_all_can_be_coded() -> None:
    """Numbers of codes mean nothing: they must not be predicted from those beside them."""
    used = RANDOM.integers(0, 16, (100, 1, 8, 8)) * 37 % 64
    model = fit_symbols(used, 64)
    assert model.bits(used).mean() / 64 == pytest.approx(math.log2(16), rel=0.02)
    image = np.arange(64).reshape(1, 8, 8)
    np.testing.assert_array_equal(model.decode(model.encode(image), 8, 8), image)
