"""The CIFAR-10 run: what it refuses, and a rehearsal in miniature, on digits so that no data set need be at hand."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from ancestral.presets import PRESETS, ddpm_cifar10
from benchmarks import cifar
from benchmarks.machine import machine


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_refuses_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cifar.main(["--out", str(tmp_path), "--run", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "--quick" in said.err and "--minutes" in said.err
    assert not [*tmp_path.iterdir()]


def test_minutes_replace_the_presets_and_nothing_else() -> None:
    asked, preset = cifar.recipe(False, 3.0), PRESETS["cifar10-gpu"]()
    assert asked.training.minutes == 3.0 and cifar.recipe(False, None) == preset
    assert asked.model_copy(update={"training": preset.training}) == preset


def test_the_preset_trains_the_papers_network_by_class_and_draws_in_fifty_steps() -> None:
    preset = PRESETS["cifar10-gpu"]()
    assert preset.network == ddpm_cifar10().network and preset.network.dropout == 0.1
    assert preset.data.flip and preset.data.labels == "auto" and preset.training.minutes == 25
    assert preset.sampling.sampler == "ddim" and preset.sampling.steps == 50


def test_a_rehearsal_writes_all_that_the_run_will(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cifar.QUICK, "data", {"source": "digits", "flip": False})
    assert cifar.main(["--quick", "--out", str(tmp_path), "--run", str(tmp_path / "unused")]) == 0
    name = f"{machine().slug}-cifar-quick"
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json", f"{name}.png"}, "a rehearsal leaves no run"
    record = json.loads((tmp_path / f"{name}.json").read_text())
    training = record["training"]
    assert training["steps"] == 12 and training["images"] == 96 and 0 < training["held_out_loss"] < 2
    assert training["tflops_per_second"] == pytest.approx(
        training["images_per_second"] * training["gflops_per_image"] / 1e3
    )
    assert 0 < training["share_of_watching"] < 1
    assert record["generating"] == {"images": 16, "network_calls": 4, "seconds": record["generating"]["seconds"]}
    (against_test,) = (each for each in record["evaluation"]["comparisons"] if each["name"] == "generated against test")
    assert {number["name"] for number in against_test["numbers"]} >= {"frechet", "kernel"}
    with Image.open(tmp_path / f"{name}.png") as picture:
        assert picture.width > 3 * picture.height, "two rows of ten"
