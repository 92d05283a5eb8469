"""What a user can get wrong: one line that says what to do, exit code 2, and nothing touched."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cli_calls import TINY, call, snapshot
from PIL import Image
from torch.nn.modules.module import register_module_forward_pre_hook

from ancestral.errors import CannotWrite, Diverged
from ancestral.presets import PRESETS


def images(folder: Path, count: int) -> Path:
    """A folder of `count` small pictures."""
    folder.mkdir()
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


def not_an_image(folder: Path) -> Path:
    folder.mkdir()
    (folder / "text.png").write_text("this is no picture")
    return folder


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


WRONG: dict[str, tuple[Callable[[Path], list[str | Path]], str]] = {
    "missing folder": (lambda here: ["train", here / "nowhere"], "nowhere"),
    "empty folder": (lambda here: ["train", images(here / "empty", 0)], "an empty folder"),
    "one image": (lambda here: ["train", images(here / "one", 1)], "at least two images"),
    "a text file named .png": (lambda here: ["train", not_an_image(here / "text")], "text.png is not a PNG"),
    "a file for a folder": (lambda here: ["train", text(here / "file", "x")], "a file"),
    "unknown preset": (lambda here: ["train", "digitz"], "did you mean digits?"),
    "no target": (lambda here: ["train"], "expected a preset"),
    "two targets": (lambda here: ["train", "digits", "mnist"], "unexpected 'mnist'"),
    "unknown verb": (lambda here: ["trane"], "did you mean train?"),
    "unknown option": (lambda here: ["train", "digits", "--dry-rum"], "did you mean --dry-run?"),
    "unknown setting": (lambda here: ["train", "digits", "--training.batchsize", "3"], "--training.batch_size?"),
    "setting without its branch": (lambda here: ["train", "digits", "--lr", "3"], "did you mean --training.lr?"),
    "option without its value": (lambda here: ["train", "digits", "--seed"], "expected one argument"),
    "unknown device": (
        lambda here: ["train", "digits", "--device", "tpu"],
        "cpu, cuda, got 'tpu'",
    ),
    "T = 0": (lambda here: ["train", "digits", "--diffusion.schedule.num_timesteps", "0"], "num_timesteps"),
    "widths that groups do not divide": (lambda here: ["train", "digits", "--network.widths", "30"], "divides, got 30"),
    "micro-batch of nothing": (lambda here: ["train", "digits", "--compute.micro_batch", "0"], "got '0'"),
    "NaN learning rate": (lambda here: ["train", "digits", "--training.lr", "nan"], "training.lr"),
    "text for a number": (lambda here: ["train", "digits", "--training.lr", "fast"], "got 'fast'"),
    "fraction for a whole number": (lambda here: ["train", "digits", "--training.steps", "1.5"], "training.steps"),
    "settings that exclude each other": (lambda here: ["train", "digits", "--training.weight_decay", "1"], "adamw"),
    "missing settings file": (lambda here: ["train", "--config", here / "none.toml"], "cannot read"),
    "malformed TOML": (
        lambda here: ["train", "--config", text(here / "a.toml", "[training\nlr = 1")],
        "not valid TOML",
    ),
    "malformed JSON": (lambda here: ["train", "--config", text(here / "a.json", "{")], "not valid JSON"),
    "unknown key in TOML": (
        lambda here: ["train", "--config", text(here / "b.toml", "[training]\nlearning_rate = 1")],
        "unknown setting training.learning_rate",
    ),
    "folder that is no run": (
        lambda here: ["train", "digits", *TINY, "--training.steps", "1", "--out", images(here / "pictures", 1)],
        "holds other files",
    ),
    "output below a file": (
        lambda here: ["train", "digits", "--out", text(here / "plain", "x") / "run"],
        "choose another",
    ),
    "sampling from nowhere": (lambda here: ["sample", here / "nowhere"], "no folder"),
    "sampling from an empty folder": (lambda here: ["sample", images(here / "void", 0)], "void"),
    "sampling without a run": (lambda here: ["sample"], "required: RUN"),
    "evaluating nowhere": (lambda here: ["evaluate", here / "nowhere"], "expected a run folder"),
    "reporting nowhere": (lambda here: ["report", here / "nowhere"], "expected a run folder"),
    "unknown schedule": (lambda here: ["show", "schedule", "cosin"], "did you mean cosine?"),
    "unknown picture": (lambda here: ["show", "shedule"], "schedule, forward, data"),
    "schedule without timesteps": (
        lambda here: ["show", "schedule", "--timesteps", "0"],
        "--timesteps: expected at least 1",
    ),
    "picture of another kind": (lambda here: ["show", "schedule", "--out", "a.jpg"], "end in .png"),
    "image beyond the last": (lambda here: ["show", "forward", "digits", "--image", "5000"], "--image in 0.."),
    "unknown data set": (lambda here: ["show", "data", "digit"], "did you mean digits?"),
    "checking an empty folder": (lambda here: ["data", "check", images(here / "nothing", 0)], "an empty folder"),
    "sheet among the images": (
        lambda here: ["data", "check", images(here / "few", 2), "--sheet", here / "few" / "a.png"],
        "--sheet outside",
    ),
    "page of another kind": (lambda here: ["data", "check", here, "--page", "page.pdf"], "--page to end in .html"),
    "measured and not": (lambda here: ["data", "check", here, "--measure", "--no-measure"], "got both"),
    "checking for no machine": (
        lambda here: ["data", "check", here, "--device", "tpu"],
        "cpu, cuda, got 'tpu'",
    ),
    "classifying nowhere": (lambda here: ["train-classifier", here / "nowhere"], "expected a run folder"),
    "classifying nothing": (lambda here: ["train-classifier"], "required: RUN"),
    "classifier of no steps": (lambda here: ["train-classifier", here, "--steps", "0"], "--steps: expected at least 1"),
    "classifier of no time": (lambda here: ["train-classifier", here, "--minutes", "0"], "more than 0"),
    "classifier of endless time": (lambda here: ["train-classifier", here, "--minutes", "inf"], "a finite number"),
    "classifier of half a step": (lambda here: ["train-classifier", here, "--steps", "1.5"], "a whole number"),
    "classifier as a pickle": (lambda here: ["train-classifier", here, "--out", "c.pkl"], "end in .safetensors"),
    "packing among other things": (
        lambda here: ["data", "pack", "digits", images(here / "taken", 1)],
        "expected an empty place to pack into",
    ),
    "packing into the images": (
        lambda here: ["data", "pack", images(here / "few", 2), here / "few" / "packed"],
        "expected a place outside",
    ),
    "packing without a place": (lambda here: ["data", "pack", "digits"], "required: DEST"),
    "packing nothing": (lambda here: ["data", "pack", images(here / "nothing", 0), "memory://x"], "an empty folder"),
    "packing half a shard": (lambda here: ["data", "pack", "digits", "x", "--shard-images", "0.5"], "a whole number"),
    "packing mirrored": (lambda here: ["data", "pack", "digits", "x", "--flip"], "unknown option --flip"),
    "training on nothing packed": (lambda here: ["train", "memory://nowhere", "--dry-run"], "index.json: not found"),
    "training by no protocol": (lambda here: ["train", "odd://nowhere", "--dry-run"], "Protocol not known: odd"),
    "checking nothing": (lambda here: ["data", "chek", "x"], "ancestral data check"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_gives_one_line_and_code_2_and_touches_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, expected = WRONG[name]
    words = make(tmp_path)
    before = snapshot(tmp_path)
    code, out, err = call(capsys, *words)
    told = [line for line in err.splitlines() if line]
    assert (code, len(told)) == (2, 1), err
    assert told[0].startswith("ancestral: error: ")
    assert expected in told[0]
    assert "Traceback" not in err + out
    assert snapshot(tmp_path) == before


WRONG_DRAWING = {
    "no images": (["--num-images", "0"], "at least 1"),
    "no steps": (["--steps", "0"], "steps"),
    "more steps than timesteps": (["--steps", "1001"], "T = 1000"),
    "unknown class": (["--classes", "seven"], "'seven'"),
    "class beyond the last": (["--classes", "3,10"], "'10'"),
    "noise of another sampler": (["--sampler", "ancestral", "--eta", "0.5"], "eta"),
    "unknown sampler": (["--sampler", "dddim"], "did you mean ddim?"),
    "negative seed": (["--seed", "-1"], "--seed"),
    "film of another kind": (["--film", "film.avi"], ".gif"),
    "arrays of another kind": (["--arrays", "a.pkl"], ".npz"),
    "two guides": (["--weaker", "a", "--classifier", "b"], "got both"),
    "weaker of nowhere": (["--weaker", "nowhere", "--guidance", "2"], "no folder"),
    "classifier of nowhere": (["--classifier", "nowhere", "--guidance", "2"], "`ancestral train-classifier`"),
    "no such machine": (["--device", "quantum"], "quantum"),
}


@pytest.mark.parametrize("name", WRONG_DRAWING)
def test_wrong_drawing_gives_one_line_and_writes_nothing(
    name: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = WRONG_DRAWING[name]
    before = snapshot(trained)
    code, out, err = call(capsys, "sample", trained, *words, "--out", tmp_path / "out")
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert expected in err
    assert snapshot(trained) == before and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("words", [["--guidance", "2"], ["--classes", "3"], ["--classes", "all"]])
def test_a_pipeline_without_classes_is_not_asked_for_them(
    words: list[str], unconditional: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = call(capsys, "sample", unconditional, *words)
    assert (code, len(err.splitlines())) == (2, 1)
    assert "class" in err


@pytest.mark.parametrize("damage", ["unet/diffusion_pytorch_model.safetensors", "ancestral.json", "unet/config.json"])
def test_a_damaged_pipeline_is_named(
    damage: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "pipeline"
    shutil.copytree(trained / "pipeline", broken)
    whole = (broken / damage).read_bytes()
    (broken / damage).write_bytes(whole[: len(whole) // 2])
    code, _, err = call(capsys, "sample", broken)
    assert (code, len(err.splitlines())) == (2, 1), err
    assert str(broken) in err


def test_a_run_is_not_continued_with_other_settings(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(trained)
    words = ["train", "digits", *TINY, "--training.steps", "9", "--training.lr", "0.5", "--out", trained]
    code, _, err = call(capsys, *words)
    assert code == 2 and f"trained with training.lr = {PRESETS['digits']().training.lr}, not 0.5" in err
    assert snapshot(trained) == before


@contextmanager
def failing(fault: Exception) -> Iterator[None]:
    """Every network fails as soon as it is called."""

    def fail(*_: object) -> None:
        raise fault

    handle = register_module_forward_pre_hook(fail)
    yield
    handle.remove()


@pytest.mark.parametrize(("fault", "expected"), [(Diverged, 3), (CannotWrite, 4)])
def test_each_fault_has_its_exit_code(
    fault: type[Exception], expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with failing(fault("first line\nsecond line")):
        code, _, err = call(capsys, "train", "digits", *TINY)
        assert (code, err) == (expected, "ancestral: error: first line second line\n")
        _, _, err = call(capsys, "train", "digits", *TINY, "--debug")
        assert "Traceback" in err


def test_our_own_faults_are_owned_and_traced_only_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    with failing(ZeroDivisionError("oops")):
        code, _, err = call(capsys, "train", "digits", *TINY)
        assert code == 1 and len(err.splitlines()) == 1
        assert "ZeroDivisionError: oops" in err and "--debug" in err
        assert "Traceback" in call(capsys, "train", "digits", *TINY, "--debug").err
