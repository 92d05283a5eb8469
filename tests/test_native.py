"""C compiled at first use: kept whole, made again when damaged, and quietly absent where it cannot be had."""

import subprocess
import sys
from pathlib import Path

import pytest

from ancestral import native

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="no C compiler")
ANSWER = "int answer(void) { return 42; }"
ASK = "import sys, pathlib; from ancestral.native import library; print(library(pathlib.Path(sys.argv[1])).answer())"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and where libraries will lie in it."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


def source(folder: Path, code: str = ANSWER) -> Path:
    """A file of the same name and content as others, at a place that was not asked for before."""
    folder.mkdir()
    (folder / "code.c").write_text(code)
    return folder / "code.c"


def answer(file: Path) -> int | None:
    found = native.library(file)
    return None if found is None else found.answer()


def test_a_library_is_made_once(cache: Path, tmp_path: Path) -> None:
    assert answer(source(tmp_path / "a")) == 42
    (made,) = cache.iterdir()
    before = made.stat().st_mtime_ns
    assert answer(source(tmp_path / "b")) == 42
    assert [*cache.iterdir()] == [made] and made.stat().st_mtime_ns == before
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_library_is_made_again_and_never_loaded(damage: str, cache: Path, tmp_path: Path) -> None:
    """Half a library ends the process that loads it."""
    assert answer(source(tmp_path / "a")) == 42
    (made,) = cache.iterdir()
    whole = made.read_bytes()
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    made.unlink()  # what is loaded is not written over
    made.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "flipped": flipped}[damage])
    assert answer(source(tmp_path / "b")) == 42
    assert made.read_bytes() not in (flipped, b"") and len(made.read_bytes()) == len(whole)


def test_another_source_or_processor_has_its_own(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(source(tmp_path / "a")) == 42
    assert answer(source(tmp_path / "b", ANSWER.replace("42", "43"))) == 43
    monkeypatch.setattr(native, "cpu_field", lambda file, name: "another")
    assert answer(source(tmp_path / "c")) == 42
    assert len([*cache.iterdir()]) == 3


def test_processes_that_build_at_once_end_with_one_library(cache: Path, tmp_path: Path) -> None:
    file = source(tmp_path / "a")
    asking = [
        subprocess.Popen([sys.executable, "-c", ASK, str(file)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert [each.communicate()[0].strip() for each in asking] == ["42"] * 3
    assert len([*cache.iterdir()]) == 1


def test_without_a_compiler_there_is_none(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert answer(source(tmp_path / "a")) is None and not cache.exists()


def test_a_compiler_that_anyone_may_exchange_is_not_run(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    compiler.chmod(0o777)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert answer(source(tmp_path / "a")) is None and not (tmp_path / "ran").exists()


def test_switched_off_there_is_none(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_NATIVE", "0")
    assert answer(source(tmp_path / "a")) is None and not cache.exists()


def test_what_does_not_compile_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    assert answer(source(tmp_path / "a", "int answer(")) is None and not [*cache.iterdir()]


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_nothing_is_loaded_where_others_may_write(mode: int, cache: Path, tmp_path: Path) -> None:
    assert answer(source(tmp_path / "a")) == 42
    cache.chmod(mode)
    assert answer(source(tmp_path / "b")) is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "file"))
    assert answer(source(tmp_path / "a")) is None
