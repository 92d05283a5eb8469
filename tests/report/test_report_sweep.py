"""The section on samplers: the recommendation, or how to get one, and never that of other weights."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ancestral.errors import InputError
from ancestral.evaluation.metrics import Jackknife
from ancestral.evaluation.settings import SweepSettings
from ancestral.evaluation.sweep import SamplerChoice, Sweep, SweepRow
from ancestral.report.sweep import best_grids, figure, read_sweep, sweep
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


def facts(folder: Path, weights: str) -> SimpleNamespace:
    pipeline = SimpleNamespace(weights_hash=lambda: weights)
    return SimpleNamespace(folder=SimpleNamespace(path=folder), pipeline=pipeline)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's facts are a stand-in here."""
    monkeypatch.setattr("ancestral.report.sweep.sweep", getattr(sweep, "__wrapped__", sweep))


def test_the_section_says_what_is_recommended(tmp_path: Path, unchecked: None) -> None:
    from ancestral.report import sweep as module

    (tmp_path / "sweep.json").write_text(FOUND.model_dump_json())
    told = module.sweep(facts(tmp_path, "abc"))
    assert "unipc-2 on the grid karras, 10 steps, 10 network calls" in told
    assert "<img" in told and "180 test images" in told
    stale = module.sweep(facts(tmp_path, "other"))
    assert "Out of date" in stale and "unipc-2" not in stale
    (tmp_path / "sweep.json").unlink()
    assert "ancestral sweep" in module.sweep(facts(tmp_path, "abc"))


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
