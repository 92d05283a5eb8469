"""Three hundred files as people have them: checked, trained on and sampled, and every one is used or told."""

import json
from pathlib import Path

import pytest
from cli_calls import TINY, call, snapshot
from mixed import mixed_folder

from ancestral.data.datasets import load
from ancestral.settings import DataSettings

SIZE = ["--data.size", "8"]


def test_every_file_is_used_or_told_and_none_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pets"
    used, others = mixed_folder(folder)
    before = {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}

    code, out, err = call(capsys, "data", "check", folder, "--no-measure", "--json")
    told = json.loads(out)
    assert code == 0, err
    assert told["num_images"] == used and sum(told["parts"].values()) == used
    assert sum(each["count"] for each in told["left_out"]) == others
    assert [*told["classes"]] == ["cat", "dog"] and "\x1b" not in out

    parts = load(DataSettings(source=str(folder), size=8))
    whose = [{name.split("/")[0] for name in part.names or ()} for part in (parts.train, parts.validation, parts.test)]
    assert whose == [{"train"}, {"val"}, {"test"}], "test images are never trained on"

    run = tmp_path / "run"
    code, out, err = call(capsys, "train", folder, *TINY, *SIZE, "--training.steps", "1", "--out", run)
    assert code == 0 and "--data.splits none" in err, err
    assert "stray.png" in err and "HEIC" in err and ".txt 31" in err
    code, out, err = call(capsys, "sample", run, "--steps", "2", "--num-images", "2", "--classes", "cat,dog", "--each")
    assert code == 0 and [path.name for path in sorted((run / "generated").iterdir())] == [
        *("grid.png", "seed-0.png", "seed-1.png")
    ]
    assert {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_run_among_the_images_goes_on_by_the_same_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: `ancestral train .` took its own grids for images, and then said that the images had changed."""
    mixed_folder(tmp_path / "pets")
    monkeypatch.chdir(tmp_path / "pets")
    words = ["train", ".", *TINY, *SIZE, "--training.steps", "2", "--training.sample_every_steps", "1"]
    assert call(capsys, *words).code == 0
    (run,) = (tmp_path / "pets" / "runs").iterdir()
    after = snapshot(run)
    code, out, err = call(capsys, *words)
    assert code == 0 and "finished already" in out, err
    assert snapshot(run) == after
