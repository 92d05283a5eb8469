"""What stands where a result is to go: replaced if it is one of the same kind, kept if it is the user's."""

import errno
import os
from pathlib import Path

import pytest

from ancestral.errors import CannotWrite, InputError
from ancestral.outputs import (
    FILM,
    GENERATED,
    Output,
    check_folder,
    check_writable,
    claim,
    file_named,
    folder_named,
    place_for,
)

OURS = b"\x89PNG\r\n\x1a\n....tEXtweights\x000123...."
THEIRS = b"\x89PNG\r\n\x1a\n....tEXtSoftware\x00GIMP...."


def one_line(path: Path, *words: str, **asked: bool) -> None:
    with pytest.raises(InputError) as raised:
        claim([Output(path, GENERATED)], **{"overwrite": False, **asked})
    said = str(raised.value)
    assert "\n" not in said and all(word in said for word in words), said


def test_a_file_of_the_users_is_kept_and_a_result_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    claim([Output(file, GENERATED)], overwrite=False)
    assert not list(tmp_path.iterdir()), "claiming leaves nothing behind"
    for content in (THEIRS, b"notes: tEXtweights\0", b"", OURS[1:]):
        file.write_bytes(content)
        one_line(file, "a.png", "--overwrite")
        claim([Output(file, GENERATED)], overwrite=True)
        assert file.read_bytes() == content
    file.write_bytes(OURS)
    claim([Output(file, GENERATED)], overwrite=False)
    with pytest.raises(InputError, match="--overwrite"):  # ours, of another kind
        claim([Output(file, FILM)], overwrite=False)


def test_no_link_pipe_or_folder_is_replaced_whatever_is_said(tmp_path: Path) -> None:
    (tmp_path / "ours.png").write_bytes(OURS)
    (tmp_path / "link.png").symlink_to(tmp_path / "ours.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, kind in (("link", "a link"), ("pipe", "a pipe"), ("folder", "a folder")):
        for overwrite in (False, True):
            one_line(tmp_path / f"{name}.png", f"{name}.png", kind, overwrite=overwrite)


def test_results_are_apart_from_one_another_and_from_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(OURS)
    (tmp_path / "again").symlink_to(tmp_path)
    outputs = [Output(tmp_path / "a.png", GENERATED), Output(tmp_path / "again" / "a.png", FILM)]
    with pytest.raises(InputError, match=r"a\.png for one result"):
        claim(outputs, overwrite=True)
    with pytest.raises(InputError, match=r"in\.png for one result and no input"):
        claim([Output(tmp_path / "again" / "in.png", GENERATED)], True, inputs=[tmp_path / "in.png"])


@pytest.mark.parametrize(
    ("marks", "below"),
    [(["model_index.json"], "unet/deep"), (["manifest.json", "state.json"], "."), (["index.json"], "x")],
)
def test_pipelines_checkpoints_and_packed_sets_take_no_results(tmp_path: Path, marks: list[str], below: str) -> None:
    for mark in marks:
        (tmp_path / mark).write_text('{"format": "ancestral-shards"}')
    with pytest.raises(InputError, match="no place for results"):
        check_folder(tmp_path / below)


def test_a_link_out_of_a_run_is_not_followed(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir(), elsewhere.mkdir()
    (run / "generated").symlink_to(elsewhere)
    check_folder(run / "generated")  # a folder of the user's, who may link as he likes
    (run / "config.json").write_text("{}"), (run / "lock").write_text("")
    with pytest.raises(InputError, match="part of its run, got a link"):
        check_folder(run / "generated" / "below")
    (tmp_path / "linked").symlink_to(run)
    check_folder(tmp_path / "linked" / "edited")  # the run itself may lie anywhere


def test_a_disk_that_is_read_only_is_the_disks_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4, as where it is full; a folder that one may not write to was asked for wrongly, exit code 2."""
    for fault, kind in ((errno.EROFS, CannotWrite), (errno.EACCES, InputError)):
        monkeypatch.setattr(
            os, "mkdir", lambda *_, fault=fault: (_ for _ in ()).throw(OSError(fault, os.strerror(fault)))
        )
        with pytest.raises(kind, match=os.strerror(fault)):
            check_writable(tmp_path)


def test_folders_that_cannot_be_written_are_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder, word in [
        (tmp_path / "file" / "below", "no folder"),
        (Path("/proc/nowhere/below"), "cannot write"),
        (tmp_path / ("x" * 300), "255 bytes"),
    ]:
        with pytest.raises(InputError, match=word):
            check_folder(folder)
    with pytest.raises(InputError, match="240 bytes"):
        claim([Output(tmp_path / ("x" * 250), GENERATED)], overwrite=False)
    with pytest.raises(CannotWrite, match="free space"):
        check_folder(tmp_path / "new", room=2**60)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_names_say_what_is_written() -> None:
    assert file_named("a/b.GIF", "--film", (".gif",)) == Path("a/b.GIF")
    assert file_named(None, "--film", (".gif",)) is None
    for word in ("film.doc", "gif", ""):
        with pytest.raises(InputError, match=r"film to end in \.gif"):
            file_named(word, "--film", (".gif",))
    with pytest.raises(InputError, match=r"leave \.png out"):
        folder_named("grids.png", "--out")


def test_a_larger_measurement_stays_and_a_smaller_one_goes_beside(tmp_path: Path) -> None:
    def images(file: Path) -> int:
        if not file.read_text().isdecimal():
            raise InputError("no number")
        return int(file.read_text())

    file, beside = tmp_path / "evaluation.json", tmp_path / "evaluation-50.json"
    assert place_for(file, 500, images, overwrite=False) == file
    file.write_text("500")
    assert place_for(file, 500, images, overwrite=False) == place_for(file, 501, images, overwrite=False) == file
    assert place_for(file, 50, images, overwrite=False) == beside
    beside.write_text("50")
    assert place_for(file, 50, images, overwrite=False) == beside
    assert place_for(file, 50, images, overwrite=True) == file
    beside.write_text("notes")
    with pytest.raises(InputError, match=r"evaluation-50\.json.*--overwrite"):
        place_for(file, 50, images, overwrite=False)
