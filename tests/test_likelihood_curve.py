"""The learning curve of a likelihood model: read from the logs, and a power law found again."""

import json
from pathlib import Path

import pytest

from ancestral.training.run import RunFolder
from benchmarks.likelihood_curve import Point, drawn, ends_of, fitted, main, read_points


def write_run(folder: Path) -> None:
    (folder / "likelihood.json").write_text(json.dumps({"prior": {"value": 0.004}, "reconstruction": {"value": 0.006}}))
    steps = (100, 200, 400, 800, 1600, 3200)
    lines = [{"step": n, "images": 32 * n, "held_out_loss": 0.8 + 5 * (32 * n) ** -0.4} for n in steps]
    (folder / "log.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in [{"step": 50, "images": 1600}, *lines])
    )
    (folder / "timing.jsonl").write_text("".join(json.dumps({"step": n, "minutes": n / 60}) + "\n" for n in steps))


def test_points_hold_minutes_and_the_ends_of_the_bound(tmp_path: Path) -> None:
    write_run(tmp_path)
    points = read_points(RunFolder(tmp_path), ends_of(tmp_path))
    assert points[0] == Point(pytest.approx(100 / 60), 3200, pytest.approx(0.81 + 5 * 3200**-0.4))
    assert len(points) == 6 and ends_of(tmp_path / "none") == 0


def test_a_power_law_is_found_and_carried_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    law = fitted(read_points(RunFolder(tmp_path), 0.01))
    assert law.at(1e6) == pytest.approx(0.81 + 5 * 1e6**-0.4, abs=1e-3)
    assert main([str(tmp_path), "--picture", str(tmp_path / "curve.png")]) == 0
    assert "| 53.3 | 102,400 | 0.85" in capsys.readouterr().out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_has_the_points() -> None:
    (axes,) = drawn([Point(1, 10, 2.0), Point(2, 20, 1.5)]).axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 2.0], [2, 1.5]]
