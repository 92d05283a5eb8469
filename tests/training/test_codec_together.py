"""Several processes train one autoencoder: the steps of one, bit for bit when stopped or killed.

Each function without `test_` is what every process runs (ranks.py); it returns what JSON can hold.
"""

import os
import signal
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from ranks import in_processes, start_processes
from test_codec_training import WEIGHTS, quiet, task_of, tiny
from test_resume import assert_same_run

from ancestral.data.datasets import load
from ancestral.errors import Lost
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.training.logs import read_log
from ancestral.training.loop import Progress, train
from ancestral.training.run import CodecRunFolder

KINDS = {
    "kl": {"adversarial": 0.5, "adversarial_start": 0.0},
    "vq": {"name": "vq", "codes": 16, "perceptual": 0.5},
}
LOGGED = {
    "kl": ("loss", "discriminator_loss", "reconstruction_nats", "kl_bits_per_image", "perceptual"),
    "vq": ("loss", "reconstruction_nats", "commitment", "perceptual"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def steps(processes: Processes, folder: Path, kind: str, stop: int = 0, kill: int = 0) -> tuple[list[Progress], str]:
    """Trains, asked inside of step `stop` by the last process to stop, killed after step `kill`; and the codebook, in
    hexadecimal digits. Codes that nothing is near to start anew every second step."""
    config = tiny(KINDS[kind])
    parts = load(config.data)
    task, seen = task_of(config, parts), list[Progress]()

    def wish() -> bool:
        return bool(stop) and len(seen) >= stop - 1 and processes.rank == processes.world_size - 1

    with patch("ancestral.training.codec.REVIVAL_STEPS", 2):
        run = train(task, parts, CodecRunFolder(folder), quiet, wish, processes)
        for progress in run:
            seen.append(progress)
            if progress.step == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if progress.stop:
                break
        run.close()  # type: ignore[attr-defined]
    quantize = task.autoencoder.quantize
    return seen, "" if quantize is None else quantize.embedding.weight.numpy().tobytes().hex()


def coded(processes: Processes, folder: Path, kind: str) -> tuple[list[float], str]:
    """The losses of all steps, and what a codec is made of them by; the codebook."""
    seen, codes = steps(processes, folder, kind)
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5, 6]
    records = [each for each in read_log(folder / "log.jsonl") if "loss" in each]
    return [float(each[name]) for each in records for name in LOGGED[kind]], codes


@every_kind
def test_two_processes_train_a_codec_as_one_does(kind: str, tmp_path: Path) -> None:
    """Trap: a scale, weights of terms, and counts of codes, that are those of one process. The codebooks of both are
    the same to the bit."""
    alone, codes = coded(SINGLE_PROCESS, tmp_path / "one", kind)
    both = in_processes(2, coded, tmp_path / "two", kind)
    for found, _ in both:
        torch.testing.assert_close(found, alone, rtol=2e-3, atol=1e-3)
    assert both[0][1] == both[1][1] and bool(codes) == bool(both[0][1]) == (kind == "vq")


def last_step(processes: Processes, folder: Path, kind: str, stop: int, kill: int) -> int:
    try:
        return steps(processes, folder, kind, stop, kill)[0][-1].step
    except Lost:
        return 0


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A kind, and its run of two processes that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole")
    assert in_processes(2, last_step, folder, request.param, 0, 0) == [6, 6]
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
