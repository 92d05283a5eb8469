"""`ancestral train` in this process: what it says, what it leaves, and going on."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from cli_calls import TINY, call, snapshot
from PIL import Image
from rich.console import Console

from ancestral.cli.training import StepDisplay, clock
from ancestral.jobs.events import Event, NoteEvent, ProgressEvent, ResultEvent, StartEvent, StepEvent
from ancestral.jobs.target import TrainSettings, plan
from ancestral.jobs.train import train
from ancestral.jobs.training_events import step_event
from ancestral.settings import Config, SamplingSettings
from ancestral.training.logs import read_log
from ancestral.training.loop import Progress


def folder_with_numbers(folder: Path, names: str, numbers: Callable[[int], str]) -> Path:
    """A dozen images, and in their metadata the columns `names` with the `numbers` of the i-th."""
    folder.mkdir()
    for i in range(12):
        Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(folder / f"{i}.png")
    lines = [f"file_name,{names}", *(f"{i}.png,{numbers(i)}" for i in range(12))]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_json_is_the_log_with_progress_and_people_are_told_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "digits", *TINY, "--training.steps", "3", "--training.log_every_steps", "1", "--out", "run"]
    code, out, err = call(capsys, *words, "--json")
    *records, last = [json.loads(line) for line in out.splitlines()]
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert code == 0
    assert [{key: record[key] for key in entry} for record, entry in zip(records, log, strict=True)] == log
    assert [record["fraction"] for record in records] == pytest.approx([1 / 3, 2 / 3, 1])
    assert last == {"finished": True, "run": "run", "pipeline": "run/pipeline"}
    assert "run/pipeline" in err and "step 3" in err

    code, out, _ = call(capsys, *words)
    assert code == 0 and "finished already" in out and "run/pipeline" in out


def test_the_job_needs_no_command_line(tmp_path: Path) -> None:
    """It is stopped by whoever runs it, and the same job goes on."""
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "one.png")
    for i in range(9):
        Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    small = {"widths": (4,), "layers": 1, "norm_groups": 2, "attention": (), "dropout": 0.0}
    settings = {"network": small, "training": {"steps": 3, "batch_size": 2}, "data": {"size": 8, "test": 0.2}}
    job = TrainSettings(target=str(tmp_path), settings=settings, out=tmp_path / "run", device="cpu")
    seen: list[Event] = []
    events = train(job, lambda: any(isinstance(event, StepEvent) for event in seen))
    while (event := next(events, None)) is not None:
        seen.append(event)
    steps, (end,) = ([each for each in seen if isinstance(each, kind)] for kind in (StepEvent, ResultEvent))
    assert {ProgressEvent, NoteEvent, StartEvent} <= {type(event) for event in seen}
    assert not end.tree["finished"] and end.value == steps[-1].step < 3
    *_, end = train(job)
    assert isinstance(end, ResultEvent) and end.tree["finished"] and end.value == 3
    *_, end = train(job)
    assert isinstance(end, ResultEvent) and end.value is None, "none was left to take"


def test_more_steps_go_on_from_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "digits", *TINY, "--training.log_every_steps", "1", "--out", "run"]
    call(capsys, *words, "--training.steps", "2")
    longer = ["train", "--config", "run/config.json", "--training.steps", "4", "--out", "run"]
    code, _, err = call(capsys, *longer)
    assert code == 2 and "repeat --training.lr_schedule cosine to let it rise" in err
    code, out, _ = call(capsys, *longer, "--training.lr_schedule", "cosine")
    assert code == 0 and "the learning rate goes on at" in out and "resuming at step 2" in out
    assert [record["step"] for record in read_log(tmp_path / "run" / "log.jsonl")] == [1, 2, 3, 4]


@pytest.mark.parametrize("numbers", [True, False])
def test_a_run_begun_before_there_were_attributes_goes_on_by_the_same_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], numbers: bool
) -> None:
    """Also where its images have numbers or texts beside them, which it does not begin to read."""
    folder = folder_with_numbers(tmp_path / "images", "age", str)
    if not numbers:
        (folder / "metadata.csv").unlink()
    words = [
        "train",
        folder,
        *TINY,
        "--data.size",
        "8",
        "--data.test",
        "0.2",
        "--out",
        "run",
        "--training.lr_schedule",
        "constant",
    ]
    assert call(capsys, *words, "--training.steps", "2", "--data.attributes", "none").code == 0
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    assert config["data"].pop("attributes") == ["none"] and config["data"].pop("captions") == "auto"
    (next(folder.glob("*.png"))).with_suffix(".txt").write_text("a text")
    file.write_text(json.dumps(config))
    done = call(capsys, *words, "--training.steps", "3")
    assert done.code == 0 and "finished after step 3" in done.out, done.err


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("asked", ["none", "age", "size"])
def test_what_else_is_read_of_the_images_is_refused_and_the_checkpoint_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packed: bool, asked: str
) -> None:
    """Trap: its tensors are then of another network, which is no damage; or of the same, told something else."""
    source = folder_with_numbers(tmp_path / "images", "age,size", lambda i: f"{i},{-i}")
    if packed:
        assert call(capsys, "data", "pack", source, "packed", "--size", "8").code == 0
        source = Path("packed")
    words = ["train", source, *TINY, "--data.test", "0.2", "--out", "run", "--training.steps", "2"]
    words += [] if packed else ["--data.size", "8"]
    assert call(capsys, *words, "--data.attributes", "age").code == 0
    checkpoints = snapshot(tmp_path / "run" / "checkpoints")
    done = call(capsys, *words, "--data.attributes", asked)
    assert done.code == (0 if asked == "age" else 2)
    assert done.err.count("\n") == int(asked != "age") and "damaged" not in done.out + done.err
    assert snapshot(tmp_path / "run" / "checkpoints") == checkpoints


def test_a_class_that_is_added_is_a_change_of_the_images_and_no_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(np.full((8, 8), 20 * i + ord(name), np.uint8)).save(tmp_path / "images" / name / f"{i}.png")
    (tmp_path / "images" / "c").rename(tmp_path / "c")
    words = ["train", tmp_path / "images", *TINY, "--data.size", "8", "--training.steps", "2", "--out", "run"]
    assert call(capsys, *words).code == 0
    checkpoints = snapshot(tmp_path / "run" / "checkpoints")
    (tmp_path / "c").rename(tmp_path / "images" / "c")
    done = call(capsys, *words)
    assert done.code == 2 and "the images have changed" in done.err
    assert snapshot(tmp_path / "run" / "checkpoints") == checkpoints


def test_how_a_sweep_found_it_samples_best_survives_more_training(tmp_path: Path) -> None:
    """Unless file or flags say otherwise; an older version kept it in the pipeline only."""
    out, kept = tmp_path / "run", SamplingSettings(sampler="heun", steps=7, grid="karras")
    stored = Config().model_copy(update={"sampling": kept}).model_dump(mode="json")
    (out / "pipeline").mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(stored))
    assert plan("digits", None, {"training": {"steps": 3}}, out).config.sampling == kept
    assert plan("digits", None, {"sampling": {"steps": 9}}, out).config.sampling == SamplingSettings(steps=9)
    (out / "config.json").write_text(Config().model_dump_json())
    (out / "pipeline" / "ancestral.json").write_text(json.dumps({"config": stored}))
    assert plan("digits", None, {}, out).config.sampling == kept
    assert plan("digits", out / "config.json", {}, out).config.sampling == SamplingSettings()
    assert plan("digits", None, {}, tmp_path / "new").config.sampling == SamplingSettings()


def test_a_folder_trains_its_bad_files_are_told_and_none_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(np.full((10, 14), 20 * i, np.uint8)).save(folder / f"{i}.png")
    for i in range(7):
        (folder / f"bad {i}.png").write_text("no picture")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, out, err = call(capsys, "train", folder, *TINY, "--training.steps", "1", "--data.size", "8")
    assert code == 0 and "8x8 grey" in out
    assert "warning: 7 files cannot be used: bad 0.png" in err and "bad 5.png" not in err
    assert f"ancestral data check {folder}" in err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert (tmp_path / "runs" / "pictures" / "pipeline").is_dir()


def test_tensorboard_gets_the_curves_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["train", "digits", *TINY, "--training.steps", "2", "--training.log_every_steps", "1", "--out", "run"]
    assert call(capsys, *words, "--tensorboard").code == 0
    curves = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert [(e.step, pytest.approx(e.value)) for e in curves.Scalars("loss")] == [(r["step"], r["loss"]) for r in log]


def test_plain_lines_are_spare_but_keep_held_out_losses_and_the_last() -> None:
    told = StringIO()
    lines = StepDisplay(Console(file=told, width=200))
    for step, seconds, more in [
        (1, 0.0, {}),
        (2, 1.0, {}),
        (3, 2.0, {"held_out_loss": 0.5}),
        (4, 3.0, {}),
        (5, 9.0, {}),
    ]:
        lines.show(StepEvent(step, step, step / 10, seconds, 0.0, 0.0, {"step": step, "loss": 0.25, **more}))
    lines.show(StepEvent(6, 6, 0.6, 20.0, 0.0, 0.0, None))
    lines.show(StepEvent(10, 10, 1.0, 10.0, 0.0, 0.0, {"loss": None}))
    shown = told.getvalue().splitlines()
    assert [line.split()[2] for line in shown] == ["1", "3", "5", "10"]
    assert shown[1].endswith("loss 0.2500  held-out 0.5000")


def test_the_pace_is_that_of_this_start() -> None:
    first = Progress(101, 1010, 0.5, 100.0, None)
    assert step_event(first, first)[:6] == (*first[:4], 0.0, 0.0)
    later = step_event(first, Progress(111, 1110, 0.6, 110.0, None))
    assert (later.images_per_second, later.seconds_left) == pytest.approx((10.0, 40.0))


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (59.6, "1:00"), (3599.0, "59:59"), (3661.0, "1:01:01")])
def test_seconds_are_shown_as_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
