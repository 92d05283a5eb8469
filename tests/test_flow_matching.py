"""Flow matching: what is refused, how it is trained and drawn from, and folders of diffusers, which is the oracle."""

import json
import math
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from combinations import combined
from pipelines import TINY, answering, untrained
from torch import Tensor

from ancestral.data.datasets import load
from ancestral.diffusion.process import time_of_log_snr
from ancestral.diffusion.schedules import rectified
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.sampling.denoiser import NetworkDenoiser
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM, Euler
from ancestral.settings import Config, merged
from ancestral.training.denoiser import Denoising

PATH = {"schedule": {"name": "rectified"}, "prediction": "flow"}
FOREIGN = {**PATH, "time": "flow"}


def flow(diffusion: dict[str, Any] = FOREIGN) -> Pipeline:
    return answering(untrained(changes={"diffusion": diffusion}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diffusion": {**PATH, "prediction": "eps"}}, "prediction x0, v or flow where nothing of x0 is left at t = T"),
        ({"diffusion": {"schedule": {"name": "rectified", "shift": 0}}}, "schedule.shift: expected more than 0"),
        ({"diffusion": {"schedule": {"shift": 3}}}, "no shift with the schedule cosine"),
        (
            {"diffusion": {**PATH, "schedule": {"name": "rectified", "zero_terminal_snr": True}}},
            "no zero_terminal_snr with the schedule rectified",
        ),
        ({"diffusion": {**PATH, "prediction": "v", "time": "sit"}}, "prediction flow and no variance learned"),
        ({"training": {"timesteps_mean": 0.0}}, "no timesteps_mean with timesteps uniform"),
        ({"training": {"timesteps_corrected": True}}, "no timesteps_corrected with timesteps uniform"),
        (
            {"training": {"timesteps": "normal", "loss": "vlb"}, "diffusion": {"variance": "learned"}},
            "timesteps_corrected with timesteps normal and vlb, a sum over all t",
        ),
    ],
)
def test_what_would_mean_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as fault:
        merged(Config(), changes, "run.toml")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("sampler", "time"),
    combined(["ancestral", "heun", "dpm++3m", "unipc-2", "deis-3", "ipndm-4"], ["index", "log-snr", "flow", "sit"]),
)
def test_images_are_drawn_from_where_no_signal_is_left(time: str, sampler: str) -> None:
    """Trap: the log-SNR of t = T is -infinity, which no network can be told."""
    pipeline = flow({**PATH, "time": time})
    settings = pipeline.config.sampling.model_copy(update={"sampler": sampler, "steps": 6, "clip": "none"})
    images = pipeline.generate([0], settings=settings)
    assert images.float().std() > 1


def test_what_is_told_of_no_signal_is_beyond_all_others_and_finite() -> None:
    told = time_of_log_snr(rectified().level(torch.arange(1, 1001)).log_snr)
    assert (told.diff() > 0).all() and told[-1] == 1500


def drawn(training: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Log-SNR and weight of the timesteps of many steps of training."""
    changes = {
        "diffusion": PATH,
        "network": TINY.model_dump(),
        "training": {"batch_size": 64, "timesteps": "normal", **training},
    }
    config = merged(Config(), changes, "test")
    task = Denoising(Pipeline.fresh(config, load(config.data).train.spec))
    each = [task.randomness(step).times for step in range(60)]
    t, weight = (torch.cat([getattr(times, name) for times in each]) for name in ("t", "weight"))
    return rectified().log_snr(t), weight


def test_training_draws_a_normal_log_snr() -> None:
    """Its deciles are those of the normal law: logit-normal in tau."""
    log_snr, weight = drawn({"timesteps_mean": 1.0, "timesteps_std": 0.5})
    deciles = torch.arange(1, 10, dtype=torch.float64) / 10
    torch.testing.assert_close(log_snr.quantile(deciles), 1 + 0.5 * torch.special.ndtri(deciles), atol=0.03, rtol=0)
    assert weight.tolist() == [1.0] * len(weight)


def test_corrected_training_weighs_by_the_inverse_of_the_density() -> None:
    """In tau, uniform over logit-normal: at the middle of m = 0, s = 1 it is sqrt(2 pi) / 4."""
    log_snr, weight = drawn({"timesteps_corrected": True})
    assert weight[log_snr.abs().argmin()] == pytest.approx(math.sqrt(2 * math.pi) / 4, rel=5e-3)


# Folders of diffusers


def their_steps(pipeline: Pipeline, scheduler: Any, x: Tensor) -> Tensor:
    """What diffusers makes of x by our network, which it gives its own x and time."""
    for time in scheduler.timesteps:
        output = pipeline.network(x, time.expand(len(x)))
        x = scheduler.step(output, time, x, return_dict=False)[0]
    return x


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_steps_are_those_of_diffusers(shift: float, tmp_path: Path) -> None:
    """A saved folder is opened by diffusers; from the same noise its Euler ends where our samplers do."""
    pipeline = flow({**FOREIGN, "schedule": {"name": "rectified", "shift": shift}})
    pipeline.save(tmp_path)
    kind = import_module("diffusers").FlowMatchEulerDiscreteScheduler
    theirs = kind.from_pretrained(tmp_path / "scheduler")
    assert theirs.config.shift == shift
    theirs.set_timesteps(sigmas=[1 - i / 8 for i in range(8)])
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    denoise = NetworkDenoiser(pipeline.diffusion, pipeline.network)
    with torch.no_grad():
        expected = their_steps(pipeline, theirs, x)
        for sampler in (DDIM(pipeline.diffusion.schedule), Euler(pipeline.diffusion.schedule)):
            *_, step = sample(denoise, sampler, x, pipeline.diffusion.schedule.trailing(8), lambda: x)
            torch.testing.assert_close(step.x_s, expected, atol=1e-5, rtol=1e-5)
    assert json.loads((tmp_path / "model_index.json").read_text())["scheduler"] == ["diffusers", kind.__name__]
    assert (expected - x).abs().mean() > 0.1


def test_their_own_default_grid_lies_on_our_table(tmp_path: Path) -> None:
    """From 1 to 1 / 1000 in ten: 1000, 889, ..., 1, and then 0."""
    pipeline = flow()
    theirs = import_module("diffusers").FlowMatchEulerDiscreteScheduler()
    theirs.set_timesteps(10)
    grid = torch.cat([theirs.timesteps.round().long(), torch.zeros(1, dtype=torch.int64)])
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    denoise = NetworkDenoiser(pipeline.diffusion, pipeline.network)
    with torch.no_grad():
        *_, step = sample(denoise, DDIM(pipeline.diffusion.schedule), x, grid, lambda: x)
        torch.testing.assert_close(step.x_s, their_steps(pipeline, theirs, x), atol=1e-5, rtol=1e-5)


def foreign_folder(pipeline: Pipeline, folder: Path, scheduler: Any) -> Path:
    """Our network in a folder that another project might have written."""
    pipeline.save(folder)
    (folder / "ancestral.json").unlink()
    scheduler.save_pretrained(folder / "scheduler")
    return folder


def test_a_foreign_folder_is_read(tmp_path: Path) -> None:
    kind = import_module("diffusers").FlowMatchEulerDiscreteScheduler
    pipeline = flow({**FOREIGN, "schedule": {"name": "rectified", "shift": 2.5}})
    read = Pipeline.load(foreign_folder(pipeline, tmp_path, kind(shift=2.5)), "cpu")
    assert read.config.diffusion.model_dump() == pipeline.config.diffusion.model_dump()
    assert (read.config.sampling.sampler, read.config.sampling.clip) == ("ddim", "none")
    settings = read.config.sampling.model_copy(update={"steps": 5})
    assert torch.equal(read.generate([4], settings=settings), pipeline.generate([4], settings=settings))


def test_another_scheduler_on_the_straight_path_is_read(tmp_path: Path) -> None:
    kind = import_module("diffusers").DPMSolverMultistepScheduler
    theirs = kind(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    read = Pipeline.load(foreign_folder(flow(), tmp_path, theirs), "cpu").config
    assert read.diffusion.schedule.model_dump() == {"name": "rectified", "num_timesteps": 1000, "shift": 3.0}
    assert (read.diffusion.time, read.diffusion.prediction, read.sampling.sampler) == ("flow", "flow", "dpm++2m")
    kind(use_flow_sigmas=True).save_pretrained(tmp_path / "scheduler")
    with pytest.raises(InputError, match="prediction_type: expected one of flow_prediction, got 'epsilon'"):
        Pipeline.load(tmp_path, "cpu")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting: expected one of False, got True"),
        ({"invert_sigmas": True}, "invert_sigmas"),
        ({"stochastic_sampling": True}, "stochastic_sampling"),
        ({"shift_terminal": 0.1}, "shift_terminal: expected none"),
        ({"num_train_timesteps": 500}, "num_train_timesteps: expected one of 1000, got 500"),
        ({"prediction_type": "epsilon"}, "prediction_type: expected one of flow_prediction"),
        ({"shift": 0.0}, "shift: expected more than 0"),
        ({"new_key": 1}, "only keys that can be honoured in .*, got new_key"),
    ],
)
def test_what_would_change_the_path_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    kind = import_module("diffusers").FlowMatchEulerDiscreteScheduler
    file = foreign_folder(flow(), tmp_path, kind()) / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(InputError, match=message):
        Pipeline.load(tmp_path, "cpu")


@pytest.mark.parametrize("time", ["index", "log-snr", "sit"])
def test_a_network_that_is_told_otherwise_is_not_written_as_one_of_theirs(time: str, tmp_path: Path) -> None:
    """Trap: diffusers would give it z and 1000 tau, and draw something else; it must refuse the folder."""
    pipeline = flow({**PATH, "time": time})
    pipeline.save(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["_class_name"] == "AncestralPipeline" and index["unet"] == ["ancestral", "AncestralUNet"]
    settings = pipeline.config.sampling.model_copy(update={"steps": 3})
    read = Pipeline.load(tmp_path, "cpu")
    assert torch.equal(read.generate([1], settings=settings), pipeline.generate([1], settings=settings))


def test_a_network_told_tau_may_be_sampled_at_another_number_of_timesteps(tmp_path: Path) -> None:
    """1000 tau is the same number at any T; a folder of another T is still one of theirs, and read."""
    pipeline = flow({**FOREIGN, "schedule": {"name": "rectified", "num_timesteps": 250}})
    settings = pipeline.config.sampling.model_copy(update={"steps": 10, "grid": "trailing"})
    images, finer = (each.generate([1], settings=settings) for each in (pipeline, pipeline.with_num_timesteps(2000)))
    assert (images.float() - finer.float()).abs().max() <= 1
    pipeline.save(tmp_path)
    assert Pipeline.load(tmp_path, "cpu").diffusion.num_timesteps == 250
