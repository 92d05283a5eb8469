"""`ancestral sweep`: what it writes, that it goes on, and what the pipeline generates by afterwards."""

import json
import shutil
from pathlib import Path

import pytest
from cli_calls import call, snapshot

from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from ancestral.training.run import RunFolder
from ancestral.viz.png_texts import read_metadata

FEW = ["--calls", "2", "8", "--samplers", "ddim", "dpm++3m", "ancestral", "--grids", "trailing", "log-snr"]
SMALL = ["--images", "24", "--reference", "8"]
pytestmark = pytest.mark.usefixtures("quick_features")


@pytest.fixture
def run(answering: Path) -> Path:
    return answering


def won(file: Path) -> None:
    """Makes a small sweep one of 200 images, whose rows are clearly better than how images are generated now."""
    found = json.loads(file.read_text())
    found["settings"]["images"] = 200
    for value, row in ((2.0, found["present"]["row"]), *((1.0, row) for row in found["rows"])):
        row["jackknife"] = [value, *([value] * len(groups) for groups in row["jackknife"][1:])]
    file.write_text(json.dumps(found))


def drawn_by(run: Path) -> tuple[SamplingSettings, SamplingSettings]:
    """What config.json and the pipeline say."""
    return RunFolder(run).read_config().sampling, Pipeline.load(run, "cpu").config.sampling


def test_a_sweep_is_written_and_few_images_change_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(run / "pipeline")
    code, out, err = call(capsys, "sweep", run, *FEW, *SMALL)
    assert code == 0
    assert "13 chains of 24 images: 2,832 network calls" in err, (
        "24 x (8 + 2 x 6 + 8 x 6), and 50 as it generates images now"
    )
    kept = json.loads((run / "sweep.json").read_text())
    assert len(kept["rows"]) == 12 and (run / "sweep.png").is_file()
    noisy = {row["choice"]["sampler"] for row in kept["rows"] if row["to_flow"] is None}
    assert noisy == {"ancestral"}
    flows = {(r["choice"]["sampler"], r["choice"]["grid"], r["choice"]["steps"]): r["to_flow"] for r in kept["rows"]}
    assert flows["dpm++3m", "log-snr", 8] == 0, "that is the reference itself"
    assert min(flow for key, flow in flows.items() if flow is not None and key[0] == "ddim") > 0
    assert kept["present"]["row"]["choice"]["calls"] == 50
    assert "recommended: " in out and "cannot tell" in out and "24 images of each are fewer than 200" in out
    assert snapshot(run / "pipeline") == before and not (run / "sampling.json").exists()


EIGHT = ["sweep", "--samplers", "ddim", "--grids", "trailing", "--calls", "8"]
CHOICE = [*EIGHT, "--images", "200", "--reference", "8"]
"""Of what `won` has written."""


def test_a_choice_stands_in_run_and_pipeline_and_is_undone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight calls in place of fifty, by the same sampler on the same grid, and better."""
    former, weights = drawn_by(run), Pipeline.load(run).weights_hash()
    assert former[0] == former[1]
    assert call(capsys, *EIGHT, *SMALL, run).code == 0
    won(run / "sweep.json")
    assert call(capsys, *CHOICE, run, "--keep").code == 0
    assert drawn_by(run) == former
    code, out, _ = call(capsys, *CHOICE, run, "--json")
    told = json.loads(out)
    assert code == 0 and told["stored"] and told["price"] is None, "nothing was measured again"
    now = drawn_by(run)
    assert now[0] == now[1] and (now[0].steps, now[0].grid) == (8, "trailing")
    assert Pipeline.load(run).weights_hash() == weights
    assert call(capsys, "sample", run, "--num-images", "1", "--out", "out").code == 0
    assert read_metadata(Path("out/grid.png"))["steps"] == "8"
    again = call(capsys, *CHOICE, run)
    assert again.code == 0 and "this sweep's choice already" in again.out and drawn_by(run) == now
    assert call(capsys, "sweep", run, "--restore").code == 0
    assert drawn_by(run) == former
    code, _, err = call(capsys, "sweep", run, "--restore")
    assert code == 2 and "expected a sweep's choice to undo" in err
    assert call(capsys, "sweep", run, "--use", "ddim,trailing,8").code == 0
    assert drawn_by(run) == now
    assert json.loads((run / "sweep.json").read_text())["made"]["steps"] == 8
    assert call(capsys, "sweep", run, "--restore").code == 0
    code, _, err = call(capsys, "sweep", run, "--use", "ddim,trailing,9")
    assert code == 2 and "measure it first" in err and drawn_by(run) == former


def test_a_pipeline_alone_is_swept_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a run's own pipeline folder is the run: its config.json must not be left behind."""
    alone = Path(shutil.copytree(run / "pipeline", "alone"))
    assert call(capsys, *EIGHT, *SMALL, alone).code == 0
    won(Path("sweep.json"))
    shutil.copy("sweep.json", run)
    assert call(capsys, *CHOICE, alone).code == 0
    assert Pipeline.load(alone, "cpu").config.sampling.steps == 8
    assert call(capsys, "sweep", alone, "--restore").code == 0
    assert Pipeline.load(alone, "cpu").config.sampling.steps == 50
    assert call(capsys, *CHOICE, run / "pipeline").code == 0
    assert [sampling.steps for sampling in drawn_by(run)] == [8, 8]


def test_what_was_measured_is_not_measured_again_and_more_is_added(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", run, "--samplers", "ddim", "--grids", "log-snr", *SMALL, "--dry-run"]
    before = snapshot(run / "pipeline")
    assert call(capsys, *words, "--calls", "2").code == 0
    first = json.loads((run / "sweep.json").read_text())["rows"]
    more = call(capsys, *words, "--calls", "2", "3", "--keep", "--json")
    rows = json.loads((run / "sweep.json").read_text())["rows"]
    assert "1 chains" in more.err and rows[:1] == first and len(rows) == 2
    assert json.loads(more.out)["rows"] == rows
    again = call(capsys, *words, "--calls", "3")
    assert "chains" not in again.err and again.code == 0
    assert snapshot(run / "pipeline") == before, "--dry-run leaves the pipeline alone"
    earlier = (run / "sweep.json").read_text().replace('"fitted_apart": true', '"fitted_apart": false')
    (run / "sweep.json").write_text(earlier)
    assert "2 chains" in call(capsys, *words, "--calls", "2").err, "of other features: not mixed with new ones"
    other = call(capsys, *words, "--calls", "2", "--clip", "none")
    assert other.code == 0 and len(json.loads((run / "sweep.json").read_text())["rows"]) == 1


def test_what_is_guided_by_another_network_is_no_default(
    run: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guided = [run, "--guidance", "2", "--weaker", trained]
    before = snapshot(run / "pipeline")
    assert call(capsys, *EIGHT, *SMALL, *guided).code == 0
    won(run / "sweep.json")
    code, out, _ = call(capsys, *CHOICE, *guided)
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
    "too many images": (["--images", "1000000000000"], "at most 1000000"),
    "to restore and to measure": (["--restore", "--images", "300"], "--images"),
    "to restore and to keep": (["--restore", "--keep"], "--keep"),
    "to use and to measure": (["--use", "ddim,trailing,8", "--images", "300"], "--images"),
    "to use two words": (["--use", "ddim,8"], "SAMPLER,GRID,CALLS"),
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
