"""The reader of `shapes` says what is drawn and notices what is not as asked; the prompts, and what chance holds."""

from itertools import pairwise, product

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ancestral.data.drawing import draw
from ancestral.data.scenes import COLORS, HELD_OUT, PAIRS, SHAPES, SIZES, Scene, Statement, Thing, new_scene, randomness
from ancestral.data.wording import parse_caption
from ancestral.evaluation.scene_facts import (
    LISTS,
    Fact,
    chance,
    facts,
    is_swapped,
    prompts,
    reader_errors,
    shares,
    stated,
)
from ancestral.evaluation.scene_reader import read_scene

RED, BLUE = Thing("red", "circle", "small"), Thing("blue", "square", "large")
ABOVE = Scene((RED, BLUE), ((0.4, 0.2), (0.5, 0.7)))
SAYS = parse_caption("a small red circle above a large blue square")


def seen(scene: Scene, side: int = 32) -> Scene:
    return read_scene(draw([scene], side)[0])


def failing(says: Statement, scene: Scene) -> list[str]:
    return [fact.kind for fact in facts(says, scene) if not fact.holds]


@pytest.mark.parametrize(("place", "side"), [((0.5, 0.5), 32), ((0.31, 0.667), 32), ((0.45, 0.52), 64)])
def test_every_thing_is_read_as_what_it_is(place: tuple[float, float], side: int) -> None:
    every = [Thing(*parts) for parts in product(COLORS, SHAPES, SIZES)]
    pixels = draw([Scene((thing,), (place,)) for thing in every], side)
    for thing, image in zip(every, pixels, strict=True):
        found = read_scene(image)
        assert found.things == (thing,)
        assert found.centres[0] == pytest.approx(place, abs=0.2 / 32)


def test_at_most_one_fact_in_a_thousand_is_read_wrongly() -> None:
    assert reader_errors("shapes-three", 400)["all"] <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["shapes-one", "shapes", "shapes-three"])
@pytest.mark.parametrize("worn", [{}, {"blur": 0.5}, {"blur": 0.75}, {"blur": 1.0}, {"noise": 4.0}, {"noise": 8.0}])
def test_few_facts_of_worn_images_are_read_wrongly(kind: str, worn: dict[str, float]) -> None:
    assert reader_errors(kind, 2000, **worn)["all"] <= 1e-3


def test_errors_are_seen_where_images_are_spoilt() -> None:
    assert reader_errors("shapes", 100, blur=3.0)["all"] > 0.1
    assert reader_errors("shapes", 100, noise=8.0) == reader_errors("shapes", 100, noise=8.0)


def test_an_empty_image_shows_nothing_and_specks_are_nothing() -> None:
    white = np.full((32, 32, 3), 255, np.uint8)
    assert read_scene(white) == Scene((), ())
    white[5, 5] = 0
    assert read_scene(white) == Scene((), ())
    assert failing(SAYS, read_scene(white)) == ["count", "color", "shape", "size", "color", "shape", "size", "relation"]


def test_what_is_none_of_the_shapes_has_no_shape() -> None:
    picture = Image.new("RGB", (32, 32), "white")
    ImageDraw.Draw(picture).rectangle((4, 12, 27, 18), fill=COLORS["red"])
    found = read_scene(np.asarray(picture))
    assert [(thing.color, thing.shape) for thing in found.things] == [("red", "")]


def test_all_facts_hold_in_the_scene_that_was_asked_for() -> None:
    assert failing(SAYS, seen(ABOVE)) == []
    assert [fact.kind for fact in facts(SAYS, ABOVE)] == [
        "count", "color", "shape", "size", "color", "shape", "size", "relation",
    ]  # fmt: skip
    assert len(facts(parse_caption("a red circle"), seen(Scene((RED,), ((0.5, 0.5),))))) == 3


@pytest.mark.parametrize(
    ("scene", "wrong"),
    [
        (ABOVE._replace(centres=ABOVE.centres[::-1]), ["relation"]),
        (ABOVE._replace(centres=((0.2, 0.5), (0.7, 0.45))), ["relation"]),
        (ABOVE._replace(things=(RED._replace(size="large"), BLUE)), ["size"]),
        (ABOVE._replace(things=(RED._replace(shape="star"), BLUE)), ["shape"]),
        (ABOVE._replace(things=(RED._replace(color="pink"), BLUE)), ["color"]),
        (ABOVE._replace(things=(RED._replace(color="blue"), BLUE._replace(color="red"))), ["color", "color"]),
        (Scene((*ABOVE.things, Thing("black", "star", "small")), (*ABOVE.centres, (0.85, 0.2))), ["count"]),
        (Scene((BLUE,), (ABOVE.centres[1],)), ["count", "color", "shape", "size", "relation"]),
    ],
)
def test_a_planted_fault_is_found_and_no_other(scene: Scene, wrong: list[str]) -> None:
    found = seen(scene)
    assert failing(SAYS, found) == wrong
    assert is_swapped(SAYS, found) == (wrong == ["color", "color"])


def test_the_order_in_which_things_are_seen_does_not_matter() -> None:
    turned = Scene(ABOVE.things[::-1], ABOVE.centres[::-1])
    assert failing(SAYS, turned) == failing(SAYS, ABOVE) == []
    assert failing(parse_caption("a large blue square under a small red circle"), ABOVE) == []
    assert failing(parse_caption("a large blue square above a small red circle"), ABOVE) == ["relation"]


def test_a_size_that_is_not_told_is_not_asked_for() -> None:
    says = parse_caption("a red circle above a blue square")
    for sizes in product(SIZES, SIZES):
        things = tuple(thing._replace(size=size) for thing, size in zip(ABOVE.things, sizes, strict=True))
        assert failing(says, ABOVE._replace(things=things)) == []


def test_shares_count_facts_and_whole_prompts() -> None:
    both = [
        (Fact("count", True), Fact("color", False)),
        (Fact("count", True), Fact("color", True), Fact("size", False)),
    ]
    found = shares([*both, (Fact("count", True),)])
    assert found == {"all": pytest.approx(4 / 6), "whole": pytest.approx(1 / 3), "count": 1, "color": 0.5, "size": 0}


@pytest.mark.parametrize("kind", ["shapes-one", "shapes", "shapes-three"])
def test_lists_of_prompts_are_fixed_apart_and_say_what_is_held_out(kind: str) -> None:
    lists = {(use, held_out): prompts(kind, use, held_out, 100) for use, held_out in product(LISTS, (False, True))}
    texts = [{prompt.text for prompt in each} for each in lists.values()]
    assert all(not a & b for i, a in enumerate(texts) for b in texts[:i])
    for (use, held_out), some in lists.items():
        assert some == prompts(kind, use, held_out, 100) and some[:10] == prompts(kind, use, held_out, 10)
        for text, says in some:
            pairs = {thing.pair for thing in says.things}
            assert says == parse_caption(text) and pairs <= {*PAIRS}
            assert bool(pairs & {*HELD_OUT}) == held_out


def test_prompts_of_two_things_do_not_repeat() -> None:
    assert len({prompt.text for prompt in prompts("shapes", "figures")}) == 500


def test_chance_is_what_guessing_gives() -> None:
    found = chance("shapes-one", prompts("shapes-one", "figures", count=200))
    assert found["count"] == 1
    assert found["shape"] == pytest.approx(1 / 4, abs=0.03) and found["size"] == pytest.approx(1 / 2, abs=0.04)
    assert found["color"] == pytest.approx(1 / 8, abs=0.03)
    asked = prompts("shapes", "figures", count=100)
    assert chance("shapes", asked)["whole"] < 0.02 < 1 == shares(facts(p.says, _made(p.says)) for p in asked)["whole"]


def _made(says: Statement) -> Scene:
    """A scene of what is asked for: where one is above another, at the places of `ABOVE`, and so on."""
    (a, name, b) = says.relations[0]
    first, second = {
        "above": ((0.5, 0.2), (0.5, 0.8)),
        "below": ((0.5, 0.8), (0.5, 0.2)),
        "left of": ((0.2, 0.5), (0.8, 0.5)),
        "right of": ((0.8, 0.5), (0.2, 0.5)),
    }[name]
    return Scene(says.things, (first, second) if a < b else (second, first))


def test_all_that_a_scene_shows_can_be_stated() -> None:
    for i in range(50):
        scene = new_scene("shapes-three", randomness("shapes-three", "stated", i))
        says = stated(scene)
        assert len(says.relations) == len(scene.things) - 1 == len([*pairwise(scene.things)])
        assert failing(says, scene) == []
