"""What images hold of their prompts, on the page and in a terminal: beside chance and the reader's errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from test_html import Seen
from test_report_page import settings, untrained

from ancestral.evaluation.settings import PromptSettings
from ancestral.evaluation.text_evaluation import FILE, PICTURE, PromptedImages, TextEvaluation
from ancestral.progress import finish
from ancestral.report.facts import read_facts
from ancestral.report.page import page
from ancestral.report.prompts import figure, picture_of, rows, sentences, text
from ancestral.viz.pictures import save_png

NEAR = {
    "space": "pixels", "num_generated": 400, "num_held_out": 400, "num_training": 800, "generated_median": 300.0,
    "held_out_median": 400.0, "ratio": 0.75, "nearer": 0.02,
}  # fmt: skip
LIFT = {"bits": 12.5, "standard_error": 0.5, "num_images": 256, "levels": 16, "log_snr": (-10.0, 9.0)}


def share(name: str, value: float, apart: float = 0.05) -> dict[str, Any]:
    return {"name": name, "value": value, "low": value - apart, "high": value + apart}


def scores(name: str, chance: dict[str, float], **values: float) -> dict[str, Any]:
    shares = [share(key.replace("_at_", "@"), value) for key, value in values.items()]
    return {"name": name, "num_prompts": 500, "num_images": 500, "shares": shares, "chance": chance}


def measured(weights: str = "0" * 16, **changes: Any) -> TextEvaluation:
    by_chance = {"all": 0.45, "whole": 0.001, "relation": 0.375}
    curve = [{"guidance": g, "shares": [share("all", v), share("whole", v / 2)]} for g, v in ((1.0, 0.6), (3.0, 0.8))]
    tree = {
        "source": "shapes", "weights": weights, "settings": PromptSettings(), "chosen_by": "all",
        "choosing": "prompts of their own", "choosing_chance": 0.44, "choosing_ceiling": 0.99, "guidance": 3.0,
        "curve": curve,
        "scores": [
            scores("seen pairs", by_chance, all=0.912, whole=0.8, relation=0.875, swapped=0.1),
            scores("held-out pairs", by_chance, all=0.77, whole=0.6, relation=0.7, swapped=0.2),
            scores("no prompt", by_chance, all=0.46, whole=0.1, relation=0.37, swapped=0.1),
        ],
        "reader_errors": {"clean": {"all": 0.0012}, "blurred": {"all": 0.02}, "noisy": {"all": 0.03}},
        "lift": LIFT, "nearness": NEAR, "seconds": 1.0, **changes,
    }  # fmt: skip
    return TextEvaluation.model_validate(tree)


def found_captions(weights: str = "0" * 16) -> TextEvaluation:
    by_chance, curve = {"R@1": 0.01, "R@5": 0.05}, [{"guidance": 2.0, "shares": [share("R@1", 0.3), share("R@5", 0.5)]}]
    both = [
        scores("generated", by_chance, R_at_1=0.31, R_at_5=0.52),
        scores("real images", by_chance, R_at_1=0.69, R_at_5=0.76),
    ]
    return measured(
        weights, source="birds", chosen_by="R@1", choosing="captions of the validation part", curve=curve, scores=both,
        reader_errors=None, gallery=100, num_fitted=3045, choosing_ceiling=0.66, choosing_chance=0.01, guidance=2.0,
    )  # fmt: skip


def test_chance_and_the_readers_errors_stand_beside_every_share() -> None:
    head, body = rows(measured())
    assert head[:5] == ["%", "seen pairs (500)", "by chance", "held-out pairs (500)", "by chance"]
    assert head[5:] == ["no prompt (500)", "reader errs: clean / blurred / noisy"]
    cells = {line[0]: line[1:] for line in body}
    assert cells["facts"] == ["91.2 (86–96)", "45", "77.0 (72–82)", "45", "46.0 (41–51)", "0.12 / 2 / 3"]
    assert cells["swapped"][1] == "" and "whole prompts" in cells
    head, body = rows(found_captions())
    assert head == ["%", "generated (500)", "by chance", "real images (500)"]
    assert body == [["R@1", "31.0 (26–36)", "1", "69.0 (64–74)"], ["R@5", "52.0 (47–57)", "5", "76.0 (71–81)"]]


def test_the_rest_is_said_in_sentences() -> None:
    said = " ".join(sentences(measured()))
    assert "Guidance 3, which had the most facts of prompts of their own." in said
    assert "12.50 ± 0.50 bits an image" in said and "log-SNR from −10 to 9" in said
    assert "generated over held out: 0.75" in said and "2.0%" in said and "encoders" not in said
    assert "among 100, by encoders" in " ".join(sentences(found_captions())) and "3,045 real images" in " ".join(
        sentences(found_captions())
    )


@pytest.mark.parametrize("make", [measured, found_captions])
def test_the_curve_has_chance_and_ceiling_of_the_share_that_decides(make: Callable[[], TextEvaluation]) -> None:
    found = make()
    (axes,) = figure(found).axes
    lines = {line.get_label(): line for line in axes.lines}
    first = {"all": "facts", "R@1": "R@1"}[found.chosen_by]
    assert list(lines[first].get_xdata()) == [point.guidance for point in found.curve]
    assert [*lines[f"chance of {first}"].get_ydata()] == [found.choosing_chance] * 2
    assert [*lines[f"ceiling of {first}"].get_ydata()] == [found.choosing_ceiling] * 2
    assert [*lines[f"chosen: {found.guidance:g}"].get_xdata()] == [found.guidance] * 2


def test_images_stand_beside_the_nearest_training_image_with_their_prompt(tmp_path: Path) -> None:
    images = torch.full((3, 3, 32, 32), 250, dtype=torch.uint8)
    save_png(
        picture_of(PromptedImages(["one", "another", "a third"], images, images)), tmp_path / "a.png", {"weights": "0"}
    )
    with Image.open(tmp_path / "a.png") as picture:
        row = [picture.getpixel((x, 40)) for x in range(picture.width)]
    assert row.count((160, 160, 160)) >= 3, "something is between two white images"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCESTRAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        return untrained(tmp_path_factory.mktemp("runs") / "run", settings(source="digits"))


def test_the_section_shows_all_of_it_and_only_where_there_is_something(run: Path) -> None:
    facts = read_facts(run)
    assert text(facts) is None
    weights = facts.pipeline.weights_hash()
    (run / FILE).write_text(measured(weights).model_dump_json())
    images = torch.full((1, 3, 32, 32), 250, dtype=torch.uint8)
    save_png(picture_of(PromptedImages(["one"], images, images)), run / PICTURE, {"weights": weights})
    whole = finish(page(facts))
    assert 'href="#text"' in whole and 'id="text"' in whole
    section = text(facts)
    assert section is not None and section.count("<img") == 2 and "Out of date" not in section
    shown = Seen(section).text
    assert "91.2 (86–96)" in shown and "0.12 / 2 / 3" in shown and "12.50 ± 0.50 bits" in shown
    (run / FILE).write_text(measured("f" * 16).model_dump_json())
    assert "Out of date" in str(text(facts))
