"""`ancestral ema`: averages of other lengths are made after training, measured beside the run's own, and kept to."""

import json
from pathlib import Path

import pytest
from cli_calls import TINY, call

from ancestral.cli.main import main
from ancestral.evaluation.average_lengths import AverageLengths, ImageMean, row_of
from ancestral.pipeline import Pipeline
from ancestral.training.logs import read_log

WORDS = [
    *TINY,
    "--training.ema_snapshots",
    "4",
    "--training.augment",
    "0.5",
    "--training.lr_schedule",
    "constant",
    "--training.warmup_images",
    "8",
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of 12 steps that has kept its averages, and measured a held-out loss at its end."""
    folder = tmp_path / "averaged"
    assert main(["train", "digits", *WORDS, "--training.steps", "12", "--out", str(folder)]) == 0
    return folder


def test_an_average_that_is_chosen_stays_until_training_goes_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "ema", run, "--lengths", "0.1", "0.05", "0.2", "--json")
    assert done.code == 0, done.err
    found = AverageLengths.model_validate_json((run / "ema.json").read_text())
    assert [row.length for row in found.rows] == [0.05, 0.1, 0.2]
    assert all(row.residual < 1e-6 for row in found.rows[:2]) and found.rows[2].residual > 0.01
    assert (run / "ema.png").read_bytes().startswith(b"\x89PNG") and json.loads(done.out)["num_images"] == 18
    logged = read_log(run / "log.jsonl")[-1]["held_out_loss"]
    assert found.own.value == pytest.approx(logged, rel=1e-5), "the loss is that of the log"
    assert found.rows[2].difference.value == pytest.approx(found.rows[2].loss.value - found.own.value, abs=1e-9)
    own = Pipeline.load(run).weights_hash()
    assert found.weights == own

    assert call(capsys, "ema", run, "--use", "0.15").code == 0
    chosen = Pipeline.load(run).weights_hash()
    assert chosen != own
    again = ["train", "digits", *WORDS, "--out", run]
    assert call(capsys, *again, "--training.steps", "12").code == 0
    assert Pipeline.load(run).weights_hash() == chosen
    assert call(capsys, "ema", run, "--lengths", "0.05", "--json").code == 0
    assert AverageLengths.model_validate_json((run / "ema.json").read_text()).weights == own
    assert call(capsys, "ema", run, "--use", "own").code == 0
    assert Pipeline.load(run).weights_hash() == own and not (run / "average.json").exists()

    assert call(capsys, "ema", run, "--use", "0.15").code == 0
    assert call(capsys, *again, "--training.steps", "13").code == 0
    assert Pipeline.load(run).weights_hash() not in (own, chosen) and not (run / "average.json").exists()
    code, _, err = call(capsys, "ema", run, "--use", "best")
    assert code == 2 and "at step 13, got none; measure it first" in err


def test_a_run_without_is_refused_in_one_line(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "ema", trained)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "which has kept none; train into another folder with --training.ema_snapshots 16" in err


@pytest.mark.parametrize(
    ("difference", "residual", "clear"), [(-0.3, 0.0, True), (-0.1, 0.0, False), (-0.3, 0.2, None)]
)
def test_the_best_is_of_its_length_and_better_than_chance(
    difference: float, residual: float, clear: bool | None
) -> None:
    """Over 101 images with differences of deviation 1 the standard error is about a tenth."""
    import torch

    noise = torch.linspace(-1.7, 1.7, 101, dtype=torch.float64)
    own = torch.full((101,), 2.0, dtype=torch.float64)
    rows = (row_of(0.07, residual, own + difference + noise, own), row_of(0.1, 0.5, own - 9, own))
    found = AverageLengths(step=1, weights="", num_images=101, own=ImageMean.of(own), rows=rows)
    assert found.best == (None if clear is None else rows[0]) and found.is_clear == bool(clear)
