"""`ancestral show`, `data check`, `evaluate` and `report`: pictures, tables and numbers that are right."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_calls import call
from PIL import Image

from ancestral.cli.output import rounded
from ancestral.data.datasets import load
from ancestral.evaluation.evaluate import Evaluation
from ancestral.jobs import show
from ancestral.pipeline.building import build_schedule
from ancestral.settings import DataSettings, LinearSchedule


def width_and_height(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def test_schedule_tables_start_clean_and_end_as_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "show", "schedule", "--json")
    tables = json.loads(out)["schedules"]
    assert code == 0 and {*tables} == {"linear", "cosine"} and not [*tmp_path.iterdir()]
    for table in tables.values():
        assert {len(column) for column in table.values()} == {1001}
        assert (table["beta"][0], table["alpha_bar"][0], table["log_snr"][0]) == (None, 1.0, None)
    assert tables["linear"]["alpha_bar"][-1] == pytest.approx(4.0358e-5, rel=1e-4)
    assert tables["cosine"]["alpha_bar"][-1] == pytest.approx(2.43e-9, rel=1e-2)
    assert (tables["linear"]["beta"][1], tables["linear"]["beta"][-1]) == pytest.approx((1e-4, 0.02))


def test_curves_are_written_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "show", "schedule", "log-snr", "sigmoid", "--timesteps", "10", "--out", "curves.png")
    assert (code, out.strip()) == (0, "curves.png")
    assert min(width_and_height(tmp_path / "curves.png")) > 500


def test_the_forward_process_starts_at_the_image_in_every_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}
    real = show.pictures.strip
    monkeypatch.setattr(
        show.pictures, "strip", lambda rows, times: seen.update(rows=rows, times=times) or real(rows, times)
    )
    code, out, _ = call(capsys, "show", "forward", "digits", "--schedules", "linear", "cosine", "--image", "3")
    assert (code, out.strip()) == (0, "forward.png")
    (_, linear), (_, cosine) = seen["rows"]
    image = load(DataSettings(source="digits")).train.images[3, ..., 0]
    assert (linear[0, 0].numpy() == image).all() and (cosine[0, 0].numpy() == image).all()
    assert (seen["times"][0], seen["times"][-1]) == (0, 1000)
    difference = (linear.int() - cosine.int()).abs()
    assert difference[-1].max() <= 3, "at T the one noise is all that is left of either row"
    lost = [(row[4].int() - torch.tensor(image).int()).abs().float().mean() for row in (linear, cosine)]
    assert lost[0] > 1.2 * lost[1], "half-way, linear has destroyed more than cosine"
    assert width_and_height(tmp_path / "forward.png")[0] > 800


def test_a_contact_sheet_shows_the_images_with_their_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = call(capsys, "show", "data", "digits", "--num-images", "4", "--out", "few.png")
    many = call(capsys, "show", "data", "digits", "--num-images", "40", "--out", "many.png", "--json")
    assert (few.code, few.out.strip(), json.loads(many.out)) == (0, "few.png", {"file": "many.png"})
    assert width_and_height(tmp_path / "many.png") > width_and_height(tmp_path / "few.png")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of pictures, one of them with a bad file."""
    for name, count in (("cat", 3), ("dog", 2)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(count):
            noise = np.random.default_rng(len(name) + i).integers(0, 256, (40, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "pets" / name / f"{name}-{i}.png")
    (tmp_path / "pets" / "cat" / "[red]liar.png").write_text("not at all")
    return tmp_path / "pets"


def test_a_check_reports_as_tables_and_as_json(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "data", "check", pictures)
    assert code == 0 and "--data.size 16 --data.fit pad" in err
    for told in ("usable images", "PNG 5", "[red]liar.png", "is not a PNG", "dog"):
        assert told in out
    code, out, _ = call(capsys, "data", "check", pictures, "--json")
    report = json.loads(out)
    assert (code, report["num_images"], report["classes"]) == (0, 5, {"cat": 3, "dog": 2})
    assert [name for name, _ in report["bad"]] == ["cat/[red]liar.png"]


@pytest.mark.parametrize(
    "flags", [["--color", "grey", "--labels", "none"], ["--data.color", "grey", "--data.labels", "none"]]
)
def test_a_check_takes_the_settings_of_data(
    flags: list[str], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads(call(capsys, "data", "check", pictures, "--json", *flags).out)
    assert (report["channels"], report["labelled"]) == (1, False)


def test_a_check_that_finds_nothing_usable_reports_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.png").write_text("no")
    code, out, err = call(capsys, "data", "check", "text")
    assert code == 2 and "a.png" in out and len(err.splitlines()) == 1


def test_an_evaluation_is_shown_and_kept(
    trained: Path, quick_features: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, "evaluate", trained, "--images", "20", "--steps", "2")
    kept = Evaluation.model_validate_json((trained / "evaluation.json").read_text())
    assert code == 0 and kept.num_generated == 20
    for comparison in kept.comparisons:
        assert comparison.name in out
    assert str(trained / "evaluation.json") in out
    code, out, _ = call(capsys, "evaluate", trained, "--images", "20", "--steps", "2", "--json")
    told = json.loads(out)
    assert told.pop("price")["network_calls"] == 40
    assert Evaluation.model_validate(told) == kept, "the same seed measures the same"


def test_a_number_is_rounded_to_its_error() -> None:
    assert rounded(75.5028, 4.93) == "75.5 ± 4.9"
    assert rounded(-0.08082, 0.0931) == "-0.081 ± 0.093"
    assert rounded(1234.5, 250.0) == "1234 ± 250"
    assert rounded(0.125, None) == "0.125" and rounded(0.0, 0.0) == "0"


def test_a_report_is_written_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def write(run: Path, out: Path) -> list[str]:
        asked.append((run, out))
        return ["making the film"]

    monkeypatch.setattr("ancestral.jobs.report.write_report", write)
    monkeypatch.chdir(tmp_path)
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/config.json").touch()
    assert call(capsys, "report", "runs/x").out.strip() == "runs/x/report.html"
    assert json.loads(call(capsys, "report", "runs/x", "--out", "a.html", "--json").out) == {"file": "a.html"}
    assert asked == [(Path("runs/x"), Path("runs/x/report.html")), (Path("runs/x"), Path("a.html"))]


def test_schedules_may_have_any_number_of_timesteps() -> None:
    assert show.table(build_schedule(LinearSchedule(num_timesteps=1)))["t"] == [0, 1]
