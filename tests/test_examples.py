"""Every example runs, tiny, as a reader would run it; where it claims a number, the number is checked."""

import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from ranks import free_port
from torch.distributed.run import get_args_parser

from ancestral.cli.train import parser as train_parser
from ancestral.data.datasets import load
from ancestral.diffusion.parameterization import PredictsEps
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import linear
from ancestral.diffusion.variances import beta
from ancestral.jobs.target import plan
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import build_schedule
from ancestral.sampling.denoiser import NetworkDenoiser
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import Ancestral
from ancestral.settings import Config, DataSettings, ImageSpec, SamplingSettings, UNetSettings, merged, read_settings

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = Config(network=UNetSettings(widths=(8, 8), layers=1, attention=(), norm_groups=4))
TINY_WORDS = ["--network.widths", "8", "--network.layers", "1", "--network.attention", "--network.norm_groups", "4"]
Run = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs an example with words of a command line: what it printed, and its names."""

    def run(name: str, *words: object) -> tuple[str, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        names = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out, names

    return run


def untrained_run(folder: Path, class_names: tuple[str, ...]) -> Path:
    sampling = SamplingSettings(steps=3)
    config = TINY.model_copy(update={"sampling": sampling, "data": DataSettings(source="digits")})
    spec = ImageSpec(channels=1, height=8, width=8, class_names=class_names)
    Pipeline.fresh(config, spec).save(folder / "pipeline")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("run"), tuple("0123456789"))


def percentages(text: str) -> list[float]:
    return [float(word.removesuffix("%")) / 100 for word in text.split() if word.endswith("%")]


def test_every_example_is_short_and_has_a_test_here() -> None:
    paths = sorted(EXAMPLES.glob("*.py"))
    most = {"ddpm.py": 120}  # the whole of it
    assert [path.name for path in paths if len(path.read_text().splitlines()) > most.get(path.name, 80)] == []
    tests = Path(__file__).read_text()
    assert [path.name for path in paths if f'example("{path.name}"' not in tests] == []


def test_a_whole_ddpm_learns_and_its_algorithm_2_is_the_sampler_of_the_package(example: Run, tmp_path: Path) -> None:
    out, names = example("ddpm.py", "--steps", 30, "--timesteps", 6, "--width", 8, "--out", tmp_path / "ddpm.png")
    assert float(out.split("loss ")[1].split()[0]) < 0.8, "it starts at 1, the square of eps alone"
    with Image.open(tmp_path / "ddpm.png") as grid:
        assert grid.width > 10 * 8
    schedule, shape = linear(60), (3, 1, 8, 8)
    diffusion = GaussianDiffusion(schedule, PredictsEps(), beta)

    def network(x: torch.Tensor, time: torch.Tensor, labels: None = None) -> torch.Tensor:
        return 0.9 * x + 0.01 * time.reshape(-1, 1, 1, 1)

    torch.manual_seed(0)
    theirs = names["sampling"](network, schedule, shape)
    torch.manual_seed(0)
    noise = partial(torch.randn, shape)
    denoise = NetworkDenoiser(diffusion, lambda x, index: network(x, index + 1))
    steps = sample(denoise, Ancestral(diffusion), noise(), schedule.trailing(60), noise)
    torch.testing.assert_close(theirs, [*steps][-1].x_s, rtol=1e-5, atol=1e-5)


def test_the_classifier_of_agreement_knows_digits_from_noise(example: Run, run: Path) -> None:
    out, names = example("agreement.py", run, "--images", 40)
    held_out, agreed = percentages(out)
    assert held_out > 0.95, "a support vector machine reads these digits"
    assert agreed < 0.5, "an untrained network generates none"
    parts = load(DataSettings(source="digits"))
    classifier = names["learn"](parts.train)
    assert names["agreement"](classifier, parts.test.images, parts.test.labels) == pytest.approx(held_out, abs=5e-4)
    assert names["agreement"](classifier, parts.test.images, (parts.test.labels + 1) % 10) < 0.05


def test_agreement_asks_for_every_class_in_turn_and_without_guidance(example: Run, run: Path) -> None:
    _, names = example("agreement.py", run, "--images", 3)
    pipeline = Pipeline.load(run)
    _, labels = names["generated"](pipeline, 20)
    assert labels.tolist() == [*range(10), *range(10)]
    guided = merged(pipeline.config, {"sampling": {"guidance": 3.0}}, "test")
    plain = names["generated"](pipeline, 4)[0]
    unhelped = names["generated"](replace(pipeline, config=guided), 4)[0]
    assert (unhelped == plain).all(), "guidance of the run's settings must not help the score"


def test_agreement_wants_classes(example: Run, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="trained without labels"):
        example("agreement.py", untrained_run(tmp_path, ()))


def test_training_in_python_leaves_a_run_and_a_grid(example: Run, tmp_path: Path) -> None:
    words = ("--steps", 3, "--width", 8, "--out", tmp_path / "run")
    out, _ = example("train_in_python.py", *words)
    assert "step     3  loss" in out
    with Image.open(tmp_path / "run" / "grid.png") as grid:
        assert grid.width > 10 * 8
    assert (tmp_path / "run" / "pipeline" / "model_index.json").is_file()
    again, _ = example("train_in_python.py", *words)
    assert "resuming at step 3" in again, "running it again goes on, and does not start afresh"


def test_closed_form_moments_come_nearer_with_more_steps(example: Run) -> None:
    out, names = example("closed_form.py", "--points", 4000)
    header, exact, *lines = [line.split() for line in out.splitlines()]
    assert header[0] == "sampler" and exact[0] == "exact"
    assert [float(word) for word in exact[1:]] == pytest.approx([-0.1, 0.1, 0.875, 0.525, 0.21], abs=6e-4)
    wrong = {(name, int(steps)): abs(float(var_x) - 0.875) for name, steps, _, _, var_x, *_ in lines}
    for sampler in ("ancestral", "ddim"):
        assert wrong[sampler, 5] > 0.05 > wrong[sampler, 100], "error must fall with the number of steps"
    x = names["generate"](names["DDIM"](names["cosine"]()), names["cosine"](), 100, 4000)
    cells = torch.cdist(x, names["MEANS"]).argmin(1).bincount(minlength=3) / len(x)
    assert torch.allclose(cells.double(), names["WEIGHTS"], atol=0.03), "each blob holds its share"


def test_the_film_has_a_frame_for_every_step(example: Run, run: Path, tmp_path: Path) -> None:
    out, names = example("film.py", run, "--label", 7, "--seed", 3, "--out", tmp_path / "seven.png")
    assert out.startswith("3 frames")
    with Image.open(tmp_path / "seven.png") as film:
        assert film.n_frames == 3
    x, x0, times = names["chain"](Pipeline.load(run), 3, "7")
    assert times[-1] == 0 and (x[-1] == x0[-1]).all(), "the last step arrives at the last estimate"
    assert (x[0] != x0[0]).any(), "x_t and the estimate of x_0 are different rows"


def test_own_schedule_leaves_pictures_and_settings_that_mean_it(example: Run, tmp_path: Path) -> None:
    _, names = example("own_schedule.py", "--power", 2, "--out", tmp_path)
    for picture in ("curves.png", "strip.png"):
        with Image.open(tmp_path / picture) as image:
            assert min(image.size) > 200
    config = merged(Config(), read_settings(tmp_path / "own-schedule.json"), "own-schedule.json")
    table = build_schedule(config.diffusion.schedule).alpha_bar
    assert torch.allclose(table, names["power"](exponent=2.0).alpha_bar, rtol=0, atol=1e-12)
    assert float(table[500]) == pytest.approx(1 - 0.999 / 4)
    assert json.loads((tmp_path / "own-schedule.json").read_text()).keys() == {"diffusion"}


# several machines

SCONTROL = "#!/bin/sh\nprintf '127.0.0.1\\n127.0.0.1\\n'\n"
SRUN = """#!/bin/sh
shift  # --kill-on-bad-exit
for machine in 1 2; do "$@" & done
wait
"""


def on_a_cluster(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The Slurm example with two machines that are this one: `srun` starts what it is given twice."""
    for name, script in (("scontrol", SCONTROL), ("srun", SRUN)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    told = {"SLURM_JOB_NODELIST": "both", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "PORT": str(free_port())}
    path = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    command = ["bash", str(EXAMPLES / "slurm.sh"), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder, env=os.environ | told | path
    )


@pytest.mark.slow
def test_the_slurm_example_trains_on_two_machines(tmp_path: Path) -> None:
    words = ["train", "digits", *TINY_WORDS, "--training.steps", "4", "--out", "run"]
    with on_a_cluster(tmp_path, *words) as cluster:
        said = cluster.communicate(timeout=120)[0]
    assert "on cpu by 2 processes" in said and "is finished after step 4" in said
    assert json.loads((tmp_path / "run/compute.json").read_text())["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_of_a_cluster_is_restarted(tmp_path: Path, rank: int) -> None:
    words = ["train", "digits", *TINY_WORDS, "--training.steps", "60", "--training.checkpoint_every_steps", "5"]
    words += ["--training.log_every_steps", "10", "--out", "run"]
    with on_a_cluster(tmp_path, *words) as cluster:
        assert cluster.stdout is not None
        next(line for line in cluster.stdout if "step 10 " in line)
        killed = False
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                told = (folder / "environ").read_bytes().split(b"\0")
                mine = f"RANK={rank}".encode() in told and any(each.startswith(b"MASTER_PORT=") for each in told)
                if mine and (folder / "cwd").readlink() == tmp_path:
                    os.kill(int(folder.name), signal.SIGKILL)
                    killed = True
        said = cluster.communicate(timeout=240)[0]
    assert killed and "resuming at step" in said and "is finished after step 60" in said


def test_the_kubernetes_example_starts_the_command_it_says() -> None:
    """As it would: the words after -m ancestral are a plan, and the launcher takes the others."""
    service, job = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    launcher, words = container["args"][: container["args"].index("-m")], container["args"]
    asked = get_args_parser().parse_args([*launcher, "script"])
    assert asked.nnodes == str(job["spec"]["completions"]) and asked.nproc_per_node == "8"
    host, _, port = asked.rdzv_endpoint.partition(":")
    assert host == f"{job['metadata']['name']}-0.{pod['subdomain']}" and port == "29500"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    given = train_parser(Config()).words(words[words.index("train") + 1 :])
    assert plan(given.target, None, {}, Path(given.out)).out == Path("/data/runs/cifar10")
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
