"""`ancestral sweep`: what it writes, that it goes on, and what the pipeline draws by afterwards."""

import json
from pathlib import Path

import pytest
from cli_calls import call, snapshot

from ancestral.pipeline import Pipeline
from ancestral.viz.pictures import read_metadata

FEW = ["--calls", "2", "8", "--samplers", "ddim", "dpm++3m", "ancestral", "--grids", "trailing", "log-snr"]
SMALL = ["--images", "24", "--reference", "8"]


@pytest.fixture
def run(answering: Path) -> Path:
    return answering


@pytest.fixture(autouse=True)
def quick_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that are no good, soon."""
    monkeypatch.setattr("ancestral.evaluation.features.LEAST_IMAGES", 500)
    monkeypatch.setattr("ancestral.evaluation.features.EPOCHS", 1)


def test_a_sweep_is_written_and_its_recommendation_becomes_the_default(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Pipeline.load(run).weights_hash()
    code, out, err = call(capsys, "sweep", run, *FEW, *SMALL)
    assert code == 0
    assert "12 chains of 24 images: 1,632 network calls" in err, "24 x (8 + 2 x 6 + 8 x 6)"
    kept = json.loads((run / "sweep.json").read_text())
    assert len(kept["rows"]) == 12 and (run / "sweep.png").is_file()
    noisy = {row["contender"]["sampler"] for row in kept["rows"] if row["to_flow"] is None}
    assert noisy == {"ancestral"}
    flows = {
        (r["contender"]["sampler"], r["contender"]["grid"], r["contender"]["steps"]): r["to_flow"] for r in kept["rows"]
    }
    assert flows["dpm++3m", "log-snr", 8] == 0, "that is the reference itself"
    assert min(flow for key, flow in flows.items() if flow is not None and key[0] == "ddim") > 0
    assert "recommended: " in out
    after = Pipeline.load(run)
    assert after.weights_hash() == before
    chosen = after.config.sampling
    assert f"{chosen.sampler} on the grid {chosen.grid}, {chosen.steps} steps" in out
    assert chosen.steps in (2, 8) and chosen.grid in ("trailing", "log-snr")
    assert call(capsys, "sample", run, "--num-images", "1", "--out", "out").code == 0
    assert read_metadata(Path("out/grid.png"))["steps"] == str(chosen.steps)


def test_what_was_measured_is_not_measured_again_and_more_is_added(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", run, "--samplers", "ddim", "--grids", "log-snr", *SMALL, "--dry-run"]
    before = snapshot(run / "pipeline")
    assert call(capsys, *words, "--calls", "2").code == 0
    first = json.loads((run / "sweep.json").read_text())["rows"]
    more = call(capsys, *words, "--calls", "2", "3", "--json")
    rows = json.loads((run / "sweep.json").read_text())["rows"]
    assert "1 chains" in more.err and rows[:1] == first and len(rows) == 2
    assert json.loads(more.out)["rows"] == rows
    again = call(capsys, *words, "--calls", "3")
    assert "chains" not in again.err and again.code == 0
    assert snapshot(run / "pipeline") == before, "--dry-run leaves the pipeline alone"
    other = call(capsys, *words, "--calls", "2", "--clip", "none")
    assert other.code == 0 and len(json.loads((run / "sweep.json").read_text())["rows"]) == 1


def test_what_is_guided_by_another_network_is_no_default(
    run: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", run, "--samplers", "ddim", "--grids", "log-snr", "--calls", "2", *SMALL]
    before = snapshot(run / "pipeline")
    code, out, _ = call(capsys, *words, "--guidance", "2", "--weaker", trained)
    assert code == 0 and "not stored" in out
    assert snapshot(run / "pipeline") == before
    assert json.loads((run / "sweep.json").read_text())["guide"] == Pipeline.load(trained).weights_hash()


WRONG = {
    "a sampler to compare": (["--sampler", "ddim"], "--sampler"),
    "an unknown sampler": (["--samplers", "dimm"], "'dimm'"),
    "an unknown grid": (["--grids", "even"], "'even'"),
    "no calls": (["--calls", "0"], "calls"),
    "too few images": (["--images", "3"], "images"),
    "a fraction": (["--images", "3.5"], "whole number"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_words_give_one_line_and_leave_the_run(
    name: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = WRONG[name]
    before = snapshot(trained)
    code, _, err = call(capsys, "sweep", trained, *words)
    assert code == 2 and len(err.strip().splitlines()) == 1 and expected in err
    assert snapshot(trained) == before


def test_a_damaged_file_is_named_and_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "sweep.json").write_text('{"weights": 3')
    code, _, err = call(capsys, "sweep", run, *FEW, *SMALL)
    assert code == 2 and "sweep.json is damaged" in err and "remove it" in err
    assert (run / "sweep.json").read_text() == '{"weights": 3'
