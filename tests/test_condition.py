"""A condition is one value: whatever is done to a batch of images is done to all that is told of them."""

import pytest
import torch

from ancestral.condition import NOTHING_TOLD, UNTOLD, Condition


@pytest.fixture
def told() -> Condition:
    return Condition(
        torch.tensor([2, 0, 1]), torch.tensor([[0.5, 3.0], [1.5, 4.0], [2.5, 5.0]]), torch.arange(6).reshape(3, 2)
    )


def alike(a: Condition, b: Condition) -> bool:
    pairs = zip(a, b, strict=True)
    return all(x is y is None or torch.equal(x.nan_to_num(-9.0), y.nan_to_num(-9.0)) for x, y in pairs)


def test_hiding_hides_all_that_is_known_of_an_image_and_nothing_of_another(told: Condition) -> None:
    hidden = told.hidden(torch.tensor([False, True, False]))
    assert hidden.labels.tolist() == [2, UNTOLD, 1] and hidden.tokens.tolist() == [[0, 1], [UNTOLD] * 2, [4, 5]]
    assert hidden.attributes.isnan().tolist() == [[False] * 2, [True] * 2, [False] * 2]
    assert alike(told.hidden(torch.ones(3, dtype=torch.bool)), told.null())
    assert told.labels.tolist() == [2, 0, 1], "the condition itself stays as it was"


def test_what_is_taken_repeated_and_joined_keeps_the_images_apart(told: Condition) -> None:
    swapped = told.rows(torch.tensor([1, 2, 0]))
    assert swapped.labels.tolist() == [0, 1, 2] and swapped.attributes[:, 0].tolist() == [1.5, 2.5, 0.5]
    assert alike(told.rows(slice(0, 1)).beside(told.rows(slice(1, 3))), told)
    assert alike(told.repeat(2), told.beside(told))


def test_a_kind_that_a_network_is_not_told_stays_untold_through_all_of_it() -> None:
    assert NOTHING_TOLD.null() == NOTHING_TOLD.repeat(3) == NOTHING_TOLD.rows(slice(0, 1)) == Condition()
    only = Condition(labels=torch.tensor([1]))
    assert only.null().attributes is None and only.null().labels.tolist() == [UNTOLD]
    with pytest.raises(AssertionError, match="same kinds"):
        only.beside(NOTHING_TOLD)


def blends() -> Condition:
    """Of two images, each of two texts of three tokens."""
    return Condition(tokens=torch.arange(12).reshape(2, 2, 3), weights=torch.tensor([[0.7, 0.3], [0.25, 0.75]]))


def test_a_blend_is_taken_apart_and_hidden_as_a_whole_and_its_shares_with_it() -> None:
    told = blends()
    assert alike(told.rows(slice(0, 1)).beside(told.rows(slice(1, 2))), told)
    assert alike(told.repeat(2), told.beside(told))
    hidden = told.hidden(torch.tensor([False, True]))
    assert hidden.weights.tolist() == [pytest.approx([0.7, 0.3]), [1, 0]]  # to the bit the empty text
    assert hidden.tokens.tolist() == [told.tokens[0].tolist(), [[UNTOLD] * 3] * 2]
    assert alike(told.hidden(torch.ones(2, dtype=torch.bool)), told.null())


def test_a_text_stands_beside_a_blend_and_over_it_as_a_blend_of_itself_alone() -> None:
    told, text = blends(), Condition(tokens=torch.tensor([[7, 8, 9]]))
    both = told.beside(text)
    assert both.tokens[2, 0].tolist() == [7, 8, 9] and both.weights[2].tolist() == [1, 0]
    assert alike(both.rows(slice(0, 2)), told)
    assert alike(text.beside(told).rows(slice(1, 3)), told)
    over = told.null().overlaid(text)  # what a negative prompt does
    assert over.tokens[:, 0].tolist() == [[7, 8, 9]] * 2 and over.weights.tolist() == [[1, 0]] * 2
    under = text.null().overlaid(told.rows(slice(0, 1)))
    assert alike(under, told.rows(slice(0, 1)))
    assert alike(told.null().overlaid(Condition()), told.null()), "what a row does not tell stays as it is"
    plain = text.repeat(2)
    assert alike(plain.null().overlaid(text), plain), "two texts alone make no blend"
