"""`shapes`: which scenes there are, what their captions say, how they are drawn, and that a place decides all of it."""

import math
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ancestral.data import Loader, pack
from ancestral.data.datasets import collecting, load
from ancestral.data.drawing import AREAS, BACKGROUND, coverage, draw, half_window
from ancestral.data.scenes import (
    COLORS,
    GAP,
    HELD_OUT,
    MOST_ASIDE,
    PAIRS,
    RADII,
    REACH,
    SEEN,
    SHAPES,
    SIZES,
    Scene,
    Statement,
    Thing,
    new_scene,
    randomness,
    relation,
)
from ancestral.data.shapes import NUM_TEST, NUM_VALIDATION, SceneRows, compared_with, scene_at
from ancestral.data.wording import parse_caption
from ancestral.errors import InputError
from ancestral.jobs.target import plan
from ancestral.progress import finish
from ancestral.settings import DataSettings
from ancestral.settings.data import NUM_THINGS

KINDS = tuple(NUM_THINGS)


def scenes(kind: str, count: int, *place: str) -> list[Scene]:
    return [new_scene(kind, randomness(kind, *place, i)) for i in range(count)]


def test_one_pair_in_eight_is_held_out_and_every_colour_and_shape_keeps_most_partners() -> None:
    assert 0.1 <= len(HELD_OUT) / len(PAIRS) <= 0.15
    for axis, partners in ((0, len(SHAPES)), (1, len(COLORS))):
        kept = Counter(pair[axis] for pair in SEEN)
        assert set(kept) == {pair[axis] for pair in PAIRS}
        assert min(kept.values()) >= 0.7 * partners


def test_no_scene_of_the_data_has_a_pair_that_is_held_out_and_all_others_come_alike_often() -> None:
    held_out = {*HELD_OUT}
    found = Counter(thing.pair for scene in scenes("shapes", 30_000) for thing in scene.things)
    assert not held_out & set(found)
    expected = 60_000 / len(SEEN)
    chi_squared = sum((found[pair] - expected) ** 2 / expected for pair in SEEN)
    assert chi_squared < 60  # 27 degrees of freedom: 3 in 10,000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_scene_of_a_million_has_a_pair_that_is_held_out(kind: str) -> None:
    held_out = {*HELD_OUT}
    assert not any(thing.pair in held_out for i in range(1_000_000) for thing in scene_at(kind, i)[0].things)


@pytest.mark.parametrize("kind", KINDS)
def test_things_keep_apart_inside_the_image_and_stand_clearly_to_one_another(kind: str) -> None:
    counts, relations = Counter[int](), Counter[str]()
    for scene in scenes(kind, 3000, "apart"):
        counts[len(scene.things)] += 1
        assert len({thing.pair for thing in scene.things}) == len(scene.things)
        boxes = []
        for thing, (x, y) in zip(scene.things, scene.centres, strict=True):
            left, right, up, down = (RADII[thing.size] * reach for reach in REACH[thing.shape])
            boxes.append((x - left, y - up, x + right, y + down))
            assert min(boxes[-1]) >= 0 and max(boxes[-1]) <= 1
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                gaps = a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]
                assert max(gaps) >= GAP - 1e-9
        for (x, y), (x2, y2) in zip(scene.centres, scene.centres[1:], strict=False):
            near, far = sorted((abs(x - x2), abs(y - y2)))
            assert near <= MOST_ASIDE * far + 1e-9
            relations[relation((x, y), (x2, y2))] += 1
    assert set(counts) == set(NUM_THINGS[kind])
    if relations:
        assert set(relations) == {"above", "below", "left of", "right of"}
        assert max(relations.values()) < 1.2 * min(relations.values())


def test_what_one_thing_is_to_another_turns_round_with_them() -> None:
    opposite = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
    middle = (0.5, 0.5)
    for place, name in (
        ((0.4, 0.2), "above"),
        ((0.6, 0.9), "below"),
        ((0.1, 0.4), "left of"),
        ((0.9, 0.6), "right of"),
    ):
        assert relation(place, middle) == name and relation(middle, place) == opposite[name]


@pytest.mark.parametrize("kind", KINDS)
def test_captions_say_what_their_scenes_show(kind: str) -> None:
    texts, untold = set(), 0
    for i in range(2000):
        scene, text = scene_at(kind, i)
        says = parse_caption(text)
        texts.add(text)
        assert len(says.things) == len(scene.things)
        where = [next(j for j, thing in enumerate(scene.things) if thing.pair == told.pair) for told in says.things]
        for told, j in zip(says.things, where, strict=True):
            untold += told.size == ""
            assert told.size in ("", scene.things[j].size)
        assert len(says.relations) == len(scene.things) - 1
        for a, name, b in says.relations:
            assert relation(scene.centres[where[a]], scene.centres[where[b]]) == name
    assert untold > 200 and len(texts) > (300 if kind == "shapes-one" else 900)


def test_a_caption_is_read_by_its_meaning() -> None:
    red, blue = Thing("red", "circle", "small"), Thing("blue", "square", "large")
    above = Statement((red, blue), ((0, "above", 1),))
    assert parse_caption("a small red circle above a large blue square") == above
    assert parse_caption("  Small red circle over big blue square. ") == above
    assert parse_caption("a large blue square with a small red circle above it").relations == ((1, "above", 0),)
    below = parse_caption("there is a big blue square to the left of a red circle")
    assert below == Statement((blue, red._replace(size="")), ((0, "left of", 1),))
    three = parse_caption("a red circle over a black square, which is right of a little pink star")
    assert [each.color for each in three.things] == ["red", "black", "pink"]
    assert three.relations == ((0, "above", 1), (1, "right of", 2))
    for wrong in ("", "a cat", "a red circle above", "a red circle a blue square", "red circle over pink star over it"):
        with pytest.raises(InputError, match="expected a caption such as"):
            parse_caption(wrong)


def test_a_thing_covers_its_area_and_its_centroid_is_its_place() -> None:
    half = half_window(32)
    at = np.arange(2 * half) + 0.5
    for shape, size, (x, y) in ((s, z, p) for s in SHAPES for z in SIZES for p in ((16.0, 16.0), (16.4, 15.7))):
        radius = RADII[size] * 32
        one = [np.array([each]) for each in (SHAPES.index(shape), x, y, radius)]
        alpha = coverage(*one, half)[0].astype(float)
        assert alpha.sum() == pytest.approx(AREAS[shape] * radius**2, rel=0.03)
        found = [float((alpha.sum(axis) * at).sum() / alpha.sum()) for axis in (0, 1)]
        assert found == pytest.approx([x - math.floor(x) + half, y - math.floor(y) + half], abs=0.05)
        edges = alpha[(alpha > 0) & (alpha < 1)]
        assert alpha.max() == 1 and len(np.unique(edges.round(2))) >= 2


def test_an_edge_between_two_pixels_covers_them_in_part() -> None:
    half, square = half_window(32), np.array([SHAPES.index("square")])
    alpha = coverage(square, np.array([16.25]), np.array([16.0]), np.array([5 / 0.9]), half)[0]
    row = alpha[half]
    assert row[half - 5 : half + 6].tolist() == pytest.approx([0.75, *[1.0] * 9, 0.25], abs=1e-5)
    assert row.sum() == pytest.approx(10)


def test_a_scene_has_the_same_pixels_in_every_batch() -> None:
    some = scenes("shapes-three", 40)
    together = draw(some, 32)
    assert together.dtype == np.uint8 and together.shape == (40, 32, 32, 3)
    for i in (0, 7, 39):
        assert (draw(some[i : i + 1], 32)[0] == together[i]).all()
    assert (draw(some[::-1], 32)[::-1] == together).all()
    corners = together[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners.reshape(40, -1).max(1) == BACKGROUND).all()


def test_a_larger_image_shows_the_same_scene() -> None:
    some = scenes("shapes", 20)
    small, large = draw(some, 32).astype(float), draw(some, 64).astype(float)
    halved = large.reshape(20, 32, 2, 32, 2, 3).mean((2, 4))
    assert np.abs(halved - small).mean() < 1 and np.abs(halved - small).max() < 40


@pytest.mark.parametrize("kind", KINDS)
def test_a_fixed_number_is_the_beginning_of_the_endless_row(kind: str) -> None:
    fixed = finish(collecting(DataSettings(source=kind, scenes=300))).images
    endless = finish(collecting(DataSettings(source=kind, scenes="endless"))).images
    assert isinstance(fixed.images, np.ndarray) and not isinstance(endless.images, np.ndarray)
    places = np.array([299, 0, 17, 17, 150])
    assert (endless.pixels(places) == fixed.pixels(places)).all()
    assert (endless.pixels(slice(40, 50)) == fixed.pixels(slice(40, 50))).all()
    assert fixed.captions is not None and endless.captions is not None
    assert [*fixed.captions] == [*islice(endless.captions, 300)] == [*endless.captions[:300]]
    part = endless.sliced(100, 200)
    assert part.captions is not None and part.captions[-1] == fixed.captions[199]
    assert (part.pixels(np.array([3, -1])) == fixed.pixels(np.array([103, 199]))).all()
    columns, taken = endless.images.columns(places, ("images", "captions"))
    assert columns["captions"].tolist() == [fixed.captions[i] for i in places]
    assert (columns["images"] == fixed.pixels(places)).all() and (taken == places).all()


def test_the_hash_tells_what_the_images_are() -> None:
    def of(**settings: object) -> str:
        return finish(
            collecting(DataSettings.model_validate({"source": "shapes", "scenes": 20, **settings}))
        ).images.hash

    hashes = [of(), of(scenes=21), of(size=40), of(source="shapes-one"), of(scenes="endless")]
    assert len({*hashes}) == 5 and of() == hashes[0] == of(validation=0.2)


def test_an_endless_set_holds_scenes_of_its_own_out() -> None:
    parts = load(DataSettings(source="shapes", scenes="endless"))
    assert len(parts.train) == 2**24
    assert (len(parts.validation), len(parts.test)) == (NUM_VALIDATION, NUM_TEST)
    assert isinstance(parts.test.images, np.ndarray) and parts.test.captions is not None
    scene, text = scene_at("shapes", 2**24 + NUM_VALIDATION)
    assert parts.test.captions[0] == text and (parts.test.pixels(slice(1)) == draw([scene], 32)).all()
    assert len(compared_with(parts.train)) == 20_000 and compared_with(parts.test) is parts.test
    none = load(DataSettings(source="shapes", scenes="endless", validation=0.0, test=0.0))
    assert (len(none.validation), len(none.test)) == (0, 0)


def test_batches_of_an_endless_set_are_functions_of_seed_and_step() -> None:
    train = load(DataSettings(source="shapes-one", scenes="endless")).train
    loader, other = (Loader(train, 16, seed=3) for _ in range(2))
    late = loader.batch(500_000)
    assert (loader.batch(0).indices != late.indices).any() and len({*late.indices.tolist()}) == 16
    assert (other.batch(500_000).pixels == late.pixels).all()
    assert (Loader(train, 16, seed=4).batch(0).indices != loader.batch(0).indices).any()
    half = Loader(train, 16, seed=3, local_slice=slice(8, 16)).batch(500_000)
    assert (half.pixels == late.pixels[8:]).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": 16}, "square data.size of at least 32"),
        ({"size": (32, 40)}, "square data.size"),
        ({"color": "grey"}, "expected data.color rgb or auto"),
        ({"flip": True}, "left would be right"),
    ],
)
def test_settings_that_captions_contradict_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(DataSettings.model_validate({"source": "shapes", "scenes": 10, **settings}))


def test_scenes_are_packed_with_their_captions(tmp_path: Path) -> None:
    settings = DataSettings(source="shapes", scenes=40)
    pack(settings, str(tmp_path / "packed"))
    direct, packed = load(settings), load(DataSettings(source=str(tmp_path / "packed")))
    assert direct.test.captions is not None and packed.test.captions is not None
    assert [*packed.test.captions] == [*direct.test.captions]
    assert (packed.train.pixels() == direct.train.pixels()).all()


def test_rows_that_are_sliced_too_far_are_empty() -> None:
    rows = SceneRows("shapes", 32, 5, 15)
    assert len(rows.sliced(4, 2)) == 0 and len(rows.sliced(3, 99)) == 7
    assert rows[0:0].shape == (0, 32, 32, 3)


def test_scenes_stay_what_they_are() -> None:
    """Of version 1: where this fails, old runs would go on with other images; raise VERSION."""
    scene, text = scene_at("shapes", 0)
    assert text == "blue square left of large black square"
    assert scene.things == (Thing("black", "square", "large"), Thing("blue", "square", "small"))
    assert scene.centres[0] == pytest.approx((0.7913599859024523, 0.7746545662027364), abs=1e-12)
    assert scene.centres[1] == pytest.approx((0.2043946705700118, 0.6200821486195576), abs=1e-12)
    expected = np.full((32, 32, 3), 255.0)
    for thing, (x, y) in zip(scene.things, scene.centres, strict=True):  # of a square the covered area is a product
        half = 0.9 * RADII[thing.size] * 32
        cover = [(np.minimum(np.arange(1, 33), at * 32 + half) - np.maximum(np.arange(32), at * 32 - half)).clip(0, 1)
                 for at in (y, x)]  # fmt: skip
        expected += np.outer(*cover)[..., None] * (np.array(COLORS[thing.color]) - 255.0)
    assert np.abs(draw([scene], 32)[0] - expected).max() < 40
    assert np.abs(draw([scene], 32)[0] - expected).mean() < 0.3


def test_a_data_set_without_a_preset_trains_as_a_folder_does(tmp_path: Path) -> None:
    planned = plan("shapes-three", None, {"data": {"scenes": "endless"}}, tmp_path / "run")
    assert (planned.config.data.source, planned.config.data.scenes) == ("shapes-three", "endless")
