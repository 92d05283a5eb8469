"""How a run is computed when it goes on: as before, unless user or machine want otherwise, which is said."""

import json
from pathlib import Path

import pytest

from ancestral.compute import Choices
from ancestral.errors import InputError
from ancestral.settings import ComputeSettings
from ancestral.training.run import RunFolder

HERE, THERE = "this machine", "another machine"
FIRST = Choices(threads=2)
TUNED = Choices(threads=1, micro_batch=8)


class Start:
    """One run, started again and again."""

    def __init__(self, folder: Path) -> None:
        self.run, self.said = RunFolder(folder), []  # type: tuple[RunFolder, list[str]]

    def __call__(self, now: Choices, asked: ComputeSettings | None = None, machine: str = HERE) -> Choices:
        """The choices of a start for which `now` would be decided; what it says is in `said`."""
        self.said.clear()
        return self.run.resume_choices(now, asked or ComputeSettings(), machine, self.said.append)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


def test_the_first_start_takes_what_is_decided_and_says_nothing(start: Start) -> None:
    assert start(FIRST) == FIRST and start.said == []


def test_tuning_meanwhile_does_not_change_a_run_that_goes_on(start: Start) -> None:
    """Trap: a resumed run that is no longer the uninterrupted one, bit for bit, because of a file in the cache."""
    start(FIRST)
    assert start(TUNED) == FIRST and start.said == []
    assert start(TUNED) == FIRST and start.said == []


def test_what_is_asked_for_does_and_it_is_said_once(start: Start) -> None:
    start(FIRST)
    asked = ComputeSettings(micro_batch=4)
    changed = FIRST.model_copy(update={"micro_batch": 4})
    assert start(TUNED.overlaid(asked), asked) == changed
    assert len(start.said) == 1 and "rounding" in start.said[0]
    assert start(TUNED.overlaid(asked), asked) == changed and start.said == []
    assert start(TUNED) == changed and start.said == [], "it stays so without being repeated"


def test_asking_for_what_is_so_already_changes_nothing(start: Start) -> None:
    start(FIRST)
    assert start(TUNED, ComputeSettings(threads=2)) == FIRST and start.said == []


def test_another_machine_decides_anew_and_it_is_said(start: Start) -> None:
    start(FIRST)
    assert start(TUNED, machine=THERE) == TUNED and len(start.said) == 1
    assert start(FIRST, machine=THERE) == TUNED and start.said == [], "from here on it is that machine's run"


def test_the_same_choices_on_another_machine_are_said_too(start: Start) -> None:
    """Other processors round otherwise."""
    start(FIRST)
    assert start(FIRST, machine=THERE) == FIRST and len(start.said) == 1


def test_another_number_of_threads_is_said(tmp_path: Path) -> None:
    """Sums over more threads are rounded otherwise. A file of an older version says no number, so nothing is said."""
    run, said = RunFolder(tmp_path), []  # type: tuple[RunFolder, list[str]]
    for threads in (2, 1, 1):
        run.resume_choices(Choices(), ComputeSettings(), HERE, said.append, threads=threads)
    assert len(said) == 1 and "on 2 threads and not 1" in said[0]
    older = json.loads(run.compute.read_text())
    del older["threads"]
    run.compute.write_text(json.dumps(older))
    run.resume_choices(Choices(), ComputeSettings(), HERE, said.append, threads=4)
    assert len(said) == 1


@pytest.mark.parametrize("damage", ['{"machine": "this', json.dumps({"machine": HERE, "choices": {"threads": -1}})])
def test_a_damaged_file_is_not_passed_over(start: Start, damage: str) -> None:
    start(FIRST)
    start.run.compute.write_text(damage)
    with pytest.raises(InputError, match=r"compute\.json"):
        start(FIRST)
