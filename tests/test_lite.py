"""`ancestral_lite`: no torch, none of the package, torch's numbers all the same."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_imports import executes

import ancestral_lite as lite
from ancestral.rng import mix
from ancestral_lite import normals

FOLDER = Path(lite.__file__).parent


def test_it_imports_neither_torch_nor_the_package_and_executes_nothing() -> None:
    words = "import sys, ancestral_lite; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded and not {"torch", "ancestral"} & {*loaded}
    texts = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    assert "plans" in texts and [fault for name, text in texts.items() for fault in executes(name, text)] == []


RECORDED = {
    (16,): (-0.8201345, 0.2303969, 1.0901651),
    (21,): (-0.8201345, -0.3567225, 1.0955805),
    (3,): (-0.1467951, 0.7861413, 0.9468216),
}
"""The first and the last two numbers of `torch.randn` after `manual_seed(2**40 + 7)`, by torch 2.13."""


@pytest.mark.parametrize("shape", RECORDED)
def test_numbers_are_those_recorded_and_this_torchs(shape: tuple[int, ...]) -> None:
    """PyTorch promises no stability of its stream: where its half alone fails, seeds have changed their images."""
    seed = 2**40 + 7
    found, stream = lite.torch_normals(seed, shape), torch.Generator().manual_seed(seed)
    assert np.abs(found[[0, -2, -1]] - RECORDED[shape]).max() < 1e-6
    assert np.abs(found - torch.randn(shape, generator=stream).numpy()).max() < 1e-6


def test_half_a_pair_begins_the_next_draw() -> None:
    ours, stream = normals.Generator(5), torch.Generator().manual_seed(5)
    for count in (5, 2, 20, 4, 1):
        assert np.abs(ours.normals((count,)) - torch.randn(count, generator=stream).numpy()).max() < 1e-6


def test_seeds_are_mixed_as_in_the_package() -> None:
    assert [normals.mix(seed, "sample", 3) for seed in (0, 17, 2**63 - 1)] == [
        mix(seed, "sample", 3) for seed in (0, 17, 2**63 - 1)
    ]


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "ancestral-plan", "version": 2}'])
def test_what_is_no_plan_of_this_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an ancestral-plan of version 1"):
        lite.read_plan(text)
