"""Commands of several processes: what they write is what one writes, one line when it goes wrong, and restarts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from cli_calls import TINY, snapshot
from ranks import environment, free_port
from standing import command
from test_resume import assert_same_run

STEPS = ["--training.steps", "40", "--training.checkpoint_every_steps", "5", "--training.log_every_steps", "10"]


@pytest.fixture
def run(answering: Path) -> Path:
    return answering


def together(world: int, cwd: Path, *words: str | Path) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each of `world` processes of `ancestral WORDS`."""
    port = free_port()
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    places = [environment(rank, world, port) if world > 1 else alone for rank in range(world)]
    with ExitStack() as running:
        started = [running.enter_context(command(*words, cwd=cwd, environment=place)) for place in places]
        said = [process.communicate(timeout=240) for process in started]
        return [(process.wait(), *each) for process, each in zip(started, said, strict=True)]


def quiet(text: str) -> str:
    """Without what torch itself warns of."""
    return "\n".join(line for line in text.splitlines() if not re.match(r"\[?[WE]\d{4}|\[rank|  ", line))


# the same files


@pytest.mark.parametrize(
    ("sampler", "worlds"),
    [("ancestral", (1, 3)), *(pytest.param(each, (1, 2, 3), marks=pytest.mark.slow) for each in ("ddim", "ancestral"))],
)
def test_one_process_two_and_three_draw_the_same_bits(
    run: Path, tmp_path: Path, sampler: str, worlds: tuple[int, ...]
) -> None:
    """Fourteen images in chunks of four: the chains with all they kept, the grid, and every file's metadata."""
    hashes = set()
    for world in worlds:
        out = tmp_path / f"by-{world}"
        words = ("--num-images", "14", "--compute.chunk", "4", "--sampler", sampler, "--steps", "5", "--each")
        files = ("--out", out, "--arrays", out / "chain.npz", "--film", out / "film.gif", "--strip")
        done = together(world, tmp_path, "sample", run, *words, *files)
        assert [code for code, _, _ in done] == [0] * world, done
        assert len(done[0][1].splitlines()) == 18 and all(out == "" == quiet(err) for _, out, err in done[1:])
        content = snapshot(out)
        names = [Path(name).name for name in content]
        hashes.add(
            sha256(
                b"".join(name.encode() + (x or b"") for name, x in zip(names, content.values(), strict=True))
            ).hexdigest()
        )
    assert len(hashes) == 1


def test_two_processes_measure_what_one_does(run: Path, tmp_path: Path) -> None:
    """Generated images, their distances, and the bound with every term."""
    kept = []
    for world in (1, 2):
        copy = Path(shutil.copytree(run, tmp_path / f"by-{world}"))
        few = ("--images", "40", "--compute.chunk", "8")
        for verb, *words in (("evaluate", "--steps", "3"), ("likelihood", "--timesteps", "3")):
            done = together(world, tmp_path, verb, copy, *few, *words)
            assert [code for code, _, _ in done] == [0] * world, done
        bits = json.loads((copy / "likelihood.json").read_text())
        kept.append(((copy / "evaluation.json").read_bytes(), {**bits, "seconds": 0}))
        assert not (copy / "likelihood.partial.jsonl").exists()
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_two_processes_sweep_as_one_does(run: Path, tmp_path: Path) -> None:
    few = [
        "--calls",
        "2",
        "4",
        "--samplers",
        "ddim",
        "ancestral",
        "--grids",
        "log-snr",
        "--images",
        "24",
        "--reference",
        "6",
    ]
    files = []
    for world in (1, 2):
        copy = Path(shutil.copytree(run, tmp_path / f"by-{world}"))
        done = together(world, tmp_path, "sweep", copy, *few, "--compute.chunk", "7")
        assert [code for code, _, _ in done] == [0] * world, done
        files.append([(copy / name).read_bytes() for name in ("sweep.json", "pipeline/ancestral.json")])
    assert files[0] == files[1]


# one line when it goes wrong


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train", "digitz"), "did you mean digits?"),
        (
            ("train", "digits", "--training.batch_size", "1", "--training.steps", "2"),
            "an image for each of 2 processes",
        ),
        pytest.param(("sample", "nowhere"), "nowhere", marks=pytest.mark.slow),
        (("report", "runs/digits"), "expected one process for ancestral report, got 2"),
    ],
)
def test_wrong_input_is_told_once(tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    done = together(2, tmp_path, *words)
    told = [line for _, _, err in done for line in err.splitlines() if line.startswith("ancestral: ")]
    assert len(told) == 1 and "error: " in told[0] and expected in told[0]
    assert all(code in (2, 5) for code, _, _ in done) and done[0][0] == 2


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    for changes in ({"RANK": "5"}, {"WORLD_SIZE": "two"}):
        told = environment(0, 2, free_port()) | changes
        with command("train", "digits", *TINY, "--training.steps", "2", cwd=tmp_path, environment=told) as process:
            _, err = process.communicate(timeout=60)
            assert process.wait() == 2 and "start with torchrun" in err


# torchrun


@contextmanager
def torchrun(cwd: Path, *words: str | Path, restarts: int = 0) -> Iterator[subprocess.Popen[str]]:
    """`torchrun ... -m ancestral WORDS` in two processes."""
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(free_port()),
    ]
    launcher += ["--max-restarts", str(restarts), "-m", "ancestral", *map(str, words)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        launcher, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=env
    ) as run:
        try:
            yield run
        finally:
            run.terminate()


def until(process: subprocess.Popen[str], what: str) -> list[str]:
    """The lines up to one that has `what` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if what in line:
            return lines
    raise AssertionError(lines)


def workers(launcher: subprocess.Popen[str]) -> list[int]:
    """Process ids of what a launcher started, in the order of their ranks."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    named = [(pid, Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")) for pid in children]
    ranks = {pid: dict(e.split(b"=", 1) for e in env if b"=" in e).get(b"RANK") for pid, env in named}
    return [int(pid) for pid, rank in sorted(ranks.items(), key=lambda item: item[1] or b"") if rank is not None]


WORDS = ["train", "digits", *TINY, *STEPS]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes that nothing happened to."""
    folder = tmp_path_factory.mktemp("torchrun")
    done = together(2, folder, *WORDS, "--out", "whole")
    assert [code for code, _, _ in done] == [0, 0] and "is finished after step 40" in done[0][1]
    return folder / "whole"


@pytest.mark.slow
def test_a_signal_to_torchrun_saves_and_the_same_command_goes_on(tmp_path: Path, whole: Path) -> None:
    """Bit for bit as if it had not been stopped."""
    with torchrun(tmp_path, *WORDS, "--out", "stopped") as launcher:
        until(launcher, "step 10 ")
        launcher.send_signal(signal.SIGTERM)
        rest = launcher.communicate(timeout=60)[0]
    assert "stopped and saved after step" in rest
    done = together(2, tmp_path, *WORDS, "--out", "stopped")
    assert [code for code, _, _ in done] == [0, 0] and "is finished after step 40" in done[0][1]
    assert_same_run(whole, tmp_path / "stopped")


def killed_and_restarted(folder: Path, rank: int) -> list[str]:
    """A run one process of which is killed after its first checkpoint; all it said."""
    with torchrun(folder, *WORDS, "--out", "run", restarts=2) as launcher:
        said = until(launcher, "step 10 ")
        os.kill(workers(launcher)[rank], signal.SIGKILL)
        said += launcher.communicate(timeout=120)[0].splitlines()
    assert launcher.returncode == 0, said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_restarted_and_the_run_ends_as_if_it_had_not_been(
    tmp_path: Path, whole: Path, rank: int
) -> None:
    """torch 2.13 by itself recovers in a third of the cases: its store keeps the addresses of the dead."""
    said = killed_and_restarted(tmp_path, rank)
    assert any("resuming at step" in line for line in said)
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.slow
def test_twenty_killed_processes_are_restarted_twenty_times(tmp_path: Path) -> None:
    ends = []
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        said = killed_and_restarted(folder, number % 2)
        ends.append(any("is finished after step 40" in line for line in said))
    print(f"{sum(ends)} of {len(ends)} runs with a killed process were restarted and finished")
    assert ends == [True] * 20
