"""`ancestral train-codec`: from a folder to a codec that is measured, and on where it stopped."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranks
from cli_calls import TINY_CODEC, call, snapshot
from PIL import Image
from standing import Forked, Module, Script
from test_resume import assert_same_run

from ancestral.data import datasets
from ancestral.evaluation.codec_measurement import FILE, read_measurement
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.networks.weights import weights_hash
from ancestral.presets import for_codec
from ancestral.settings import CodecConfig, parse
from ancestral.settings.data import DATA_SETS


def records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_folder_of_images_becomes_a_codec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a size that no factor divides; what is held out is measured, and the folder is one of diffusers."""
    folder, noise = tmp_path / "birds", np.random.default_rng(0)
    folder.mkdir()
    for i in range(20):
        Image.fromarray(noise.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    words = ["--training.steps", "2", "--data.size", "17", "--json"]
    done = call(capsys, "train-codec", folder, *TINY_CODEC, *words)
    assert done.code == 0, done.err
    *steps, result = records(done.out)
    assert [each["step"] for each in steps] == [1, 2] and {"loss", "reconstruction_nats", "fraction"} <= {*steps[0]}
    assert (result["run"], result["codec"]) == ("runs/birds-codec", "runs/birds-codec/codec")
    assert result["finished"] and result["num_held_out"] == 2 and result["latents"] == [2, 9, 9]
    assert 0 < result["psnr"] < 60 and -1 <= result["ssim"] <= 1 and result["kl_bits_per_image"] > 0
    config = json.loads(Path("runs/birds-codec/codec/config.json").read_text())
    assert (config["_class_name"], config["scaling_factor"], config["in_channels"]) == ("AutoencoderKL", 1.0, 3)
    assert read_autoencoder(Path(result["codec"])).network.image_channels == 3
    grids = sorted(each.name for each in Path("runs/birds-codec/samples").iterdir())
    assert grids == ["step-00000001.png", "step-00000002.png"]
    kept = read_measurement(Path("runs/birds-codec/quality.json"))
    assert {**result, **kept.model_dump(mode="json", exclude_none=True)} == result and kept.step == 2
    assert kept.weights == weights_hash(read_autoencoder(Path(result["codec"])).network)


def test_a_run_goes_on_and_is_finished(coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(coded, tmp_path / "run"))
    done = call(capsys, "train-codec", run, "--training.steps", "3", "--training.lr_schedule", "cosine")
    assert done.code == 0 and "resuming at step 2" in done.out, done.err
    assert "is finished after step 3" in done.out and "PSNR" in done.out and "means within" in done.out
    again = call(capsys, "train-codec", run)
    assert again.code == 0 and "is finished already" in again.out
    listed = call(capsys, "runs", run, "--json")
    (state,) = json.loads(listed.out)
    assert (state["state"], state["steps"], state["size"]) == ("finished", 3, "8x8 grey")
    kept = read_measurement(run / "quality.json")
    assert (kept.step, kept.psnr) == (3, state["psnr"]) and kept.weights != read_measurement(coded / FILE).weights
    assert f"{kept.psnr:.4g}  8x8 grey" in call(capsys, "runs", run).out


def test_what_is_no_file_of_the_run_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trap: an hour of training, and then no place for what it is worth."""
    (tmp_path / "run" / "quality.json").mkdir(parents=True)
    done = call(capsys, "train-codec", "digits", *TINY_CODEC, "--training.steps", "2", "--out", "run")
    assert (done.code, done.err.count("\n")) == (2, 1) and "quality.json to be a regular file" in done.err
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_without_held_out_images_nothing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data.test", "0", "--training.steps", "1", "--out", "run"]
    done = call(capsys, "train-codec", "digits", *TINY_CODEC, *words)
    assert done.code == 0 and "no image is held out" in done.out and not Path("run/quality.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kl", "vq"])
def test_ctrl_c_in_two_processes_saves_and_the_same_command_goes_on(kind: str, tmp_path: Path) -> None:
    """Bit for bit as if it had not been stopped. One of them is, while it saves step 4: both take one more."""
    few = ["train-codec", "digits", *TINY_CODEC, "--codec.name", kind, "--training.steps", "7", "--out"]
    stopping = Path(ranks.__file__).with_name("stopping.py")

    def together(*before: str, out: str) -> list[tuple[int, str]]:
        """Exit codes and what was said: of `ancestral`, or of what signals itself."""
        port, words = ranks.free_port(), [*few, out]
        work = Script(stopping, *before, *words) if before else Module("ancestral", *words)
        started = [Forked(work, tmp_path, ranks.environment(rank, 2, port)) for rank in range(2)]
        with started[0], started[1]:
            said = ["".join(process.communicate(timeout=240)) for process in started]
            return [(process.wait(), each) for process, each in zip(started, said, strict=True)]

    assert [code for code, _ in together(out="whole")] == [0, 0]
    stopped = together("SIGINT", "1", out="run")
    assert stopped[0][0] == 130 and "stopped and saved after step 5" in stopped[0][1], stopped
    assert "resuming at step 5" in together(out="run")[0][1]
    assert_same_run(tmp_path / "run", tmp_path / "whole", "codec/diffusion_pytorch_model.safetensors")


def test_a_codec_run_is_called_what_it_is(coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(coded)
    for verb in ("train", "sample", "evaluate"):
        done = call(capsys, verb, coded)
        assert (done.code, done.err.count("\n")) == (2, 1) and "train-codec" in done.err, done.err
    assert snapshot(coded) == before


WRONG = {
    "nothing": ([], "expected a folder of images"),
    "nowhere": (["./nowhere"], "got none at ./nowhere"),
    "a data set that is not known": (["digit"], "did you mean digits"),
    "noise": (["digits", "--training.timesteps", "stratified"], "unknown option --training.timesteps"),
    "a network": (["digits", "--network.widths", "8"], "unknown option --network.widths"),
    "another kind": (["digits", "--codec.name", "gan"], "codec.name"),
    "codes of no book": (["digits", "--codec.name", "kl", "--codec.codes", "8"], "no codes with the codec kl"),
    "a start of nothing": (["digits", "--codec.adversarial_start", "0.2"], "adversarial"),
    "groups that do not divide": (["digits", "--codec.widths", "8", "12"], "norm_groups"),
    "weights of nothing": (["digits", "--codec.perceptual_weights", "w.pth"], "got it with filters"),
    "no weights": (["digits", "--codec.perceptual_by", "lpips"], "got none; name the file"),
    "a loss of nothing": (["digits", "--codec.perceptual_by", "features", "--codec.perceptual", "0"], "above 0"),
    "one width": (["digits", "--codec.widths", "8"], "codec.widths"),
    "no budget": (["digits", "--training.minutes", "0"], "training.minutes"),
    "rows of what is not held by rows": (["digits", "--parallel", "fsdp"], "unknown option --parallel"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, expected = WRONG[name]
    done = call(capsys, "train-codec", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1) and expected in done.err, done.err
    assert snapshot(tmp_path) == {}


def test_the_settings_are_those_of_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By name, by a file and by flags; a budget takes the place of the recipe's."""
    done = call(capsys, "train-codec", "digits", "--dry-run")
    assert parse(CodecConfig, json.loads(done.out), "stdout") == for_codec("digits")
    (tmp_path / "codec.toml").write_text('seed = 3\n[codec]\nname = "vq"\ncodes = 64\n[training]\nsteps = 9\n')
    done = call(capsys, "train-codec", "digits", "--config", "codec.toml", "--codec.codes", "32", "--dry-run")
    config = parse(CodecConfig, json.loads(done.out), "stdout")
    assert (config.seed, config.codec.name, config.codec.codes) == (3, "vq", 32)  # type: ignore[union-attr]
    assert (config.training.steps, config.training.minutes) == (9, None)
    assert "would write to runs/digits-codec" in done.err
    assert snapshot(tmp_path).keys() == {str(tmp_path / "codec.toml")}


def test_the_names_of_data_sets_are_those_that_there_are() -> None:
    """They are completed and understood without loading what reads the data."""
    assert {*DATA_SETS} == {*datasets.BUILT_IN}


def test_the_help_says_what_there_is_and_nothing_of_noise(capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(call(capsys, "train-codec", "digits", "--help").out.split())
    assert "--codec.kl_weight NUMBER kl: Nats of reconstruction" in out and "--training.lr NUMBER" in out
    assert "--codec.codes INT vq: Entries of the codebook. [512]" in out
    for absent in ("timesteps", "--network", "--sampling", "label_dropout", "--compute.engine"):
        assert absent not in out
