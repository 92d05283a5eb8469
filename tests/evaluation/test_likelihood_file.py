"""The record of an unfinished measurement: what a kill leaves is used as far as it can be."""

from pathlib import Path

import pytest

from ancestral.errors import InputError
from ancestral.evaluation.bound_sums import Sums
from ancestral.jobs.likelihood import record

MINE = {"weights": "abc", "seed": 1}


def sums(number: float) -> Sums:
    odd = number + 1 / 3
    return Sums(
        prior=(odd,),
        diffusion=(odd,),
        reconstruction=(0.1,),
        bits=(odd, 1e-300),
        bits_squared=(1.0, 2.0),
        errors_squared=(1.0, 2.0),
        visits=(1, 0),
        differences=(),
        differences_squared=0.0,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A record of three chunks."""
    with record(tmp_path / "a.jsonl", MINE) as kept:
        for number in range(3):
            kept.append(sums(number))
    return tmp_path / "a.jsonl"


def test_sums_come_back_bit_for_bit(path: Path) -> None:
    with record(path, MINE) as kept:
        assert kept.sums == [sums(0), sums(1), sums(2)]


@pytest.mark.parametrize("lost", [1, 20, 100])
def test_a_torn_last_line_is_dropped_and_written_again(path: Path, lost: int) -> None:
    """Trap: the next line glued to the torn one, and both lost."""
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    with record(path, MINE) as kept:
        assert kept.sums == [sums(0), sums(1)]
        kept.append(sums(2))
    assert path.read_bytes() == whole


def test_lines_after_a_damaged_one_are_not_used(path: Path) -> None:
    first, zero, one, two = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + zero + b'{"chunk": 1}\n' + two)
    with record(path, MINE) as kept:
        assert kept.sums == [sums(0)]
    path.write_bytes(first + one + zero)
    with record(path, MINE) as kept:
        assert kept.sums == []


@pytest.mark.parametrize("other", [{"weights": "abc", "seed": 2}, {"weights": "xyz", "seed": 1}])
def test_what_belongs_to_something_else_is_not_used(path: Path, other: dict[str, object]) -> None:
    with record(path, other) as kept:
        assert kept.sums == [] and kept.restarted
        kept.append(sums(5))
    with record(path, other) as kept:
        assert kept.sums == [sums(5)] and not kept.restarted


def test_two_cannot_write_it(path: Path) -> None:
    with record(path, MINE), pytest.raises(InputError, match="another process"), record(path, MINE):
        pass
