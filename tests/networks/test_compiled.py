"""Compiling changes how a network is computed: not its gradients, its names or its copies."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ancestral.errors import InputError
from ancestral.networks import compiled as compiled_module
from ancestral.networks.compiled import compiled
from ancestral.networks.unet import UNet
from ancestral.presets import ddpm_cifar10
from ancestral.settings import UNetSettings

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
"""Torch's compiler warns of torch when it is first imported."""

TINY = UNetSettings(widths=(8, 16), layers=1, attention=(1,), norm_groups=4)


@pytest.fixture
def no_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is called in these tests, so nothing needs to be compiled."""
    monkeypatch.setattr(compiled_module, "_rehearse", lambda device: None)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler, without which torch compiles nothing")
@pytest.mark.slow
@pytest.mark.parametrize("names", [["resnet"], ["resnet", "attention"]], ids=len)
def test_compiled_gradients_are_those_of_the_plain_blocks_at_real_shapes(tmp_path: Path, names: list[str]) -> None:
    """Trap: torch 2.10 compiles a ResNet block with a time embedding so that its convolutions' biases get wrong
    gradients, at these shapes and not at tiny ones."""
    where = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "TORCHINDUCTOR_COMPILE_THREADS": "1", "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("compiling.py")
    done = subprocess.run(
        [sys.executable, str(script), *names], env={**os.environ, **where}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["graphs"] == 1 + len(names), "the rehearsal and the blocks, each in one piece"
    assert {"conv1.bias", "conv2.bias", "time_emb_proj.bias", "input 1"} <= found["differences"]["resnet"].keys()
    for block in found["differences"].values():
        assert {name: error for name, error in block.items() if not error < 1e-4} == {}


def test_names_and_copies_are_those_of_a_network_that_was_never_compiled(no_rehearsal: None) -> None:
    """Trap: checkpoints whose names begin with `_orig_mod.`."""
    network = UNet(TINY, 1, 1)
    names = list(network.state_dict())
    assert compiled(network, "whole") is not network
    assert list(network.state_dict()) == names and [name for name, _ in network.named_parameters()] == names
    averaged = copy.deepcopy(network)
    assert type(averaged) is UNet
    assert list(averaged.state_dict()) == names


def test_not_compiled_is_the_network_itself() -> None:
    network = UNet(TINY, 1, 1)
    assert compiled(network, "no") is network


def test_a_machine_that_cannot_compile_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(InputError, match=r"expected torch to compile for cpu, got: no C\+\+ compiler.*compile no"):
        compiled(nn.Linear(2, 2), "whole")


def broken(call: object) -> object:
    def fails(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no C++ compiler was found\nand many lines more")

    return fails


@pytest.mark.gpu
@pytest.mark.skipif(
    not os.environ.get("ANCESTRAL_NO_SHAPE_CHECKS"),
    reason="the suite's checks of shapes cannot be compiled: set ANCESTRAL_NO_SHAPE_CHECKS=1",
)
def test_the_papers_network_has_the_same_gradients_on_a_gpu() -> None:
    """In bfloat16, whose rounding two orders of summation do not share."""
    torch.manual_seed(0)
    settings = ddpm_cifar10().network.model_copy(update={"dropout": 0.0})
    network = UNet(settings, 3, 3).to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in (p for p in network.parameters() if not p.any()):
        nn.init.normal_(parameter, std=0.02)
    x, toward = (torch.randn(8, 3, 32, 32, device="cuda").to(memory_format=torch.channels_last) for _ in range(2))
    time = torch.arange(8.0, device="cuda") * 100
    plain = of_network(network, network, x, time, toward)
    fast = of_network(network, compiled(network, "whole"), x, time, toward)
    whole = torch.cat([each.flatten() for each in plain.values()]).norm()
    for name, gradient in plain.items():
        assert (fast[name] - gradient).norm() < 0.05 * gradient.norm() + 1e-3 * whole, name


def of_network(
    network: UNet, call: object, x: torch.Tensor, time: torch.Tensor, toward: torch.Tensor
) -> dict[str, torch.Tensor]:
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with torch.autocast("cuda", torch.bfloat16):
        output = call(x, time)  # type: ignore[operator]
    torch.autograd.backward((output.float() * toward).sum())
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
