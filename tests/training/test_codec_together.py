"""Several processes train one autoencoder: the steps of one, bit for bit when stopped or killed.

Each function without `test_` is what every process runs (ranks.py); it returns what JSON can hold.
"""

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import torch
from ranks import in_processes, start_processes
from test_codec_training import WEIGHTS, quiet, task_of, tiny
from test_resume import assert_same_run
from torch import Tensor

from ancestral.data.datasets import load
from ancestral.errors import Lost
from ancestral.networks.quantizer import Quantizer
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.training.logs import read_log
from ancestral.training.loop import train
from ancestral.training.run import CodecRunFolder

KINDS: dict[str, dict[str, Any]] = {
    "kl": {"adversarial": 0.5, "adversarial_start": 0.0},
    "vq": {"name": "vq", "codes": 16, "perceptual": 0.5},
}
LOGGED = {
    "kl": ("loss", "discriminator_loss", "reconstruction_nats", "kl_bits_per_image", "perceptual"),
    "vq": ("loss", "reconstruction_nats", "commitment", "perceptual"),
}
SOAKED = ["kl", pytest.param("vq", marks=pytest.mark.slow)]
"""KINDS, of which make test takes one: what of codes depends on processes is in test_codebook_together.py."""
every_kind = pytest.mark.parametrize("kind", SOAKED)


class Seen(NamedTuple):
    """What one process has seen of a run."""

    steps: list[int]
    codes: list[str]  # the codebook after each of them, in hexadecimal digits; of no codebook none
    revived: list[int]  # codes that started anew after each


def trained(processes: Processes, folder: Path, kind: str, least: float = 0.0, stop: int = 0, kill: int = 0) -> Seen:
    """Trains, asked inside of step `stop` by the last process to stop, killed after step `kill`. After every step codes
    below `least` of an even share start anew; 0: none."""
    config = tiny(KINDS[kind])
    parts = load(config.data)
    task, seen = task_of(config, parts), Seen([], [], [])

    def wish() -> bool:
        return bool(stop) and len(seen.steps) >= stop - 1 and processes.rank == processes.world_size - 1

    def revive(quantizer: Quantizer, z: Tensor, draws: torch.Generator) -> Tensor:
        dead = own(quantizer, z, draws)
        seen.revived.append(int(dead.sum()))
        seen.codes.append(quantizer.embedding.weight.numpy().tobytes().hex())
        return dead

    own, at = Quantizer.revive, "ancestral.training.codec"
    with (
        patch(f"{at}.REVIVAL_STEPS", 1),
        patch(f"{at}.LAST_REVIVAL", 2),
        patch("ancestral.networks.quantizer.LEAST", least),
        patch.object(Quantizer, "revive", revive),
    ):
        run = train(task, parts, CodecRunFolder(folder), quiet, wish, processes)
        for progress in run:
            seen.steps.append(progress.step)
            if progress.step == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if progress.stop:
                break
        run.close()
    return seen


def coded(processes: Processes, folder: Path, kind: str) -> tuple[list[float], list[str]]:
    """The losses of all steps, and what a codec is made of them by; the codebook."""
    seen = trained(processes, folder, kind)
    assert seen.steps == [1, 2, 3, 4, 5, 6]
    records = [each for each in read_log(folder / "log.jsonl") if "loss" in each]
    return [float(each[name]) for each in records for name in LOGGED[kind]], seen.codes


@every_kind
def test_two_processes_train_a_codec_as_one_does(kind: str, tmp_path: Path) -> None:
    """Trap: a scale, weights of terms, and counts of codes, that are those of one process. The codebooks of both are
    the same to the bit."""
    alone, codes = coded(SINGLE_PROCESS, tmp_path / "one", kind)
    both = in_processes(2, coded, tmp_path / "two", kind)
    for found, _ in both:
        torch.testing.assert_close(found, alone, rtol=2e-3, atol=1e-3)
    assert both[0][1] == both[1][1] and bool(codes) == bool(both[0][1]) == (kind == "vq")


MOST = 1.0
"""Of an even share: about half of the codes start anew after every step."""


def last_step(processes: Processes, folder: Path, kind: str, stop: int, kill: int) -> int:
    try:
        return trained(processes, folder, kind, MOST, stop, kill).steps[-1]
    except Lost:
        return 0


@pytest.fixture(scope="module", params=SOAKED)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A kind, and its run of two processes that nothing happened to. Trap: codes that start anew at vectors of each
    process's own; the next pass hides it, which begins with the codebook of the first process."""
    folder = tmp_path_factory.mktemp("whole")
    one, other = in_processes(2, trained, folder, request.param, MOST)
    assert one == other and one.steps == [1, 2, 3, 4, 5, 6]
    assert all(0 < each < 16 for each in one.revived), "codes started anew, and others did not"
    return request.param, folder


@pytest.mark.parametrize("stop", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_codec_of_two_processes_goes_on_bit_for_bit(whole: tuple[str, Path], stop: int, tmp_path: Path) -> None:
    """Stopped in the first step, and between two checkpoints."""
    kind, uninterrupted = whole
    assert in_processes(2, last_step, tmp_path, kind, stop, 0) == [stop, stop]
    assert in_processes(2, last_step, tmp_path, kind, 0, 0) == [6, 6]
    assert_same_run(tmp_path, uninterrupted, WEIGHTS)


def test_killed_processes_go_on_from_the_last_checkpoint_to_the_same_weights(
    whole: tuple[str, Path], tmp_path: Path
) -> None:
    """At step 5, after the checkpoint of step 3 and before that of step 6."""
    kind, uninterrupted = whole
    started = start_processes(2, last_step, tmp_path, kind, 0, 5)
    with started[0], started[1]:
        for process in started:
            process.communicate(timeout=120)
    assert -signal.SIGKILL in {process.returncode for process in started}
    assert [each.name for each in (tmp_path / "checkpoints").glob("step-*")] == ["step-00000003"]
    assert in_processes(2, last_step, tmp_path, kind, 0, 0) == [6, 6]
    assert_same_run(tmp_path, uninterrupted, WEIGHTS)
