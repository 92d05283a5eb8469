"""`ancestral import` of denoising-diffusion-pytorch: what networks say is what that program says, to 1e-4.

The numbers of the other program lie in tests/lucidrains, beside the script that recorded them.
"""

import gzip
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_calls import Called, call
from lucidrains.record import CASES, FOLDER, TRAINED, normal, pixels, weights
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ancestral.diffusion.losses import squared_error
from ancestral.pipeline import Pipeline
from ancestral.sampling.loop import sample
from ancestral.settings import ComputeSettings, SamplingSettings

Tensors = dict[str, Tensor]
RESULTS = ("output", "chain", "loss")
SCHEDULES = {"v": "sigmoid", "eps": "cosine", "x0": "linear", "learned": "betas"}
every_case = pytest.mark.parametrize("name", [*CASES, "trained"])


def recorded(name: str) -> tuple[Tensors, dict[str, list[int]]]:
    """All tensors of a file, and the shapes of the weights."""
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        tensors = {each: file.get_tensor(each) for each in file.keys()}  # noqa: SIM118
        return tensors, json.loads((file.metadata() or {}).get("shapes", "{}"))


def process(name: str, seed: int = 0) -> Tensors:
    """The state of a process with its network's weights."""
    tensors, shapes = recorded(name)
    tables = {each: tensor for each, tensor in tensors.items() if each not in RESULTS}
    return tables | {f"model.{each}": tensor for each, tensor in weights(shapes, seed).items()}


def milestone(name: str, **changes: Tensor) -> dict[str, Any]:
    """As the program nests it, with mixed precision. `changes`: tensors of the averaged process, None: left out."""
    online, average = process(name, seed=1), process(name) | changes
    ema = {"initted": torch.tensor(True), "step": torch.tensor(9)}
    ema |= {f"online_model.{each}": tensor for each, tensor in online.items()}
    ema |= {f"ema_model.{each}": tensor for each, tensor in average.items() if tensor is not None}
    moments = {"step": torch.tensor(9.0), "exp_avg": torch.zeros(3)}
    opt = {"state": {0: moments}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.99), "fused": None, "params": [0]}]}
    return {
        "step": 9000, "model": online, "opt": opt, "ema": ema,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 9}, "version": "2.3.4",
    }  # fmt: skip


def size(name: str) -> str:
    return str(CASES.get(name, TRAINED)["process"]["image_size"])


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pipeline]:
    """The pipeline of a case, imported once by the command."""
    from ancestral.cli.main import main

    folder, made = tmp_path_factory.mktemp("imported"), dict[str, Pipeline]()

    def of(name: str) -> Pipeline:
        if name not in made:
            if name == "trained":
                (folder / f"{name}.pt").write_bytes(gzip.decompress((FOLDER / "model-1.pt.gz").read_bytes()))
            else:
                torch.save(milestone(name), folder / f"{name}.pt")
            assert main(["import", str(folder / f"{name}.pt"), str(folder / name), "--size", size(name)]) == 0
            made[name] = Pipeline.load(folder / name, compute=ComputeSettings(precision="float32"))
        return made[name]

    return of


@every_case
def test_the_file_says_the_process(name: str, imported: Callable[[str], Pipeline]) -> None:
    """A learned variance belongs to eps, whatever the weights of the loss tell, which are those of v there."""
    said, prediction = imported(name).config.diffusion, {"learned": "eps", "trained": "v"}.get(name, name)
    assert (said.schedule.name, said.prediction) == (SCHEDULES.get(name, "sigmoid"), prediction)
    assert said.schedule.num_timesteps == CASES.get(name, TRAINED)["process"]["timesteps"]
    assert said.variance == ("learned" if name == "learned" else "beta_tilde")


@every_case
def test_the_average_says_what_its_own_program_says(name: str, imported: Callable[[str], Pipeline]) -> None:
    pipeline, expected = imported(name), recorded(name)[0]["output"]
    T = pipeline.diffusion.num_timesteps
    x = normal(np.random.RandomState(2), 2, *pipeline.spec.shape)
    levels = pipeline.diffusion.schedule.level(torch.tensor([T, T // 3 + 1]))
    with torch.no_grad():
        output = pipeline.diffusion.ask(pipeline.network, x, levels, pipeline.condition(None, 2))
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.05


@every_case
def test_a_chain_is_that_of_its_own_program(name: str, imported: Callable[[str], Pipeline]) -> None:
    """From the same noise, at the middle and at the end."""
    pipeline, expected = imported(name), recorded(name)[0]["chain"]
    shape, T = (2, *pipeline.spec.shape), pipeline.diffusion.num_timesteps
    settings, source = SamplingSettings(sampler="ancestral", steps=T, clip="static"), np.random.RandomState(4)
    x_T, sampler = normal(np.random.RandomState(5), *shape), pipeline.sampler(settings)
    grid, denoise = pipeline.timesteps(settings), pipeline.denoiser(pipeline.condition(None, 2), settings)
    with torch.no_grad():
        steps = list(sample(denoise, sampler, x_T, grid, lambda: normal(source, *shape)))
    torch.testing.assert_close(torch.stack([steps[T // 2 - 1].x_s, steps[-1].x_s]), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["v", "eps", "x0"])
def test_the_loss_is_that_of_its_own_program(name: str, imported: Callable[[str], Pipeline]) -> None:
    """The squared error, by the weights that its file has for these times."""
    pipeline, (tables, _) = imported(name), recorded(name)
    shape, T = (2, *pipeline.spec.shape), pipeline.diffusion.num_timesteps
    t = torch.tensor([T, T // 3 + 1])
    noised = pipeline.diffusion.noised(
        pixels(np.random.RandomState(1), *shape), t, normal(np.random.RandomState(3), *shape)
    )
    with torch.no_grad():
        output = pipeline.diffusion.ask(pipeline.network, noised.x_t, noised.level, pipeline.condition(None, 2))
        errors = squared_error(pipeline.diffusion, output, noised)
    torch.testing.assert_close((errors * tables["loss_weight"][t - 1]).float(), tables["loss"], rtol=1e-5, atol=1e-5)


def brought(
    capsys: pytest.CaptureFixture[str], content: Any, *words: str, name: str = "model-10.pt", at: Path
) -> Called:
    """The command on a file of this."""
    (save_file if name.endswith(".safetensors") else torch.save)(content, at / name)
    return call(capsys, "import", at / name, at / "new", *words)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_process_alone_and_half_precision_are_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {each: tensor.half() if "model." in each else tensor for each, tensor in process("x0").items()}
    code, out, _ = brought(capsys, state, "--size", "10", "--json", name=name, at=tmp_path)
    found, pipeline = json.loads(out), Pipeline.load(tmp_path / "new")
    assert (code, found["shape"], found["diffusion"]["prediction"]) == (0, [3, 10, 10], "x0")
    assert torch.equal(pipeline.network.state_dict()["conv_in.weight"], state["model.init_conv.weight"].float())
    assert call(capsys, "sample", tmp_path / "new", "--num-images", "1", "--steps", "2", "--out", tmp_path).code == 0


def test_the_command_says_what_stood_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = brought(capsys, milestone("v"), "--size", "16", at=tmp_path)
    assert code == 0 and "widths 16 32 32, full attention 1 2, heads 2 of width 8, variance not learned" in out
    assert "sigmoid schedule, T = 25, prediction v" in out and "not in the file: the size" in out


def of_before_version_2() -> dict[str, Any]:
    return milestone("eps", **{"model.downs.0.0.block1.norm.weight": torch.ones(8)})


def without_tables() -> dict[str, Any]:
    return {"ema_model." + name: tensor for name, tensor in process("eps").items() if name.startswith("model.")}


changed = partial(milestone, "eps")
REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "no size": (changed, "", "--size"),
    "a size of half pixels": (changed, "--size 6", "multiples of 4"),
    "a schedule": (changed, "--size 8 --schedule cosine", "no --schedule"),
    "heads": (changed, "--size 8 --heads 4", "no --heads"),
    "an attention order": (changed, "--size 8 --new-attention-order", "no --new-attention-order"),
    "a null class": (changed, "--size 8 --null-class 0", "null class"),
    "before version 2": (of_before_version_2, "--size 8", "before version 2"),
    "a network alone": (without_tables, "--size 8", "without the betas"),
    "self-conditioning": (
        lambda: changed(**{"model.init_conv.weight": torch.zeros(8, 2, 7, 7)}), "--size 8", "self_condition",
    ),
    "learned waves": (
        lambda: changed(**{"model.time_mlp.0.weights": torch.zeros(8)}), "--size 8", "random_fourier_features",
    ),
    "classes": (lambda: changed(**{"model.null_classes_emb": torch.zeros(8)}), "--size 8", "told classes"),
    "sequences": (lambda: changed(**{"model.init_conv.weight": torch.zeros(8, 1, 7)}), "--size 8", "4 axes"),
    "channels of other meaning": (
        lambda: changed(**{"model.final_conv.weight": torch.zeros(4, 8, 1, 1)}), "--size 8", "1 channels by 4",
    ),
    "heads that differ": (
        lambda: changed(**{"model.mid_attn.mem_kv": torch.zeros(2, 1, 4, 12)}), "--size 8", "attn_heads",
    ),
    "memory of other axes": (
        lambda: changed(**{"model.ups.0.2.mem_kv": torch.zeros(2, 3)}), "--size 8", "ups.0.2.mem_kv of 4 axes",
    ),
    "a tensor less": (
        lambda: changed(**{"model.final_res_block.res_conv.bias": None}), "--size 8", "resnet_out.conv_shortcut.bias",
    ),
    "a tensor more": (lambda: changed(**{"model.extra.weight": torch.zeros(2)}), "--size 8", "extra.weight"),
    "a tensor of another shape": (
        lambda: changed(**{"model.mid_block1.mlp.1.bias": torch.zeros(3)}), "--size 8", "mid_block.0.time_emb_proj",
    ),
    "no levels up": (
        lambda: changed(**{"model.ups.0.0.block1.proj.weight": None}), "--size 8", "ups.0.0.block1.proj.weight",
    ),
    "whole numbers": (
        lambda: changed(**{"model.final_conv.bias": torch.zeros(1, dtype=torch.int64)}), "--size 8", "int64",
    ),
    "no weights of the loss": (lambda: changed(loss_weight=None), "--size 8", "weights of the loss"),
    "weights of another loss": (lambda: changed(loss_weight=torch.linspace(1, 2, 8)), "--size 8", "do not tell"),
    "betas above 1": (lambda: changed(betas=torch.linspace(0.1, 1.5, 8)), "--size 8", "in (0, 1)"),
    "betas that are no list": (lambda: changed(betas=torch.tensor(0.1)), "--size 8", "betas of shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_is_refused_by_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, words, expected = REFUSED[name]
    code, out, err = brought(capsys, made(), *words.split(), at=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1) and "internal" not in err
    assert expected in err and not (tmp_path / "new").exists()


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = milestone("eps", **{"model.final_conv.bias": torch.full((1,), math.nan)})
    code, _, err = brought(capsys, bad, "--size", "8", at=tmp_path)
    assert code == 3 and "conv_out.bias" in err
