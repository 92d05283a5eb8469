"""Files of any kind and content, read within limits; files written as a shell would make them."""

import os
import time
from pathlib import Path

import pytest

from ancestral.errors import InputError
from ancestral.files import (
    open_to_append,
    parse_json,
    read_bytes,
    read_json,
    read_toml,
    scratch_folder,
    write_whole,
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"[" * 100_000, "nested"),
        (b"[" * 100 + b"]" * 100, "nested"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' stands twice"),
        (b'{"a": [NaN]}', "a.0 is nan"),
        (b"[-Infinity]", "is -inf"),
        (b"[1e999]", "is inf"),
        (b"[18446744073709551616]", "too large"),
        (b"[" + b"9" * 10_000 + b"]", "digits"),
        (rb'{"a": "\ud800"}', "surrogate"),
        (rb'{"\udfff": 1}', "surrogate"),
        (b'"\xff"', "utf-8"),
        (b"", "Expecting value"),
        (b"{,}", "Expecting"),
    ],
)
def test_what_readers_of_json_would_not_agree_on_is_one_line(text: bytes, word: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match=word) as raised:
        parse_json(text, "x.json")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 200
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'{"a": ["[[[[", "\\", "\"{", {}], "b": -1.5e3}', {"a": ["[[[[", "\\", '"{', {}], "b": -1500.0}),
        (b"[" * 64 + b"]" * 64, None),
        (rb'"\ud83c\udf5e"', "🍞"),
        (b"18446744073709551615", 2**64 - 1),
    ],
)
def test_what_they_agree_on_is_read(text: bytes, value: object) -> None:
    read = parse_json(text, "x.json")
    assert value is None or read == value


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a = " + "[" * 100_000, "nested"),
        ("a = " + "[" * 100 + "]" * 100, "nested"),
        (".".join(["a"] * 100) + " = 1", "nested"),
        ("a = 1\na = 2", "Cannot overwrite"),
        ("a = nan", "nan"),
        ("a = [-inf]", "inf"),
        ("a = 1e999", "inf"),
        ("a = 18446744073709551616", "too large"),
        ("a = " + "9" * 10_000, "digits"),
        ("a = 1979-05-27", "a date"),
        ("a = 07:32:00", "a time"),
        (r'a = "\ud800"', "valid TOML"),
    ],
)
def test_toml_holds_what_json_could(text: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=word) as raised:
        read_toml(Path("x.toml"))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 200


def test_only_a_regular_file_within_its_limit_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    (tmp_path / "list").write_text("[1]")
    for path, word in [
        (tmp_path / "pipe", "a pipe or a device"),
        (Path("/dev/zero"), "a pipe or a device"),
        (tmp_path, "a folder"),
        (tmp_path / "none", "No such file"),
        (Path("a\0b"), "null byte"),
    ]:
        with pytest.raises(InputError, match=word):
            read_bytes(path)
    with pytest.raises(InputError, match="at most 10 bytes"):
        read_bytes(tmp_path / "large", most=10)
    assert read_bytes(tmp_path / "large", most=11) == b"x" * 11
    with pytest.raises(InputError, match="JSON object, got list"):
        read_json(tmp_path / "list")


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_a_file_has_the_mode_that_the_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", "content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_written_through_a_link_or_over_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, word in [("link", "a link"), ("nowhere", "a link"), ("folder", "a folder"), ("pipe", "a pipe")]:
        for write in (lambda path: write_whole(path, b"x"), open_to_append):
            with pytest.raises(InputError, match=word):
                write(tmp_path / name)
    with pytest.raises(InputError, match="a pipe or a device"):
        write_whole(Path("/dev/null"), b"x")
    assert (tmp_path / "theirs").read_text() == "kept" and not (tmp_path / "none").exists()
    assert Path("/dev/null").is_char_device() and sorted(tmp_path.iterdir()) == sorted(
        tmp_path / name for name in ("theirs", "link", "nowhere", "folder", "pipe")
    )


def test_a_scratch_folder_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        assert scratch_folder(tmp_path).stat().st_mode & 0o777 == 0o775
        with open_to_append(tmp_path / "log") as file:
            assert os.fstat(file.fileno()).st_mode & 0o777 == 0o664
    finally:
        os.umask(before)
