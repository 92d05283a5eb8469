"""LPIPS by weights that a test draws in the published layout, against plain convolutions and the laws of a distance."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_codec_training import WEIGHTS, quiet, ran, task_of, tiny
from test_resume import assert_same_run
from torch import Tensor
from torch.nn import functional as F

from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import InputError
from ancestral.rng import generator
from ancestral.settings import CodecConfig
from ancestral.training.loop import train
from ancestral.training.lpips import read_lpips
from ancestral.training.run import CodecRunFolder

# as torchvision has and counts them: stage, layer, channels in and out, side of a kernel, stride, padding
ALEXNET = [(1, 0, 3, 64, 11, 4, 2), (2, 3, 64, 192, 5, 1, 2), (3, 6, 192, 384, 3, 1, 1)]
ALEXNET += [(4, 8, 384, 256, 3, 1, 1), (5, 10, 256, 256, 3, 1, 1)]
VGG16 = [(1, 0, 3, 64, 3, 1, 1), (1, 2, 64, 64, 3, 1, 1), (2, 5, 64, 128, 3, 1, 1), (2, 7, 128, 128, 3, 1, 1)]
VGG16 += [(3, 10, 128, 256, 3, 1, 1), *((3, layer, 256, 256, 3, 1, 1) for layer in (12, 14))]
VGG16 += [(4, 17, 256, 512, 3, 1, 1), *((stage, layer, 512, 512, 3, 1, 1) for stage, layer in ((4, 19), (4, 21)))]
VGG16 += [(5, layer, 512, 512, 3, 1, 1) for layer in (24, 26, 28)]
NETWORKS = {"alex": ALEXNET, "vgg": VGG16}
POOLED = {"alex": ((2, 3), 3), "vgg": ((2, 3, 4, 5), 2)}
"""Stages that begin with a pooling, and how wide it is."""
SMALLEST = {"alex": 31, "vgg": 16}
Weights = dict[str, Tensor]


def drawn(net: str, seed: int = 0) -> Weights:
    draws = generator(seed, "lpips", net)
    shift = torch.tensor([-0.030, -0.088, -0.188]).reshape(1, 3, 1, 1)
    found = {
        "scaling_layer.shift": shift,
        "scaling_layer.scale": torch.tensor([0.458, 0.448, 0.450]).reshape(1, 3, 1, 1),
    }
    for stage, layer, inputs, outputs, side, _, _ in NETWORKS[net]:
        weight = torch.randn(outputs, inputs, side, side, generator=draws) * (2 / (inputs * side**2)) ** 0.5
        found[f"net.slice{stage}.{layer}.weight"] = weight
        found[f"net.slice{stage}.{layer}.bias"] = 0.1 * torch.randn(outputs, generator=draws)
    for stage in range(1, 6):
        width = next(outputs for at, _, _, outputs, *_ in NETWORKS[net] if at == stage)
        weight = torch.rand(1, width, 1, 1, generator=draws)
        found |= {f"lin{stage - 1}.model.1.weight": weight, f"lins.{stage - 1}.model.1.weight": weight}
    return found


@pytest.fixture(scope="module")
def weights() -> dict[str, Weights]:
    return {net: drawn(net) for net in NETWORKS}


def written(weights: Weights, path: Path) -> Path:
    if path.suffix == ".pth":
        torch.save(weights, path)
    else:
        save_file({name: each.clone() for name, each in weights.items()}, path)
    return path


def images(count: int, side: int, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, side, side, generator=generator(seed, "images")).tanh()


def stage_by_stage(net: str, weights: Weights, x: Tensor) -> list[Tensor]:
    """What the network answers at the end of each stage, by plain functions."""
    x, answers = (x - weights["scaling_layer.shift"]) / weights["scaling_layer.scale"], list[Tensor]()
    for stage in range(1, 6):
        if stage in POOLED[net][0]:
            x = F.max_pool2d(x, POOLED[net][1], 2)
        for at, layer, *_, stride, padding in NETWORKS[net]:
            if at == stage:
                name = f"net.slice{stage}.{layer}"
                x = F.relu(F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding))
        answers.append(x)
    return answers


@pytest.mark.parametrize("net", NETWORKS)
def test_each_stage_counts_by_the_angle_between_its_answers(
    net: str, weights: dict[str, Weights], tmp_path: Path
) -> None:
    """Of channels that count alike, |a - b|^2 of length 1 each is 2 - 2 cos, at every place; and of one channel alone
    its own difference."""
    x, y = images(2, 40), images(2, 40, seed=1)
    answers = zip(*(stage_by_stage(net, weights[net], each) for each in (x, y)), strict=True)
    for number, (a, b) in enumerate(answers):
        only = dict(weights[net])
        for other in range(5):
            like = only.pop(f"lins.{other}.model.1.weight")
            only[f"lin{other}.model.1.weight"] = torch.full_like(like, float(other == number))
        found = read_lpips(written(only, tmp_path / "alike.safetensors"), 40, 40)(x, y)
        torch.testing.assert_close(found, (2 - 2 * F.cosine_similarity(a, b)).mean((1, 2)), rtol=1e-4, atol=1e-6)
    last = torch.zeros_like(only["lin4.model.1.weight"])
    last[0, 7] = 1.0
    only["lin4.model.1.weight"] = last
    found = read_lpips(written(only, tmp_path / "one.safetensors"), 40, 40)(x, y)
    apart = a[:, 7] / torch.linalg.vector_norm(a, dim=1) - b[:, 7] / torch.linalg.vector_norm(b, dim=1)
    torch.testing.assert_close(found, apart.square().mean((1, 2)), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("net", NETWORKS)
def test_it_is_a_distance_whose_gradient_lowers_it(net: str, weights: dict[str, Weights], tmp_path: Path) -> None:
    """Down to the smallest images of which its last layer sees something; below, it says so."""
    file, side = written(weights[net], tmp_path / "weights.pth"), SMALLEST[net]
    with pytest.raises(InputError, match=rf"at least {side} pixels a side .*, got {side - 1}x40; set"):
        read_lpips(file, side - 1, 40)
    distance, x, y = read_lpips(file, side, side), images(3, side), images(3, side, seed=1)
    assert distance(x, x).tolist() == [0.0] * 3
    found = distance(x, y)
    torch.testing.assert_close(found, distance(y, x))
    torch.testing.assert_close(found[1:], distance(x[1:], y[1:]))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distance(x, y), found) and found.dtype == torch.float32
    near = y.requires_grad_()
    for _ in range(5):
        (gradient,) = torch.autograd.grad(distance(x, near).sum(), near)
        near = (near - 0.02 * gradient / gradient.abs().mean()).detach().requires_grad_()
    assert bool((distance(x, near) < 0.95 * found).all())
    assert not any(each.requires_grad for each in distance.parameters())


def test_grey_and_transparent_images_are_seen_as_they_look(weights: dict[str, Weights], tmp_path: Path) -> None:
    distance = read_lpips(written(weights["alex"], tmp_path / "weights.safetensors"), 32, 32)
    x, y = images(2, 32), images(2, 32, seed=1)
    grey = distance(x[:, :1], y[:, :1])
    torch.testing.assert_close(grey, distance(x[:, :1].repeat(1, 3, 1, 1), y[:, :1].repeat(1, 3, 1, 1)))
    opaque, clear = torch.ones(2, 1, 32, 32), -torch.ones(2, 1, 32, 32)
    torch.testing.assert_close(distance(torch.cat([x, opaque], 1), torch.cat([y, opaque], 1)), distance(x, y))
    assert distance(torch.cat([x, clear], 1), torch.cat([y, clear], 1)).tolist() == [0.0, 0.0]
    white = torch.ones_like(x)
    torch.testing.assert_close(distance(torch.cat([x, clear], 1), torch.cat([y, opaque], 1)), distance(white, y))


def test_twins_of_a_name_and_half_precision_are_read(weights: dict[str, Weights], tmp_path: Path) -> None:
    """A file of tensors without twins has one name of each, which one depends on what wrote it."""
    x, y, own = images(1, 32), images(1, 32, seed=1), weights["alex"]
    wanted = read_lpips(written(own, tmp_path / "both.pth"), 32, 32)(x, y)
    for dropped in ("lin0", "lins."):
        some = {name: each for name, each in own.items() if not name.startswith(dropped)}
        file = written(some, tmp_path / "one.safetensors")
        assert torch.equal(read_lpips(file, 32, 32)(x, y), wanted)
    half = written({name: each.half() for name, each in own.items()}, tmp_path / "half.pth")
    found = read_lpips(half, 32, 32)(x, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=0)


def without(weights: Weights, name: str) -> Weights:
    return {key: each for key, each in weights.items() if not key.startswith(name)}


WRONG: dict[str, Any] = {
    "the last layers alone": (lambda own: without(without(own, "net."), "scaling"), "scaling_layer.shift"),
    "another network": (lambda own: {**own, "net.slice1.0.weight": torch.zeros(64, 3, 3, 3)}, "net.slice1.2.weight"),
    "another width": (
        lambda own: {**own, "net.slice2.3.bias": torch.zeros(8)},
        r"net.slice2.3.bias \[192\], got \[8\]",
    ),
    "no number": (lambda own: {**own, "net.slice2.3.bias": torch.full((192,), torch.nan)}, "not finite"),
    "a number": (lambda own: {"net.slice1.0.weight": torch.tensor(1.0)}, "got none"),
    "no names": (lambda own: [*own.values()], "named tensors only"),
    "other names": (lambda own: {1: torch.zeros(1)}, "named tensors only"),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_file_is_called_what_it_is(name: str, weights: dict[str, Weights], tmp_path: Path) -> None:
    change, said = WRONG[name]
    file = tmp_path / "weights.pth"
    torch.save(change(weights["alex"]), file)
    with pytest.raises(InputError, match=said) as fault:
        read_lpips(file, 64, 64)
    assert "the state dict of lpips.LPIPS(net='alex')" in str(fault.value) and "\n" not in str(fault.value)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_is_no_file_of_tensors_is_refused(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"weights{suffix}"
    with pytest.raises(InputError, match="check the path"):
        read_lpips(file, 64, 64)
    for content in (b"", b"<html>not found</html>", pickle.dumps(Path())):
        file.write_bytes(content)
        with pytest.raises(InputError, match="named tensors only"):
            read_lpips(file, 64, 64)


def test_a_run_goes_on_with_the_weights_it_began_with(weights: dict[str, Weights], tmp_path: Path) -> None:
    """Bit for bit, wherever their file lies then; others are refused."""

    def by(file: Path) -> CodecConfig:
        codec = {"perceptual_by": "lpips", "perceptual_weights": str(file)}
        return tiny(codec, steps=3)

    file, pixels = written(weights["alex"], tmp_path / "weights.pth"), np.zeros((16, 32, 32, 1), dtype=np.uint8)
    pixels[...] = 16 * np.arange(16, dtype=np.uint8)[:, None, None, None]
    some = ImageSet(pixels, None, (), None, None, "some")
    parts = Parts(some, some, some)
    ran(by(file), parts, tmp_path / "whole")
    ran(by(file), parts, tmp_path / "run", steps=1)
    moved = written(weights["alex"], tmp_path / "elsewhere.safetensors")
    written(drawn("alex", seed=1), file)
    with pytest.raises(InputError, match=r"perceptual_weights that this run began with, got others in .*weights\.pth"):
        next(train(task_of(by(file), parts), parts, CodecRunFolder(tmp_path / "run"), quiet))
    ran(by(moved), parts, tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole", WEIGHTS)
