"""What a machine does to a run: kills, full and vanished disks, damage, a second trainer, signals during a save."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
from collections import namedtuple
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from runs import fresh, run_all, start, tiny
from safetensors.torch import save_file
from standing import Script, forked

from ancestral.errors import CannotWrite, InputError
from ancestral.training.checkpoint import MARGIN, load_checkpoint, newest_checkpoint, save_checkpoint
from ancestral.training.loop import train
from ancestral.training.run import RunFolder

HERE = Path(__file__).parent
TENSORS = {"model": {"w": torch.arange(4.0)}}


def save(root: Path, step: int, **options: object) -> Path:
    return save_checkpoint(root, step, TENSORS, {"step": step}, **{"keep": 2, **options})


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


# kills


def test_a_kill_before_any_operation_of_a_save_leaves_a_valid_checkpoint(tmp_path: Path) -> None:
    """SIGKILL in a real process before each operation on files: before the rename the old one, after it the new."""
    with forked(Script(HERE / "saving.py", "points", tmp_path), tmp_path) as process:
        *kills, last = [json.loads(line) for line in process.communicate()[0].splitlines()]
    assert len(kills) >= 20 and all(kill["killed"] for kill in kills) and not last["killed"]
    assert all(kill["whole"] and not kill["said"] for kill in (*kills, last))
    assert all(kill["step"] in (kill["finished"], kill["finished"] + 1) for kill in kills)
    assert {kill["step"] - kill["finished"] for kill in kills} == {0, 1}, "some before the rename, some after"
    assert len(names(tmp_path)) == 2, "what the kills left behind is gone after one whole save"


# damage


HUGE_HEADER = (2**62).to_bytes(8, "little") + b"{}"
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", HUGE_HEADER),
        ("state.json", b""),
        ("manifest.json", b""),
        ("manifest.json", b"\xff\xfe"),
        ("manifest.json", b'{"format": "1", "files": {}}'),
        ("manifest.json", DEEP.encode()),
    ],
    ids=["huge header", "empty state", "empty manifest", "not text", "format of text", "deep"],
)
def test_a_damaged_file_is_set_aside_and_the_checkpoint_before_used(tmp_path: Path, file: str, content: bytes) -> None:
    """Truncation, a flipped bit and a missing manifest: tests/training/test_resume.py."""
    save(tmp_path, 1)
    (save(tmp_path, 2) / file).write_bytes(content)
    said: list[str] = []
    assert newest_checkpoint(tmp_path, said.append) == tmp_path / "step-00000001"
    assert names(tmp_path) == ["damaged-step-00000002", "step-00000001"]
    assert len(said) == 1 and len(said[0]) < 300


def test_a_huge_header_that_the_manifest_vouches_for_is_damage_too(tmp_path: Path) -> None:
    """Trap: 2^62 bytes asked of the allocator because a file says so."""
    save(tmp_path, 1)
    folder = save(tmp_path, 2)
    (folder / "model.safetensors").write_bytes(HUGE_HEADER)
    vouched(folder)
    assert newest_checkpoint(tmp_path, lambda text: None) == tmp_path / "step-00000001"


def vouched(folder: Path, number: int = 1) -> None:
    """Writes the manifest by hand, as format 1 is."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"format": number, "files": files}))


# formats


def by_hand(root: Path, number: int) -> None:
    """A checkpoint as the first version wrote it: no count of all skipped steps, no rollbacks, no good step."""
    folder = root / "step-00000003"
    folder.mkdir(parents=True)
    save_file({"w": torch.arange(3.0)}, folder / "model.safetensors")
    state = {"step": 3, "images": 24, "seconds": 1.0, "ema_updates": 3, "skipped": 0, "window": [0.0] * 10}
    (folder / "state.json").write_text(json.dumps({**state, "data": "d", "log_bytes": 0}))
    vouched(folder, number)


def test_a_checkpoint_of_format_1_written_by_hand_loads(tmp_path: Path) -> None:
    by_hand(tmp_path, 1)
    folder = newest_checkpoint(tmp_path, pytest.fail)
    assert folder is not None
    tensors, state = load_checkpoint(folder)
    assert torch.equal(tensors["model"]["w"], torch.arange(3.0)) and state["step"] == 3


def test_a_run_goes_on_from_a_checkpoint_without_the_newer_counters(run: Path) -> None:
    folder = run / "checkpoints" / "step-00000012"
    state = json.loads((folder / "state.json").read_text())
    for newer in ("skipped_in_a_row", "rollbacks", "good_step"):
        del state[newer]
    (folder / "state.json").write_text(json.dumps(state))
    vouched(folder)
    assert [p.step for p in run_all(tiny({"training": {"steps": 13}}), run)] == [13]


def test_format_3_is_refused_and_left_where_it_is(tmp_path: Path) -> None:
    by_hand(tmp_path, 3)
    with pytest.raises(InputError, match="newer version of ancestral; upgrade"):
        newest_checkpoint(tmp_path, pytest.fail)
    assert names(tmp_path) == ["step-00000003"]


# space


def test_too_little_space_is_said_in_bytes_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    usage = namedtuple("usage", "total used free")
    needed = MARGIN + 16
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, needed - 1))
    with pytest.raises(CannotWrite, match=f"needs {needed:,} bytes and {needed - 1:,} are free"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step-00000001"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, needed))
    assert save(tmp_path, 2).exists()


def test_a_file_that_may_not_grow_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the disk is found full in the middle of a file, which no look at free space foresees."""
    save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(CannotWrite, match=os.strerror(errno.EFBIG)):
            save_checkpoint(tmp_path, 2, {"model": {"w": torch.zeros(10_000)}}, {}, keep=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert names(tmp_path) == ["step-00000001"], "the half checkpoint does not stay to fill the disk"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_really_full_disk_is_noticed_before_and_the_run_goes_on_once_there_is_space(small_disk: Path) -> None:
    root, half = small_disk / "checkpoints", {"model": {"w": torch.zeros(10**6)}}
    save_checkpoint(root, 1, half, {"step": 1}, keep=1)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(10**6))
    with pytest.raises(CannotWrite, match=r"needs 5,048,576 bytes and [\d,]+ are free"):
        save_checkpoint(root, 2, half, {"step": 2}, keep=1)
    assert newest_checkpoint(root, pytest.fail) == root / "step-00000001" and names(root) == ["step-00000001"]
    with pytest.raises(CannotWrite, match=os.strerror(errno.ENOSPC)):
        _unforeseen(root, half)
    assert names(root) == ["step-00000001"]
    filler.unlink()
    save_checkpoint(root, 3, TENSORS, {"step": 3}, keep=1)
    assert names(root) == ["step-00000003"]


def _unforeseen(root: Path, tensors: dict[str, dict[str, torch.Tensor]]) -> None:
    """A save on a disk that others fill after the look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2**40))
        save_checkpoint(root, 2, tensors, {"step": 2}, keep=1)


def test_a_read_only_disk_is_one_line(small_disk: Path) -> None:
    root = small_disk / "checkpoints"
    save(root, 1)
    (save(root, 2) / "manifest.json").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CannotWrite, match=r"step-00000003: .*earlier checkpoints are untouched"):
        save(root, 3)
    with pytest.raises(CannotWrite, match="cannot rename the damaged checkpoint"):
        newest_checkpoint(root, lambda text: None)


def test_a_folder_that_vanishes_is_an_error_and_is_not_made_again(tmp_path: Path) -> None:
    """Trap: a checkpoint in a new folder without settings, which no command would go on from."""
    run = tmp_path / "run"
    pipeline, parts = fresh(tiny())
    steps = train(pipeline, parts, RunFolder(run), say=lambda text: None)
    next(steps)
    shutil.rmtree(run)
    with pytest.raises(CannotWrite, match=os.strerror(errno.ENOENT)):
        steps.close()
    assert not run.exists()


# milestones


def test_milestones_stay_beside_the_newest(tmp_path: Path) -> None:
    for step in range(1, 8):
        save(tmp_path, step, spared=lambda step: step % 3 == 0)
    assert names(tmp_path) == [f"step-{step:08d}" for step in (3, 6, 7)]


def test_a_milestone_is_saved_at_its_step_and_kept(tmp_path: Path) -> None:
    config = tiny({"training": {"milestone_every_steps": 4, "checkpoint_every_steps": 5, "keep_checkpoints": 1}})
    run_all(config, tmp_path)
    assert names(tmp_path / "checkpoints") == [f"step-{step:08d}" for step in (4, 8, 12)]


def test_the_newest_is_the_one_of_the_largest_step(tmp_path: Path) -> None:
    """Trap: step-100000000 sorts before step-99999999."""
    save(tmp_path, 99_999_999)
    save(tmp_path, 100_000_000)
    assert newest_checkpoint(tmp_path, pytest.fail) == tmp_path / "step-100000000"


# other processes


def test_a_second_trainer_process_refuses_in_one_line_and_a_killed_ones_lock_is_taken_over(tmp_path: Path) -> None:
    config = tiny({"training": {"steps": 10_000, "checkpoint_every_steps": 10_000}})
    with start(tmp_path, config) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with pytest.raises(InputError, match="being trained by another process") as refused:
            run_all(config, tmp_path)
        assert "\n" not in str(refused.value)
        first.send_signal(signal.SIGKILL)
    (tmp_path / "lock").write_text("4194304")
    assert run_all(tiny(), tmp_path)[-1].step == 12


ONCE_AND_TWICE = [("SIGTERM", 1, 143), ("SIGINT", 2, 130)]


def test_signals_during_a_save(tmp_path: Path) -> None:
    """Once: the save is finished, then the run stops. Twice: it leaves in the middle, and the checkpoint before is
    what the same command goes on from."""
    (tmp_path / "config.json").write_text(tiny({"training": {"checkpoint_every_steps": 1}}).model_dump_json())
    runs = []
    for name, times, _ in ONCE_AND_TWICE:
        words = ["train", "--config", str(tmp_path / "config.json"), "--out", str(tmp_path / f"{name}-{times}")]
        runs.append(forked(Script(HERE / "stopping.py", name, times, *words), tmp_path))
    for process, (name, times, code) in zip(runs, ONCE_AND_TWICE, strict=True):
        _, err = process.communicate(timeout=120)
        assert process.returncode == code and "Traceback" not in err, err
        checkpoints = tmp_path / f"{name}-{times}" / "checkpoints"
        newest = newest_checkpoint(checkpoints, pytest.fail)
        assert newest == checkpoints / f"step-0000000{3 - times}"
    left = tiny({"training": {"checkpoint_every_steps": 1}})
    assert run_all(left, tmp_path / "SIGINT-2")[0].step == 2
    assert not [name for name in names(tmp_path / "SIGINT-2" / "checkpoints") if name.startswith(".")]
