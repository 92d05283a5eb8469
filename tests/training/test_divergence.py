"""Divergence is explained, not averaged away: what is named, what is counted, what is warned of, and going back."""

import json
import math
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import fresh, no_numbers, run_all, run_until, tiny
from test_resume import assert_same_run

from ancestral.errors import Diverged, InputError
from ancestral.settings import Config
from ancestral.training.checkpoint import load_checkpoint, newest_checkpoint
from ancestral.training.denoiser import Denoising
from ancestral.training.logs import read_log
from ancestral.training.loop import train
from ancestral.training.run import RunFolder
from ancestral.training.step import MOST_IN_A_ROW, NAMED_IMAGES, Trainer
from ancestral.training.training_log import FEWEST, SPIKE, Spikes, TrainingLog


def test_a_grid_that_is_not_finite_is_left_out_and_said(tmp_path: Path) -> None:
    """Training goes on: whether it diverged is for its losses to tell. Nothing black is written."""
    pipeline, parts = fresh(tiny({"training": {"sample_every_steps": 1}}))
    trainer, said = Trainer(Denoising(pipeline), parts.train), list[str]()
    trainer.advance()
    torch.nn.init.constant_(trainer.ema.network.conv_in.bias, math.nan)
    TrainingLog(trainer, RunFolder(tmp_path), lambda: None, said.append).after_step(None)
    (line,) = [line for line in said if "grid" in line]
    assert line.startswith("no grid after step 1, step 1 of") and "conv_in.bias first" in line
    assert not [*tmp_path.rglob("*.png")]


# what the message names


def diverging(trainer: Trainer, bad: list[int]) -> Diverged:
    """The error of a trainer whose tenth bad step in a row has losses that are no numbers, at these places."""
    with no_numbers(trainer.network, bad):
        for _ in range(MOST_IN_A_ROW - 1):
            trainer.advance()
        with pytest.raises(Diverged) as caught:
            trainer.advance()
    return caught.value


def test_the_images_that_are_no_numbers_are_named_by_index_and_file() -> None:
    pipeline, parts = fresh(tiny())
    images = replace(parts.train, names=tuple(f"file-{i}.png" for i in range(len(parts.train))))
    trainer = Trainer(Denoising(pipeline), images)
    first, second = (int(index) for index in trainer.loader.batch(MOST_IN_A_ROW - 1).indices[[2, 5]])
    message = str(diverging(trainer, [2, 5]))
    assert f"on training images {first} (file-{first}.png), {second} (file-{second}.png); " in message
    assert "\n" not in message and "first in " in message


def test_without_file_names_and_of_many_only_some_are_named() -> None:
    pipeline, parts = fresh(tiny({"training": {"batch_size": NAMED_IMAGES + 3}}))
    trainer = Trainer(Denoising(pipeline), parts.train)
    named = [str(int(index)) for index in trainer.loader.batch(MOST_IN_A_ROW - 1).indices[:NAMED_IMAGES]]
    message = str(diverging(trainer, [*range(NAMED_IMAGES + 3)]))
    assert f"on training images {', '.join(named)} and 3 more; " in message


# what is counted


@contextmanager
def wrong(when: Any) -> Iterator[None]:
    """Steps whose loss and gradients are no numbers wherever `when(trainer)` says so: a function of the run alone."""
    losses_of = Trainer._losses

    def poisoned(trainer: Trainer, *step: Any) -> tuple[torch.Tensor, torch.Tensor]:
        losses, weight = losses_of(trainer, *step)
        return (losses * math.nan if when(trainer) else losses), weight

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_losses", poisoned)
        yield


def test_skipped_steps_are_counted_over_the_whole_run_and_a_resume_goes_on_counting(tmp_path: Path) -> None:
    with wrong(lambda trainer: trainer.step in (1, 2, 6, 9)):
        run_all(tiny(), tmp_path / "whole")
        run_until(7, tiny(), tmp_path / "parts")
        run_all(tiny(), tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    counts = {record["step"]: record["skipped"] for record in read_log(tmp_path / "parts/log.jsonl") if "lr" in record}
    assert counts == {3: 2, 6: 2, 9: 3, 12: 4}
    state = json.loads((tmp_path / "parts/checkpoints/step-00000012/state.json").read_text())
    assert state["skipped"] == 4 and state["skipped_in_a_row"] == 0


# what is warned of


def record(step: int, loss: float | None) -> dict[str, Any]:
    return {"step": step, "loss": loss, "lr": 1e-3, "grad_norm": 7.5}


def test_a_leap_of_the_loss_is_warned_of_once_with_what_helps_to_explain_it() -> None:
    spikes = Spikes()
    assert [spikes.warning(record(step, 1.0 + step % 2)) for step in range(FEWEST + 3)] == [None] * (FEWEST + 3)
    warning = spikes.warning(record(50, 20.0))
    assert warning is not None and "\n" not in warning
    assert all(part in warning for part in ("20 at step 50", "rate 0.001", "norm 7.5"))
    assert spikes.warning(record(51, 21.0)) is None, "said already"
    assert spikes.warning(record(52, 1.0)) is None
    assert spikes.warning(record(53, 20.0)) is not None, "a second leap"


@pytest.mark.parametrize("before", [[], [1.0] * (FEWEST - 1), [0.5 * SPIKE] * FEWEST, [None] * 30])
def test_no_leap_is_none(before: list[float | None]) -> None:
    """Too little to compare with, not high enough, or nothing but skipped steps."""
    spikes = Spikes()
    for step, loss in enumerate(before):
        assert spikes.warning(record(step, loss)) is None
    assert spikes.warning(record(99, SPIKE)) is None


def test_nats_of_a_density_are_negative_and_no_leap_for_that() -> None:
    """Trap: five times a negative median lies below every loss."""
    spikes = Spikes()
    assert [spikes.warning(record(step, -1.1)) for step in range(2 * FEWEST)] == [None] * 2 * FEWEST
    assert spikes.warning(record(50, 4.0)) is not None


def test_training_says_a_leap_when_it_logs_it(tmp_path: Path) -> None:
    pipeline, parts = fresh(tiny({"training": {"log_every_steps": 1}}))
    said: list[str] = []
    steps = train(pipeline, parts, RunFolder(tmp_path), say=said.append)
    for progress in steps:
        if progress.step == 8:
            with torch.no_grad():
                pipeline.network.conv_out.bias += 30
    leaps = [line for line in said if re.search(r"leapt to .* at step 9,.*learning rate .*, gradient norm", line)]
    assert len(leaps) == 1


# going back

LR = 2e-4
ROLLBACK: dict[str, Any] = {
    "training": {"on_divergence": "rollback", "steps": 30, "warmup_images": 0, "keep_checkpoints": 1, "lr": LR},
    "data": {"validation": 0.0},
}


def too_fast_from(step: int, limit: float) -> Any:
    """Wrong from that step on, for as long as the learning rate is above the limit."""
    return wrong(lambda trainer: trainer.step >= step and trainer.optimizers[0].param_groups[0]["lr"] > limit)


def stopped_at(config: Config, folder: Path, steps_taken: int) -> None:
    """Some steps of a run, closed after them, which saves."""
    pipeline, parts = fresh(config)
    steps = train(pipeline, parts, RunFolder(folder), say=lambda text: None)
    for _ in range(steps_taken):
        next(steps)
    steps.close()


def test_going_back_halves_the_learning_rate_and_ends_as_well_as_it_can(tmp_path: Path) -> None:
    """Good until step 13, then wrong above a third of the rate: ten skipped steps, back to step 10, and again."""
    said: list[str] = []
    with too_fast_from(13, LR / 3):
        pipeline, parts = fresh(tiny(ROLLBACK))
        steps = [p.step for p in train(pipeline, parts, RunFolder(tmp_path), said.append)]
    assert steps == [*range(1, 23), *range(11, 23), *range(11, 31)]
    back = [line for line in said if "going back" in line]
    assert len(back) == 2 and "from step 22 to 10" in back[0] and "times 0.5 " in back[0] and "times 0.25 " in back[1]
    assert all("on training images" in line and "\n" not in line for line in back)
    log = read_log(tmp_path / "log.jsonl")
    assert [r["step"] for r in log] == sorted({r["step"] for r in log}), "no step twice"
    rates = {r["step"]: r["lr"] for r in log if "lr" in r}
    assert rates[9] == pytest.approx(LR) and rates[12] == rates[30] == pytest.approx(LR / 4)
    newest = newest_checkpoint(tmp_path / "checkpoints", pytest.fail)
    assert newest is not None and load_checkpoint(newest)[1]["rollbacks"] == 2


@pytest.fixture(scope="module")
def went_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that went back twice and was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    with too_fast_from(13, LR / 3):
        run_all(tiny(ROLLBACK), folder)
    return folder


@pytest.mark.parametrize(
    "stops",
    [*(pytest.param([stop], marks=pytest.mark.slow) for stop in (12, 17, 24)), [12, 11, 3]],
    ids=str,
)
def test_a_run_that_went_back_is_the_same_wherever_it_was_stopped(
    tmp_path: Path, went_back: Path, stops: list[int]
) -> None:
    """Before the divergence, while steps are skipped, after going back: a checkpoint made by stopping is never what is
    gone back to, nor is one whose weights diverge. 24 steps in, two of the new way have been taken."""
    with too_fast_from(13, LR / 3):
        for count in stops:
            stopped_at(tiny(ROLLBACK), tmp_path, count)
        run_all(tiny(ROLLBACK), tmp_path)
    assert_same_run(went_back, tmp_path)


@pytest.mark.slow
def test_a_kill_after_going_back_changes_nothing_either(tmp_path: Path, went_back: Path) -> None:
    """No checkpoint says yet that it went back: it diverges and goes back once more, as the same run would."""
    with too_fast_from(13, LR / 3):
        pipeline, parts = fresh(tiny(ROLLBACK))
        steps = train(pipeline, parts, RunFolder(tmp_path / "going"), say=lambda text: None)
        for _ in range(24):
            next(steps)
        killed = Path(shutil.copytree(tmp_path / "going", tmp_path / "killed"))  # which saves nothing more
        steps.close()
        run_all(tiny(ROLLBACK), killed)
    assert_same_run(went_back, killed)


def test_what_diverges_at_any_rate_stops_after_the_allowed_number(tmp_path: Path) -> None:
    said: list[str] = []
    config = tiny(ROLLBACK | {"training": {**ROLLBACK["training"], "rollbacks": 2}})
    pipeline, parts = fresh(config)
    with wrong(lambda trainer: trainer.step >= 13), pytest.raises(Diverged, match=r"lower --training\.lr$"):
        list(train(pipeline, parts, RunFolder(tmp_path), said.append))
    assert len([line for line in said if "going back" in line]) == 2
    assert newest_checkpoint(tmp_path / "checkpoints", pytest.fail) is not None


def test_divergence_before_the_first_checkpoint_goes_back_to_the_beginning(tmp_path: Path) -> None:
    with too_fast_from(2, LR / 1.5):
        steps = [p.step for p in run_all(tiny(ROLLBACK), tmp_path)]
    assert steps[-1] == 30 and steps.count(1) == 2


def test_a_run_that_stopped_may_go_on_by_going_back(tmp_path: Path) -> None:
    """The setting may change when a run goes on, and the message says so."""
    stops = tiny(ROLLBACK | {"training": {**ROLLBACK["training"], "on_divergence": "stop"}})
    with too_fast_from(13, LR / 1.5):
        with pytest.raises(Diverged, match=r"or go on with --training\.on_divergence rollback"):
            run_all(stops, tmp_path)
        assert run_all(tiny(ROLLBACK), tmp_path)[-1].step == 30


def test_rollbacks_without_rollback_are_refused() -> None:
    with pytest.raises(InputError, match="use on_divergence rollback"):
        tiny({"training": {"rollbacks": 2}})
