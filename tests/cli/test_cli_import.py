"""`ancestral import`: networks of OpenAI's programs do here what they do there, and what is no such network is named.

The numbers in tests/openai are those of improved-diffusion (commit 1bc7bbb) and guided-diffusion (22e0df8) themselves,
each on a `UNetModel` of theirs with the settings named below. Weights, images and noise come from numpy's
`RandomState`, whose numbers never change: so the files hold names and shapes of the weights, and the results. Those are
the network's `output` at two times, the terms `bound` (B, T) of `calc_bpd_loop`, largest t first, with `prior`, and x
at the middle and at the end of `p_sample_loop` as `chain`, the predicted images clipped.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_calls import Called, call, snapshot
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ancestral.condition import Condition
from ancestral.diffusion.likelihood import bound_terms
from ancestral.gaussian import DiagonalGaussian
from ancestral.pipeline import Pipeline
from ancestral.sampling.loop import sample
from ancestral.settings import ComputeSettings, SamplingSettings
from ancestral.tensors import Data

FILES = Path(__file__).parents[1] / "openai"
Tensors = dict[str, Tensor]
CASES: dict[str, tuple[str, list[int] | None]] = {
    # model_channels 32, channel_mult 1 2 2 2, num_res_blocks 1, attention at 2, num_heads 4, scale_shift, learn_sigma
    "improved": ("--size 16 --timesteps 25", None),
    # in_channels 1, 32, 1 2 2, 2, attention at 1 and 4, num_heads 2, no scale_shift, 5 classes; rescale_timesteps False
    "improved-labels": ("--size 8 --timesteps 8 --schedule cosine --heads 2 --time index", [1, 4]),
    # 64, 0.5 1 1, 2, at 2, num_head_channels 16, scale_shift, learn_sigma, resblock_updown, new order, 3 classes
    "guided": ("--size 8 --timesteps 8 --schedule cosine --head-width 16 --new-attention-order --time index", [1, 2]),
    # 32, 1 2, 1, attention at 1 and 2, num_heads 1, scale_shift, resblock_updown, START_X, FIXED_SMALL
    "guided-x0": (
        "--size 8 --timesteps 8 --schedule cosine --heads 1 --time index --prediction x0 --variance beta_tilde",
        None,
    ),
}


def normal(source: np.random.RandomState, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(source.standard_normal(math.prod(shape)).reshape(shape).astype(np.float32))


def weights(name: str) -> Tensors:
    """The weights of a case, in the order of their names: normal, of variance 1 over what a number is made of."""
    with safe_open(FILES / f"{name}.safetensors", "pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
    source, tensors = np.random.RandomState(0), {}
    for each, shape in sorted(shapes.items()):
        values = source.standard_normal(math.prod(shape))
        mean = float(each.endswith("weight"))
        values = values / np.sqrt(math.prod(shape[1:])) if len(shape) > 1 else mean + 0.1 * values
        tensors[each] = torch.from_numpy(values.reshape(shape).astype(np.float32))
    return tensors


def results(name: str) -> Tensors:
    with safe_open(FILES / f"{name}.safetensors", "pt") as file:
        return {each: file.get_tensor(each) for each in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pipeline]:
    """The pipeline of a case, imported once by the command."""
    from ancestral.cli.main import main

    folder, made = tmp_path_factory.mktemp("imported"), dict[str, Pipeline]()

    def of(name: str) -> Pipeline:
        if name not in made:
            torch.save(weights(name), folder / f"{name}.pt")
            words = ["import", str(folder / f"{name}.pt"), str(folder / name), *CASES[name][0].split()]
            assert main(words) == 0
            made[name] = Pipeline.load(folder / name, compute=ComputeSettings(precision="float32"))
        return made[name]

    return of


def asked(name: str) -> Condition:
    labels = CASES[name][1]
    return Condition(labels=None if labels is None else torch.tensor(labels))


@pytest.mark.parametrize("name", CASES)
def test_the_network_says_what_its_own_program_says(name: str, imported: Callable[[str], Pipeline]) -> None:
    """Learned variances, the second half of the channels, included."""
    pipeline, expected = imported(name), results(name)["output"]
    T = pipeline.diffusion.num_timesteps
    x = normal(np.random.RandomState(2), (2, *pipeline.spec.shape))
    levels = pipeline.diffusion.schedule.level(torch.tensor([T, T // 3 + 1]))
    with torch.no_grad():
        output = pipeline.diffusion.ask(pipeline.network, x, levels, asked(name))
    assert output.shape == expected.shape
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)


def approximate_bins(p: DiagonalGaussian, x0: Data) -> Data:
    """The decoder of their programs: in float32, by an approximation of the normal law, no probability below 1e-12."""
    distance, deviation = (x0 - p.mean).float(), (0.5 * p.log_var).exp().float()
    below, above = (0.5 + 0.5 * torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
                    for x in ((distance - 1 / 255) / deviation, (distance + 1 / 255) / deviation))  # fmt: skip
    below, above = torch.where(x0 < -0.999, 0.0, below), torch.where(x0 > 0.999, 1.0, above)
    return (above - below).clamp(min=1e-12).log()


@pytest.mark.parametrize("name", CASES)
def test_the_bound_is_that_of_its_own_program(name: str, imported: Callable[[str], Pipeline]) -> None:
    """Term by term in bits per dimension, on the same noise."""
    pipeline, expected = imported(name), results(name)
    shape = (2, *pipeline.spec.shape)
    x0 = torch.from_numpy((np.random.RandomState(1).randint(0, 256, size=shape) / 127.5 - 1).astype(np.float32))
    grid = pipeline.diffusion.schedule.trailing(pipeline.diffusion.num_timesteps)
    denoise, source = pipeline.denoiser(asked(name), SamplingSettings(clip="static")), np.random.RandomState(3)
    with torch.no_grad():
        noise = lambda: normal(source, shape)  # noqa: E731
        terms = list(bound_terms(pipeline.diffusion, denoise, x0, grid, noise, approximate_bins))
    bits = torch.stack([term.nats for term in terms], dim=1).float() / (x0[0].numel() * math.log(2))
    theirs = torch.cat([expected["prior"][:, None], expected["bound"]], dim=1)
    torch.testing.assert_close(bits, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_a_chain_is_that_of_its_own_program(name: str, imported: Callable[[str], Pipeline]) -> None:
    """From the same noise, at the middle and at the end."""
    pipeline, expected = imported(name), results(name)["chain"]
    shape, T = (2, *pipeline.spec.shape), pipeline.diffusion.num_timesteps
    settings, source = SamplingSettings(sampler="ancestral", steps=T, clip="static"), np.random.RandomState(4)
    x_T, sampler = normal(np.random.RandomState(5), shape), pipeline.sampler(settings)
    grid, denoise = pipeline.timesteps(settings), pipeline.denoiser(asked(name), settings)
    with torch.no_grad():
        steps = list(sample(denoise, sampler, x_T, grid, lambda: normal(source, shape)))
    torch.testing.assert_close(torch.stack([steps[T // 2 - 1].x_s, steps[-1].x_s]), expected, rtol=0, atol=1e-4)


def test_diffusers_gives_the_same_where_it_can_be_the_network(
    imported: Callable[[str], Pipeline], tmp_path: Path
) -> None:
    diffusers = pytest.importorskip("diffusers")
    pipeline = imported("guided-x0")
    pipeline.save(tmp_path / "saved")
    theirs = diffusers.UNet2DModel.from_pretrained(tmp_path / "saved/unet", low_cpu_mem_usage=False).eval()
    with torch.no_grad():
        output = theirs(normal(np.random.RandomState(2), (2, 3, 8, 8)), torch.tensor([7, 2])).sample
    torch.testing.assert_close(output, results("guided-x0")["output"], rtol=0, atol=1e-4)


def brought(capsys: pytest.CaptureFixture[str], tensors: Any, *words: str, name: str = "model.pt", at: Path) -> Called:
    """The command on a file of these tensors."""
    (save_file if name.endswith(".safetensors") else torch.save)(tensors, at / name)
    return call(capsys, "import", at / name, at / "new", *words)


def test_half_precision_and_safetensors_are_read_and_widths_tell_the_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = {name: tensor.half() for name, tensor in weights("improved").items()}
    code, out, _ = brought(capsys, stored, "--json", name="model.safetensors", at=tmp_path)
    found, pipeline = json.loads(out), Pipeline.load(tmp_path / "new")
    assert (code, found["shape"], found["weights"]) == (0, [3, 32, 32], 1_629_478)
    assert pipeline.config.diffusion.time == "index" and pipeline.config.diffusion.variance == "learned"
    torch.testing.assert_close(
        pipeline.network.state_dict()["conv_in.weight"], stored["input_blocks.0.0.weight"].float()
    )
    assert call(capsys, "sample", tmp_path / "new", "--num-images", "1", "--steps", "2", "--out", tmp_path).code == 0


def test_a_class_may_stand_for_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--size", "8", "--heads", "2", "--null-class", "1")
    assert brought(capsys, weights("improved-labels"), *words, at=tmp_path).code == 0
    pipeline = Pipeline.load(tmp_path / "new")
    assert pipeline.class_names == ("0", "2", "3", "4") and pipeline.knows_null
    rows = weights("improved-labels")["label_emb.weight"][[0, 2, 3, 4, 1]]
    torch.testing.assert_close(pipeline.network.state_dict()["class_embedding.weight"], rows, rtol=0, atol=0)


def test_of_images_it_becomes_a_run_that_is_measured_and_not_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("ant", "bee", "cow", "dog", "elk")
    for name, pixels in zip(
        names * 12, np.random.RandomState(6).randint(0, 256, (60, 8, 8), dtype=np.uint8), strict=True
    ):
        (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{name}/{pixels.sum()}.png")
    words = (
        "--size",
        "8",
        "--heads",
        "2",
        "--timesteps",
        "8",
        "--schedule",
        "cosine",
        "--data",
        str(tmp_path / "pictures"),
    )
    assert brought(capsys, weights("improved-labels"), *words, at=tmp_path).code == 0
    assert Pipeline.load(tmp_path / "new").class_names == names
    assert (
        call(capsys, "likelihood", tmp_path / "new", "--images", "3", "--timesteps", "2", "--given-classes").code == 0
    )
    before = snapshot(tmp_path / "new/pipeline")
    code, _, err = call(capsys, "train", tmp_path / "new")
    assert code == 2 and "expected checkpoints" in err and snapshot(tmp_path / "new/pipeline") == before


def test_images_of_other_classes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--size", "8", "--heads", "2", "--data", "digits")
    code, _, err = brought(capsys, weights("improved-labels"), *words, at=tmp_path)
    assert code == 2 and "1x8x8 images of 5 classes" in err and not (tmp_path / "new").exists()


def without(name: str) -> Tensors:
    return {each: tensor for each, tensor in weights("improved").items() if each != name}


ROW = torch.zeros(2)
REFUSED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "k-diffusion": (lambda: {"inner_model.timestep_embed.weight": ROW}, "", "k-diffusion"),
    "latent diffusion": (lambda: {"state_dict": {"model.diffusion_model.out.2.bias": ROW}}, "", "latent diffusion"),
    "a classifier": (lambda: {"input_blocks.0.0.weight": ROW, "out.0.weight": ROW}, "", "classifier"),
    "an upsampler": (
        lambda: weights("improved") | {"input_blocks.0.0.weight": torch.zeros(32, 6, 3, 3)},
        "",
        "upsampler",
    ),
    "an optimiser": (lambda: {"state": {0: {"exp_avg": ROW}}, "param_groups": [{"lr": 1e-4}]}, "", "state.0.exp_avg"),
    "a list": (lambda: [ROW], "", "named tensors"),
    "nothing": (dict, "", "none"),
    "a module": (lambda: torch.nn.Linear(2, 2), "", "named tensors"),
    "a tensor less": (lambda: without("middle_block.1.norm.bias"), "", "mid_block.attentions.0.group_norm.bias"),
    "a tensor more": (lambda: weights("improved") | {"extra.weight": ROW}, "", "extra.weight"),
    "a tensor of another shape": (lambda: weights("improved") | {"out.0.bias": ROW}, "", "conv_norm_out.bias"),
    "whole numbers": (lambda: weights("improved") | {"out.0.bias": torch.zeros(32, dtype=torch.int64)}, "", "int64"),
    "heads that do not divide": (lambda: weights("improved"), "--heads 3", "heads = 3"),
    "qkv of another network": (
        lambda: weights("improved") | {"middle_block.1.qkv.bias": torch.zeros(191)},
        "",
        "qkv.bias",
    ),
    "heads twice": (lambda: weights("improved"), "--heads 3 --head-width 8", "--head-width"),
    "a learned variance": (lambda: weights("improved"), "--variance beta_tilde", "--variance"),
    "no classes": (lambda: weights("improved"), "--null-class 0", "null class"),
    "widths of no size": (lambda: weights("guided-x0"), "", "--size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_is_refused_by_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, words, expected = REFUSED[name]
    code, out, err = brought(capsys, made(), *words.split(), at=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1) and "internal" not in err
    assert expected in err and not (tmp_path / "new").exists()


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = weights("improved") | {"out.0.bias": torch.full((32,), math.nan)}
    code, _, err = brought(capsys, bad, at=tmp_path)
    assert code == 3 and "conv_norm_out.bias" in err


def test_a_pickle_is_not_opened_and_a_folder_of_diffusers_is_used_as_it_is(
    imported: Callable[[str], Pipeline], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "edm.pkl").write_bytes(b"\x80\x04\x95")
    code, _, err = call(capsys, "import", tmp_path / "edm.pkl", tmp_path / "new")
    assert code == 2 and "runs the code inside" in err
    imported("guided-x0").save(tmp_path / "folder")
    (tmp_path / "folder/ancestral.json").unlink()
    code, _, err = call(capsys, "import", tmp_path / "folder", tmp_path / "new")
    assert code == 2 and f"ancestral sample {tmp_path / 'folder'}" in err
    code, _, err = call(capsys, "import", tmp_path / "nothing.pt", tmp_path / "new")
    assert code == 2 and "check the path" in err


@pytest.mark.parametrize("there", ["a pipeline", "files"])
def test_what_is_there_is_not_written_over(
    there: str, imported: Callable[[str], Pipeline], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    if there == "files":
        (tmp_path / "new/mine.txt").write_text("mine")
    else:
        imported("guided-x0").save(tmp_path / "new")
    before = snapshot(tmp_path / "new")
    assert brought(capsys, weights("guided-x0"), "--size", "8", at=tmp_path).code == 2
    assert snapshot(tmp_path / "new") == before
