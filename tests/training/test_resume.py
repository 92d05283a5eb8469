"""Stopping costs nothing: an interrupted run equals an uninterrupted one, bit for bit."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs import ATTENDS, TRANSFORMER, TWO_LEVELS, fresh, run_all, run_until, start, tiny
from safetensors.torch import load_file

from ancestral.diffusion.timesteps import RecentLosses
from ancestral.errors import CannotWrite, InputError
from ancestral.settings import Config
from ancestral.training.checkpoint import newest_checkpoint, save_checkpoint
from ancestral.training.loop import train
from ancestral.training.run import RunFolder


def assert_same_run(one: Path, other: Path, kept: str = "pipeline/*/diffusion_pytorch_model.safetensors") -> None:
    """Weights, averages, moments, snapshots and log, byte for byte; only the clock may differ."""
    ours, theirs = (newest_checkpoint(path / "checkpoints", pytest.fail) for path in (one, other))
    assert ours is not None and theirs is not None and ours.name == theirs.name
    for name in (path.name for path in ours.glob("*.safetensors")):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    ours, theirs = (path / "averages" for path in (one, other))
    assert {path.name: path.read_bytes() for path in ours.glob("*")} == {
        path.name: path.read_bytes() for path in theirs.glob("*")
    }
    assert (one / "log.jsonl").read_bytes() == (other / "log.jsonl").read_bytes()
    weights = [path.relative_to(one) for path in one.glob(kept)]
    assert len(weights) == 1 and (one / weights[0]).read_bytes() == (other / weights[0]).read_bytes()


@pytest.mark.parametrize(
    ("stop", "micro_batch"),
    [(5, None), (4, 4), *(pytest.param(stop, None, marks=pytest.mark.slow) for stop in (1, 4, 6))],
)
def test_closing_the_generator_anywhere_changes_nothing(
    tmp_path: Path, whole: Callable[[Config], Path], stop: int, micro_batch: int | None
) -> None:
    """At step 1, k - 1, k and k + 1 of the checkpoint interval; between two lines of the log."""
    config = tiny({"compute": {"micro_batch": micro_batch}})
    run_until(stop, config, tmp_path / "parts")
    assert run_all(config, tmp_path / "parts")[0].step == stop + 1
    assert_same_run(whole(config), tmp_path / "parts")


LIKELIHOOD = {
    "diffusion": {"prediction": "levels", "time": "log-snr", "schedule": {"name": "log-snr", "num_timesteps": 4}},
    "network": {"output_rank": 4, "fourier": [6]},
    "training": {"loss": "continuous", "timesteps": "importance", "ema_snapshots": 8},
}
LEARNED = {
    "diffusion": {"variance": "learned"},
    "network": TWO_LEVELS,
    "training": {"loss": "hybrid", "timesteps": "stratified", "augment": 0.5},
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(LIKELIHOOD, id="likelihood"),
        pytest.param({"network": TRANSFORMER}, id="transformer"),
        pytest.param(LEARNED, id="learned variance", marks=pytest.mark.slow),
        pytest.param({"network": ATTENDS}, id="linear attention", marks=pytest.mark.slow),
    ],
)
def test_every_loss_and_draw_of_timesteps_goes_on_as_if_never_stopped(tmp_path: Path, changes: dict) -> None:
    """With importance sampling the recent losses are state: all 4 timesteps are warm soon after the stop."""
    run_all(tiny(changes), tmp_path / "whole")
    run_until(7, tiny(changes), tmp_path / "parts")
    run_all(tiny(changes), tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    saved = newest_checkpoint(tmp_path / "whole" / "checkpoints", pytest.fail)
    assert saved is not None and (saved / "timesteps.safetensors").exists() == (changes is LIKELIHOOD)
    if changes is LIKELIHOOD:
        assert RecentLosses(load_file(saved / "timesteps.safetensors")["recent_losses"]).warm


def test_a_killed_process_ends_as_one_never_killed(tmp_path: Path, whole: Callable[[Config], Path]) -> None:
    """SIGKILL in the middle, twice, in real processes: before any checkpoint, then between two; snapshots are written
    after each step, and every second one is gone by the end."""
    config = tiny({"training": {"ema_snapshots": 8}})
    for kill_at in (3, 8):
        with start(tmp_path / "killed", config) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) == kill_at:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
    with start(tmp_path / "killed", config) as process:
        assert process.stdout is not None
        assert process.stdout.read().split()[0] == "6", "resumed from the checkpoint at step 5"
    assert_same_run(whole(config), tmp_path / "killed")
    assert len([*(tmp_path / "killed/averages").glob("*")]) == 6


def test_a_finished_run_has_nothing_left_to_do_and_a_larger_budget_goes_on(
    run: Path, whole: Callable[[Config], Path]
) -> None:
    assert run_all(tiny(), run) == []
    longer = tiny({"training": {"steps": 14}})
    assert [p.step for p in run_all(longer, run)] == [13, 14]
    weights = [load_file(path / "checkpoints/step-00000014/model.safetensors") for path in (run, whole(longer))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no manifest", "malformed manifest", "empty"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(run: Path, damage: str) -> None:
    newest = run / "checkpoints" / "step-00000012"
    model = newest / "model.safetensors"
    content = bytearray(model.read_bytes())
    if damage == "truncated":
        model.write_bytes(content[:-100])
    elif damage == "flipped":
        content[-5] ^= 1
        model.write_bytes(content)
    elif damage == "no manifest":
        (newest / "manifest.json").unlink()
    elif damage == "malformed manifest":
        (newest / "manifest.json").write_text("[1, 2")
    else:
        model.write_bytes(b"")
    said: list[str] = []
    found = newest_checkpoint(run / "checkpoints", said.append)
    assert found is not None and found.name == "step-00000010"
    assert len(said) == 1 and "step-00000012 is damaged" in said[0]
    assert (run / "checkpoints" / "damaged-step-00000012").is_dir() and not newest.exists()
    assert [p.step for p in run_all(tiny(), run)] == [11, 12]


def test_a_run_whose_checkpoints_are_all_damaged_never_starts_afresh(run: Path) -> None:
    for manifest in (run / "checkpoints").glob("*/manifest.json"):
        manifest.unlink()
    for _ in range(2):
        with pytest.raises(InputError, match=r"every checkpoint .* is damaged"):
            run_all(tiny(), run)


def test_a_newer_format_is_refused_clearly(run: Path) -> None:
    manifest = run / "checkpoints" / "step-00000012" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(InputError, match="newer version of ancestral"):
        run_all(tiny(), run)


def test_old_checkpoints_are_pruned_and_a_failed_save_leaves_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"model": {"w": torch.arange(4.0)}}
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, tensors, {"step": step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match="No space left"):
        save_checkpoint(tmp_path, 4, tensors, {"step": 4}, keep=2)
    assert newest_checkpoint(tmp_path, pytest.fail) == tmp_path / "step-00000003"


def test_changed_images_are_noticed_on_resume(run: Path) -> None:
    pipeline, parts = fresh(tiny())
    changed = parts._replace(train=parts.train.sliced(0, len(parts.train) - 1))
    with pytest.raises(InputError, match="images have changed"):
        next(train(pipeline, changed, RunFolder(run), say=lambda text: None))


def test_other_settings_are_refused_by_name_and_nothing_is_overwritten(run: Path) -> None:
    before = (run / "config.json").read_bytes()
    with pytest.raises(InputError, match=r"trained with training.lr = 0.0002, not 0.5"):
        run_all(tiny({"training": {"lr": 0.5}}), run)
    with pytest.raises(InputError, match=r'trained with diffusion.schedule.name = "cosine", not "linear"'):
        run_all(tiny({"diffusion": {"schedule": {"name": "linear"}}}), run)
    assert (run / "config.json").read_bytes() == before


def test_two_trainers_cannot_share_a_run_and_a_dead_ones_lock_is_free(tmp_path: Path) -> None:
    pipeline, parts = fresh(tiny())
    steps = train(pipeline, parts, RunFolder(tmp_path), say=lambda text: None)
    next(steps)
    with pytest.raises(InputError, match="being trained by another process"):
        run_all(tiny(), tmp_path)
    steps.close()
    assert (tmp_path / "lock").exists()
    assert len(run_all(tiny(), tmp_path)) == 11


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        run_all(tiny(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
