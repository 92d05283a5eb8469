"""What the world does to a run's folder, between its starts and meanwhile: files beside its own, damage that a manifest
vouches for, a name given away, torn logs, a pipeline left behind, another budget."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import fresh, run_all, tiny
from safetensors.torch import load_file, save_file
from standing import Source, forked
from test_faults import vouched
from test_resume import assert_same_run

from ancestral.errors import CannotWrite, Diverged, InputError
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings, TrainingSettings
from ancestral.training.budget import leap_in_words, learning_rate, warmup_images
from ancestral.training.checkpoint import averaged_weights, newest_checkpoint
from ancestral.training.logs import read_lines
from ancestral.training.loop import train
from ancestral.training.run import RunFolder

LAST = Path("checkpoints") / "step-00000012"


def again(folder: Path, changes: dict[str, Any] | None = None, extend: bool = False) -> list[str]:
    """What the same command says."""
    pipeline, parts = fresh(tiny(changes))
    said: list[str] = []
    list(train(pipeline, parts, RunFolder(folder), said.append, extend=extend))
    return said


class Resuming(Exception):
    """The run is about to take a step."""


def said_before_steps(folder: Path) -> list[str]:
    """What the same command says until it goes on."""
    said: list[str] = []

    def say(text: str) -> None:
        if text.startswith("resuming"):
            raise Resuming
        said.append(text)

    pipeline, parts = fresh(tiny())
    with pytest.raises(Resuming):
        next(train(pipeline, parts, RunFolder(folder), say))
    return said


# beside a checkpoint's files


def test_what_lies_beside_the_files_of_a_manifest_is_no_damage(run: Path) -> None:
    """Trap: a file manager's .DS_Store condemned every checkpoint at once, and all were set aside."""
    for name in (".DS_Store", "Thumbs.db", "._model.safetensors", ".nfs0001", "notes.txt", "other.safetensors"):
        (run / LAST / name).write_text("from elsewhere")
    (run / LAST / "folder").mkdir()
    (run / "checkpoints" / "step-99999999").write_text("a file")
    assert again(run) == ["resuming at step 12 (96 images)"]
    assert averaged_weights(run / LAST).keys() == load_file(run / LAST / "ema.safetensors").keys()


@pytest.mark.parametrize("name", ["../../config.json", "/etc/hostname", "link.json", "folder", "..", "missing"])
def test_a_manifest_that_lists_anything_but_its_own_files_is_damage(run: Path, name: str) -> None:
    (run / LAST / "link.json").symlink_to(run / "config.json")
    (run / LAST / "folder").mkdir()
    manifest = json.loads((run / LAST / "manifest.json").read_text())
    manifest["files"][name] = {"size": 0, "sha256": ""}
    (run / LAST / "manifest.json").write_text(json.dumps(manifest))
    said: list[str] = []
    assert newest_checkpoint(run / "checkpoints", said.append) == run / "checkpoints" / "step-00000010"
    assert (len(said) == 1 and "manifest lists" in said[0]) or name == "missing"


# damage that the manifest vouches for

Change = Callable[[dict[str, torch.Tensor]], None]
TENSORS: dict[str, tuple[str, Change]] = {
    "a shape that broadcasts": ("model", lambda t: t.update({"conv_out.bias": torch.zeros(())})),
    "another shape": ("ema", lambda t: t.update({"conv_out.bias": torch.zeros(7)})),
    "another type": ("model", lambda t: t.update({"conv_out.bias": t["conv_out.bias"].to(torch.int8)})),
    "no number": ("ema", lambda t: t["conv_out.bias"].fill_(torch.nan)),
    "infinity": ("model", lambda t: t["conv_out.bias"].fill_(torch.inf)),
    "a weight too many": ("model", lambda t: t.update({"more": torch.zeros(1)})),
    "a weight too few": ("ema", lambda t: t.pop("conv_out.bias")),
    "no moments": ("optimizer", lambda t: t.clear()),
    "a moment too few": ("optimizer", lambda t: t.pop("conv_out.bias.exp_avg_sq")),
    "a moment of another shape": ("optimizer", lambda t: t.update({"conv_out.bias.exp_avg": torch.zeros(1, 1)})),
    "a moment that is no number": ("optimizer", lambda t: t["conv_out.bias.exp_avg"].fill_(torch.nan)),
    "a negative mean of squares": ("optimizer", lambda t: t["conv_out.bias.exp_avg_sq"].sub_(1)),
    "more steps than were taken": ("optimizer", lambda t: t["conv_out.bias.step"].fill_(13)),
    "fewer steps than none": ("optimizer", lambda t: t["conv_out.bias.step"].fill_(-1)),
    "half a step": ("optimizer", lambda t: t["conv_out.bias.step"].fill_(1.5)),
}
COUNTERS: dict[str, dict[str, Any]] = {
    "negative": {"step": -1},
    "huge": {"step": 2**62},
    "a boolean": {"ema_updates": True},
    "text": {"images": "96"},
    "more updates than steps": {"ema_updates": 13},
    "a step of another checkpoint": {"step": 11, "images": 88},
    "too short a window": {"window": [0.0]},
    "endless rollbacks": {"rollbacks": 2**40},
    "a negative length": {"log_bytes": -1},
    "more skipped in a row than in all": {"skipped": 1, "skipped_in_a_row": 2},
    "a good step that is still to come": {"good_step": 15},
}


@pytest.mark.parametrize("what", TENSORS)
def test_tensors_that_are_not_those_of_the_run_are_damage(run: Path, what: str) -> None:
    group, change = TENSORS[what]
    tensors = load_file(run / LAST / f"{group}.safetensors")
    change(tensors)
    save_file(tensors, run / LAST / f"{group}.safetensors")
    assert_set_aside(run)


@pytest.mark.parametrize("what", COUNTERS)
def test_counters_out_of_range_are_damage(run: Path, what: str) -> None:
    state = json.loads((run / LAST / "state.json").read_text())
    (run / LAST / "state.json").write_text(json.dumps({**state, **COUNTERS[what]}))
    assert_set_aside(run)


def test_a_missing_group_is_damage(run: Path) -> None:
    (run / LAST / "optimizer.safetensors").unlink()
    assert_set_aside(run)


def assert_set_aside(run: Path) -> None:
    """The manifest vouches for the last checkpoint, and it is not believed: the one before it is used."""
    vouched(run / LAST)
    first, *_ = said_before_steps(run)
    assert "step-00000012 is damaged" in first and "using the one before it" in first and "\n" not in first
    assert (run / "checkpoints" / "damaged-step-00000012").is_dir()


def test_a_state_that_is_not_finite_never_takes_the_place_of_a_good_one(tmp_path: Path) -> None:
    pipeline, parts = fresh(tiny())
    steps = train(pipeline, parts, RunFolder(tmp_path), say=lambda text: None)
    with pytest.raises(Diverged, match="after its last step 12"):
        for progress in steps:
            if progress.step == 12:
                with torch.no_grad():
                    pipeline.network.conv_out.bias.fill_(torch.inf)
    assert newest_checkpoint(tmp_path / "checkpoints", pytest.fail) == tmp_path / "checkpoints" / "step-00000010"


# the pipeline


@pytest.mark.parametrize("damage", ["gone", "half", "older"])
def test_the_same_command_writes_a_pipeline_that_is_missing_damaged_or_older(run: Path, damage: str) -> None:
    """Trap: "is finished already; its pipeline is ..." of a folder that was not there."""
    whole, folder = Pipeline.load(run).weights_hash(), run / "pipeline"
    if damage == "gone":
        shutil.rmtree(folder)
    elif damage == "half":
        (folder / "unet" / "config.json").unlink()
    else:
        other, _ = fresh(tiny({"seed": 1}))
        other.save(folder)
    assert any("written anew" in line for line in again(run))
    assert Pipeline.load(run).weights_hash() == whole
    assert not any("written anew" in line for line in again(run))


def test_settings_of_sampling_that_changed_reach_the_pipeline_of_a_finished_run(run: Path) -> None:
    again(run, {"sampling": {"sampler": "heun", "steps": 3}})
    assert Pipeline.load(run).config.sampling == SamplingSettings(sampler="heun", steps=3)
    assert RunFolder(run).read_config().sampling == Pipeline.load(run).config.sampling


READING = """
import sys
from pathlib import Path
folder, misses = Path(sys.argv[1]), 0
print("reading", flush=True)
while not (folder.parent / "done").exists():
    misses += not (folder / "ancestral.json").is_file()
print(misses)
"""


def test_a_reader_beside_one_who_saves_always_finds_a_pipeline(tmp_path: Path) -> None:
    """A real process looks for it without a pause while it is replaced."""
    pipeline, _ = fresh(tiny())
    pipeline.save(tmp_path / "pipeline")
    with forked(Source(READING, tmp_path / "pipeline"), tmp_path) as reader:
        reader.stdout.readline()
        for _ in range(4):
            pipeline.save(tmp_path / "pipeline")
        (tmp_path / "done").touch()
        assert int(reader.stdout.read()) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done", "pipeline"]


# the folder


def test_a_folder_that_a_kill_left_before_the_first_settings_is_trained_in(tmp_path: Path) -> None:
    """Trap: a run killed before its config.json refused its own command for ever."""
    for name in ("lock", ".config.json.0123abcd", ".DS_Store", "log.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "checkpoints" / ".building-00000001").mkdir(parents=True)
    (tmp_path / "samples").mkdir()
    assert run_all(tiny({"training": {"steps": 1}}), tmp_path)[-1].step == 1
    assert not (tmp_path / ".config.json.0123abcd").exists()


@pytest.mark.parametrize("name", ["log.jsonl", "checkpoints/step-00000002", "samples/mine.png"])
def test_what_holds_anything_without_settings_is_not_trained_in(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / name
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("mine")
    with pytest.raises(InputError, match="a run folder or an empty one"):
        run_all(tiny(), tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [theirs] and theirs.read_text() == "mine"


@pytest.mark.parametrize("fate", ["renamed", "replaced", "removed"])
def test_a_run_never_writes_into_what_bears_its_name_now(tmp_path: Path, fate: str) -> None:
    """Trap: checkpoints and logs of two runs were mixed."""
    run, other = tmp_path / "run", tmp_path / "other"
    pipeline, parts = fresh(tiny({"training": {"log_every_steps": 1}}))
    steps = train(pipeline, parts, RunFolder(run), say=lambda text: None)
    next(steps)
    run.rename(other)
    if fate == "replaced":
        run.mkdir()
    if fate == "removed":
        shutil.rmtree(other)
    with pytest.raises(CannotWrite, match="renamed, removed or replaced while it was trained in"):
        next(steps)
    assert not run.exists() or not [*run.iterdir()]


def test_a_removed_lock_file_lets_no_second_trainer_in(tmp_path: Path) -> None:
    pipeline, parts = fresh(tiny())
    steps = train(pipeline, parts, RunFolder(tmp_path), say=lambda text: None)
    next(steps)
    (tmp_path / "lock").unlink()
    with pytest.raises(InputError, match="being trained by another process"):
        run_all(tiny(), tmp_path)
    steps.close()


def test_nothing_is_opened_through_a_link(run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for name in ("timing.jsonl", "lock"):
        (run / name).unlink()
        (run / name).symlink_to(outside)
        with pytest.raises(InputError, match=f"{name} to be .* got a link"):
            again(run)
        (run / name).unlink()
    assert outside.read_text() == "mine"


# logs


def test_torn_lines_are_left_out_counted_and_gone_when_the_run_goes_on(run: Path) -> None:
    """Trap: a log shorter than the checkpoint says was filled up with zero bytes."""
    log, timing = run / "log.jsonl", run / "timing.jsonl"
    *lines, _ = log.read_bytes().splitlines(keepends=True)
    odd = [b'{"step": 9, "loss": Infinity}\n', b"\x00\x00\n", b'{"step": true}\n', b"[1]\n", b"{}\n"]
    log.write_bytes(b"".join([*lines[:2], *odd, *lines[2:]]) + b'{"ste')
    timing.write_bytes(timing.read_bytes() + b'{"step": 12, "minu')
    found = read_lines(log)
    assert found.left_out == 6 and [record["step"] for record in found.records] == [
        json.loads(x)["step"] for x in lines
    ]
    longer = {"training": {"steps": 14, "log_every_steps": 1}}
    again(run, longer)
    assert read_lines(timing).left_out == 0 and read_lines(log).left_out == 0
    steps = [record["step"] for record in read_lines(log).records]
    assert steps == sorted(set(steps)) and steps[-2:] == [13, 14]


def test_a_log_that_lost_its_end_goes_on_after_what_is_left(run: Path) -> None:
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes()[:100])
    again(run)
    assert b"\x00" not in log.read_bytes() and read_lines(log).left_out == 0


# another budget

FALLS = {"training": {"lr_schedule": "cosine"}}
LONGER = {"training": {"lr_schedule": "cosine", "steps": 24}}


def test_a_longer_budget_lets_the_learning_rate_rise_only_if_that_is_said(tmp_path: Path) -> None:
    """Trap: it leapt from nearly 0 to half of its peak, and nothing said so."""
    run_all(tiny(FALLS), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"would go on at 0.0001, where it had fallen to 3.4e-06; repeat --training"):
        again(tmp_path, LONGER)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    said = again(tmp_path, LONGER, extend=True)
    assert said[0] == "by another budget the learning rate goes on at 0.0001, where it had fallen to 3.4e-06"
    assert again(tmp_path, LONGER) == ["resuming at step 24 (192 images)"], "the budget is that of the run now"


def test_a_budget_that_ends_inside_the_warm_up_shortens_it_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Trap: 4,784 images inside 6,400 of warm-up drew noise, and the run was called finished."""
    changes = {"training": {"warmup_images": 6400}}
    assert again(tmp_path / "whole", changes) == [
        "the budget ends inside the warm-up of 6,400 images, which is shortened to 9"
    ]
    pipeline, parts = fresh(tiny(changes))
    steps = train(pipeline, parts, RunFolder(tmp_path / "parts"), say=lambda text: None)
    next(steps)
    steps.close()
    again(tmp_path / "parts", changes)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    rates = [record["lr"] for record in read_lines(tmp_path / "whole" / "log.jsonl").records if "lr" in record]
    assert rates == [pytest.approx(2e-4)] * 4


def test_a_warm_up_that_the_budget_covers_stays_and_one_of_minutes_ends_by_the_middle() -> None:
    def settings(**budget: Any) -> TrainingSettings:
        return TrainingSettings(batch_size=10, warmup_images=100, lr=1.0, **budget)

    assert warmup_images(settings(steps=10)) == warmup_images(settings(minutes=1.0)) == 100
    assert warmup_images(settings(images=99)) == 9
    rates = [learning_rate(settings(minutes=1.0), 0, fraction) for fraction in (0.0, 0.25, 0.375, 0.5)]
    assert rates == pytest.approx([0.1, 0.1, 0.5, 1.0])


@pytest.mark.parametrize("changes", [{"steps": 41}, {"steps": 20}, {"lr_schedule": "constant", "steps": 80}], ids=str)
def test_what_is_no_leap_is_none(changes: dict[str, Any]) -> None:
    """A budget that hardly differs, one that is used up already, a rate that depends on none."""
    before = TrainingSettings(steps=40, batch_size=8, warmup_images=0, **{"lr_schedule": "linear", **_kept(changes)})
    now = before.model_copy(update=changes)
    assert leap_in_words(before, now, {"step": 20, "images": 160, "seconds": 1.0}, extend=False) is None


def _kept(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if name == "lr_schedule"}
