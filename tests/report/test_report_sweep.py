"""The section on samplers: the recommendation, or how to get one, and never that of other weights."""

from pathlib import Path

import pytest
from test_report_page import settings, untrained

from ancestral.errors import InputError
from ancestral.evaluation.metrics import Jackknife
from ancestral.evaluation.settings import SweepSettings
from ancestral.evaluation.sweep import SamplerChoice, Sweep, SweepRow, read_sweep
from ancestral.report.facts import RunFacts, read_facts
from ancestral.report.measurements import best_grids, figure, sweep
from ancestral.settings import SamplingSettings


def row(sampler: str, grid: str, calls: int, value: float) -> SweepRow:
    one = SamplerChoice(sampler=sampler, grid=grid, budget=calls, steps=calls, calls=calls)
    flow = None if sampler == "ancestral" else 10 / calls
    return SweepRow(choice=one, jackknife=Jackknife(value, (value,), (value,)), to_flow=flow, agreement=None)


FOUND = Sweep(
    weights="abc",
    settings=SweepSettings(),
    sampling=SamplingSettings(),
    num_test=180,
    floor=0.4,
    reference=0.9,
    rows=(
        row("ddim", "trailing", 5, 3.0),
        row("ddim", "karras", 5, 5.0),
        row("ddim", "trailing", 10, 1.5),
        row("unipc-2", "karras", 10, 1.0),
        row("ancestral", "trailing", 10, 4.0),
    ),
)


@pytest.fixture
def facts(tmp_path: Path) -> RunFacts:
    return read_facts(untrained(tmp_path / "run", settings(source="digits")))


def test_the_section_says_what_is_recommended(facts: RunFacts) -> None:
    file = facts.folder.path / "sweep.json"
    file.write_text(FOUND.model_copy(update={"weights": facts.pipeline.weights_hash()}).model_dump_json())
    told = sweep(facts)
    assert "unipc-2 on the grid karras, 10 steps, 10 network calls" in told
    assert "<img" in told and "180 test images" in told
    file.write_text(FOUND.model_dump_json())
    stale = sweep(facts)
    assert "Out of date" in stale and "unipc-2" not in stale
    file.unlink()
    assert "ancestral sweep" in sweep(facts)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(InputError, match=r"sweep\.json is damaged"):
        read_sweep(tmp_path / "sweep.json")


def test_a_cell_is_that_of_the_best_grid() -> None:
    budgets, rows = best_grids(FOUND)
    assert budgets == [5, 10]
    assert [one and one.frechet for one in rows["ddim"]] == [3.0, 1.5]
    assert [one and one.frechet for one in rows["unipc-2"]] == [None, 1.0]


def test_the_picture_names_the_recommended_first_and_what_everybody_knows() -> None:
    told = [text.get_text() for text in figure(FOUND).legends[0].get_texts()]
    assert told[:2] == ["many steps", "training images"]
    assert told[2:5] == ["unipc-2, karras", "ancestral, trailing", "ddim, trailing"]
    assert "ddim, karras" not in told
