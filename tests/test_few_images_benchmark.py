"""How many images a person needs: what is cut of what, what is trained, and what the page says of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ancestral.data.datasets import load
from ancestral.evaluation.evaluate import Comparison, Number
from ancestral.evaluation.metrics import Nearest
from benchmarks import few_images
from benchmarks.few_images_data import STRIDES, Cut, cuts, divided, families, write_folder
from benchmarks.few_images_figures import GENERATED, REAL, THEMSELVES, pairs_of, settings_of
from benchmarks.few_images_page import best, in_words, pages, table
from benchmarks.few_images_plans import COUNTS, VARIANTS, planned

ROOT = Path(__file__).parents[1]
SIZES = [(64, 64), (64, 128), (128, 128), (80, 72)]


@pytest.fixture(scope="module")
def sources() -> dict[str, np.ndarray]:
    """Forty images of noise, of which the last four are others again with a lamp switched on."""
    random = np.random.default_rng(0)
    found = {f"{i}.png": random.integers(0, 256, (*SIZES[i % 4], 3), np.uint8) for i in range(36)}
    for i in range(4):
        found[f"{i}-on.png"] = found[f"{i}.png"].copy()
        found[f"{i}-on.png"][:2, :2] = 255
    return found


def test_the_page_is_that_of_the_results() -> None:
    """Else: python -m benchmarks.few_images --table."""
    assert {file: file.read_text(encoding="utf-8") for file in pages(ROOT)} == pages(ROOT)


def test_images_that_are_nearly_alike_are_of_one_family(sources: dict[str, np.ndarray]) -> None:
    together = sorted(group for group in families(sources) if len(group) > 1)
    assert together == [[f"{i}-on.png", f"{i}.png"] for i in range(4)] and len(families(sources)) == 36


def test_nothing_is_held_out_of_a_family_that_is_trained_on(sources: dict[str, np.ndarray]) -> None:
    division = divided(sources)
    of_parts = [{cut.source.removesuffix("-on.png").removesuffix(".png") for cut in part} for part in division[:3]]
    assert sum(map(len, of_parts)) == len({*of_parts[0]} | of_parts[1] | of_parts[2]) == 36
    assert [len(part) for part in of_parts] == [24, 5, 7]
    watched, tested, real = ({*part} for part in (division.validation, division.test, division.real))
    learned = [{cut.source for cut in family} for family in division.features]
    assert learned and set().union(*learned) <= {cut.source for cut in watched} and real < {*division.train}
    assert not any(cut.overlaps for cut in watched | tested | real)
    assert len(division.real) == len(division.test)


def test_the_first_cuts_are_of_as_many_families_as_can_be_and_overlap_last(sources: dict[str, np.ndarray]) -> None:
    train = divided(sources).train
    assert len({cut.source for cut in train[:24]}) == 24
    overlapping = [cut.overlaps for cut in train]
    assert overlapping == sorted(overlapping) and True in overlapping
    assert len({cut.of(sources).tobytes() for cut in train}) == len(train), "no two are the same"
    assert train == divided(sources).train and train != divided(sources, seed=1).train


def test_squares_that_are_equal_are_cut_once() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    tiled = {"tiled": np.tile(tile, (2, 2, 1))}
    assert len(cuts(tiled, [["tiled"]], STRIDES[:1], 0)) == 1
    assert len(cuts(tiled, [["tiled"]], STRIDES, 0)) == 16, "moved by 16, 32 or 48 either way, and round its edges"


def test_a_folder_of_cuts_is_read_by_its_parts_and_written_once(sources: dict[str, np.ndarray], tmp_path: Path) -> None:
    division = divided(sources)
    parts = {"train": division.train[:9], "val": division.validation, "test": division.test}
    folder = write_folder(tmp_path / "9", sources, parts)
    first = sorted((file, file.read_bytes()) for file in folder.rglob("*.png"))
    read = load(settings_of(folder))
    assert [len(part) for part in read[:3]] == [len(part) for part in parts.values()]
    wanted = {cut.of(sources).tobytes() for cut in parts["train"]}
    assert {pixels.tobytes() for pixels in read.train.pixels()} == wanted

    untouched = (folder / "train" / "0000.png").stat().st_mtime_ns
    write_folder(tmp_path / "9", sources, parts)
    assert (folder / "train" / "0000.png").stat().st_mtime_ns == untouched
    write_folder(tmp_path / "9", sources, {**parts, "train": division.train[:8]})
    assert len([*(folder / "train").iterdir()]) == 8
    write_folder(tmp_path / "9", sources, parts)
    assert sorted((file, file.read_bytes()) for file in folder.rglob("*.png")) == first, "the same bits twice"


def test_no_training_image_is_in_two_of_the_pairs_and_the_nearest_come_first() -> None:
    found = Nearest(torch.tensor([3, 3, 1, 3]), torch.tensor([2.0, 1.0, 0.5, 1.0], dtype=torch.float64))
    assert pairs_of(found) == [(2, 1), (1, 3)]


def test_a_plan_is_an_hour_of_the_recipe_for_a_folder_and_one_setting() -> None:
    some = [Cut("a", 0, 0), Cut("b", 0, 0)]
    plain, augmented = planned("plain", some), planned("augmented", some, rate=10.0)
    assert plain.changes == {"data": {"size": 64}, "training": {"minutes": 60.0}} and plain.label == "2-plain"
    assert augmented.changes["training"] == {"images": 36_000, "augment": 0.12}
    assert augmented.config.training.minutes is None and augmented.config.network == plain.config.network
    assert planned("dropout", some).config.network.dropout == 0.1
    assert planned("narrower", some, share=0.1).label == "2-narrower-0.1"
    assert planned("plain", some[::-1]).settings != plain.settings == planned("plain", some).settings


def test_more_than_can_be_cut_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(8):
        Image.effect_noise((64, 64), 50).save(tmp_path / f"{i}.png")
    words = ["9", "--source", str(tmp_path), "--root", str(tmp_path / "root")]
    assert few_images.main(words) == 2
    assert "images that can be cut to train on, got 9" in capsys.readouterr().err


def entry(count: int, variant: str, distance: float, **more: Any) -> dict[str, Any]:
    """One of a results file."""

    def compared(name: str, value: float) -> dict[str, Any]:
        values = {"frechet": value, "kernel": 0.1, "precision": 0.5, "recall": 0.4, "coverage": 0.3}
        given = ({"name": name, "value": each, "standard_error": 0.1} for name, each in values.items())
        numbers = tuple(map(Number.model_validate, given))
        return Comparison(name=name, num_left=9, num_right=9, numbers=numbers).model_dump(mode="json")

    near = {"num_generated": 9, "num_held_out": 9, "num_training": count, "generated_median": 1.0, "nearer": 0.25}
    return {
        "count": count,
        "variant": variant,
        "label": f"{count}-{variant}",
        "share": 1.0,
        "when": "2026-12-01",
        "training": {"images": 10 * count, "images_per_second": 9.0, "minutes": 60.0, "processor_share": 0.3},
        "comparisons": [compared(GENERATED, distance), compared(THEMSELVES, 2.0), compared(REAL, 1.0)],
        "nearness": [
            {**near, "space": space, "held_out_median": 2.0, "ratio": 0.5} for space in ("pixels", "features")
        ],
        "held_out_loss": {"lowest": 0.1, "lowest_at": 500, "last": 0.3, "num_images": 9},
        "rate": None,
        "threads": 1,
        "commit": "abc",
        "settings": "def",
        "command": "ancestral train 50",
        "num_sources": 40,
        "num_overlapping": 0,
        "num_compared": 9,
        "features": {"accuracy": 0.9, "num_classes": 54, "num_held_out": 9},
        **more,
    }


def test_an_entry_is_shown_with_its_picture_its_command_and_what_it_was_measured_on(tmp_path: Path) -> None:
    machine = {"processor": "one", "cores": 2, "products": "f32", "torch": "2"}
    whole, busy = entry(50, "plain", 4.0), entry(5000, "dropout", 3.0, rate=30.0, num_overlapping=3775)
    results = tmp_path / "benchmarks" / "results" / "few-images-one.json"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps({"machine": machine, "entries": {"a": whole, "b": busy}}))
    (page,) = pages(tmp_path).values()
    assert "Not measured yet" not in page and page.count("(pictures/few-images-") == 3, "real images, and each entry"
    assert "Squares of 40 images. 500 images, 9 a second, on a busy machine: 30 % of a core; 60.0 minutes" in page
    assert "Squares of 40 images, 3,775 of them overlapping. 50,000 images, 9 a second, as many as the machine" in page
    assert "tells 90 % of squares out of 54 walls: kernel distance 0.10 ± 0.10; distance to the nearest" in page


def test_words_say_what_is_lowest_and_what_cannot_be_told_from_it() -> None:
    several = [entry(50, "plain", 4.2), entry(50, "augmented", 4.0), entry(50, "dropout", 5.0)]
    assert in_words(several) == (
        "**50 images.** The lowest Fréchet distance has `augmented`; within two standard errors of it: `plain`. As "
        "near to a training image as 1 % of held-out images are: 25 % with `plain`, 25 % with `augmented` and 25 % "
        "with `dropout`."
    )
    assert "by more than two standard errors" in in_words(several[1:])
    assert "lowest" not in in_words(several[:1])


def test_the_table_has_copies_and_real_images_beside_what_was_generated() -> None:
    shares = "0.50 ± 0.10 | 0.40 ± 0.10 | 0.30 ± 0.10"
    assert table({50: [entry(50, "plain", 4.0)]}).splitlines()[2:] == [
        f"| 50 | `plain` | 500 | 10 times | 4.00 ± 0.10 | {shares} | 25 % | 0.5 | 0.1 after 500; 0.3 |",
        f"| 50 | the training images themselves |  |  | 2.00 ± 0.10 | {shares} |  |  |  |",
        f"|  | other real images |  |  | 1.00 ± 0.10 | {shares} |  |  |  |",
    ]


def test_a_whole_hour_counts_before_a_rehearsal_and_numbers_come_in_order() -> None:
    rehearsal = entry(200, "plain", 3.0, share=0.1, when="2026-12-09")
    whole, small, other = entry(200, "plain", 4.0), entry(50, "dropout", 4.0), entry(50, "plain", 4.0)
    assert best([whole, rehearsal, small, other]) == [other, small, whole]
    assert len(COUNTS) * len(VARIANTS) == 16, "hours, as the page says"
