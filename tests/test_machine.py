"""The allocator that keeps what is freed, the threads that leave their cores, the names of this machine."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ancestral.machine import cpu_field, processor, share_the_cores

FAULTS = """
import resource, sys, torch
torch.set_num_threads(1)
if sys.argv[1] == "kept":
    from ancestral.machine import keep_freed_memory
    assert keep_freed_memory()
for turn in range(26):
    if turn == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    """Of six tensors of 64 MB, made and freed one after another, in a process of its own.

    Twenty others come first: the heap has room for the next tensor once small things no longer break up its gaps.
    """
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "LD_"))}
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, env=rest, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is glibc's")
def test_memory_that_is_freed_is_kept_for_the_next_tensor() -> None:
    """Trap: every large tensor handed back to the system, and fetched again page by page."""
    assert page_faults("left alone") >= 5 * max(1, page_faults("kept"))


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "passive"}])
def test_who_says_how_threads_are_to_wait_is_not_overruled(given: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", given["OMP_WAIT_POLICY"])
    share_the_cores()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_else_they_soon_leave_their_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    share_the_cores()
    assert os.environ["GOMP_SPINCOUNT"] == "7", "a number that the user has set stays"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    share_the_cores()
    assert 0 < int(os.environ["GOMP_SPINCOUNT"]) <= 100_000


NAMES = st.text("abc ", min_size=1, max_size=8).map(str.strip).filter(bool)


@given(NAMES, NAMES, st.text("xyz 0.", min_size=1).map(str.strip).filter(bool))
def test_a_field_is_that_of_its_whole_name(
    tmp_path_factory: pytest.TempPathFactory, one: str, two: str, value: str
) -> None:
    """Trap: `model` found inside `model name`, or in the middle of a line."""
    file = tmp_path_factory.mktemp("fields") / "file"
    file.write_text(f"x {one}\t: wrong\n{one}{two} : wrong\n{one}\t: {value}\n{one} : later\n")
    assert cpu_field(str(file), one) == value


def test_without_the_file_or_the_field_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a : 1\n")
    assert cpu_field(str(tmp_path / "there"), "b") is None
    assert cpu_field(str(tmp_path / "missing"), "a") is None


def test_the_processor_has_a_name() -> None:
    assert processor().strip()
