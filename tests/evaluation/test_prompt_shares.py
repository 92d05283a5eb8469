"""Shares of facts: what a generator gets that obeys, that does not listen, and that swaps; intervals are by prompt."""

import numpy as np
import pytest
from scene_generators import Draws, deaf, obedient, pixels_of, swapping

from ancestral.data.wording import parse_caption
from ancestral.evaluation.prompt_shares import Share, can_be_swapped, counts_of, shares_of
from ancestral.evaluation.scene_facts import chance, prompts


def measured(draws: Draws, count: int = 120, held_out: bool = False) -> dict[str, Share]:
    asked = prompts("shapes", "figures", held_out, count)
    texts = [each.text for each in asked]
    return {share.name: share for share in shares_of(counts_of(texts, pixels_of(draws(asked))), texts, 0)}


@pytest.mark.parametrize("held_out", [False, True])
def test_a_generator_that_obeys_holds_every_fact(held_out: bool) -> None:
    found = measured(obedient, held_out=held_out)
    assert {name: share.value for name, share in found.items()} == {**dict.fromkeys(found, 1.0), "swapped": 0.0}


def test_one_that_does_not_listen_holds_what_chance_does() -> None:
    found, by_chance = measured(deaf, 400), chance("shapes", prompts("shapes", "figures", count=400))
    assert {*by_chance} < {*found}
    for name in ("all", "color", "shape", "size", "relation"):
        assert found[name].low <= by_chance[name] <= found[name].high
    assert found["all"].high - found["all"].low < 0.06


def test_one_that_swaps_attributes_is_found_out() -> None:
    """Every colour and every shape is there, on the wrong things. Things that are alike in one cannot be swapped."""
    found = measured(swapping)
    assert found["swapped"].value == 1.0 and found["count"].value == 1.0
    assert found["whole"].value < 0.5
    assert not can_be_swapped(parse_caption("a red circle above a red square"))
    assert not can_be_swapped(parse_caption("a red circle above a blue circle"))
    assert can_be_swapped(parse_caption("a red circle above a blue square"))


def test_an_interval_is_of_prompts_and_not_of_facts_or_images() -> None:
    """Prompts of which all facts of all images hold or none do, half of them: as uncertain as that many coins, however
    many facts and images each has; three images of a prompt are no more trials than one."""
    held = np.arange(100) % 2.0
    coins = 1.96 * np.sqrt(0.25 / 100)
    for facts, images in ((1, 1), (7, 1), (7, 3)):
        texts = [f"prompt {i}" for i in range(100) for _ in range(images)]
        counts = {"all": (facts * held.repeat(images), np.full(100 * images, float(facts)))}
        (share,) = shares_of(counts, texts, 0)
        assert share.value == 0.5
        assert (share.high - share.low) / 2 == pytest.approx(coins, rel=0.12)


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    """The law it is made for: of prompts with their own chance to hold, 95 % of the intervals hold the mean."""
    random, covered = np.random.default_rng(0), 0
    for run in range(200):
        chances = random.beta(2, 2, 60).repeat(4)
        counts = {"all": ((random.random(240) < chances).astype(float), np.ones(240))}
        (share,) = shares_of(counts, [str(i) for i in range(60) for _ in range(4)], run)
        covered += share.low <= 0.5 <= share.high
    assert covered == pytest.approx(190, abs=12)
