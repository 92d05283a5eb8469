"""An image is its seed: in any batch, chunk and number of processes, and out of its own file again."""

import json
from pathlib import Path

import numpy as np
import pipelines
import pytest
from cli_calls import call, snapshot, start
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ancestral.jobs.generated import _period
from ancestral.jobs.repeating import recipe
from ancestral.pipeline import Pipeline
from ancestral.viz.png_texts import read_metadata


@pytest.fixture(scope="session")
def answering(trained: Path, unconditional: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of weights that answer something."""
    folder = tmp_path_factory.mktemp("answering") / "pipeline"
    pipelines.answering(Pipeline.load(trained, "cpu"), 1).save(folder)
    return folder


def pixels_of(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


RECIPES = [
    ["--sampler", "ddim", "--eta", "0.3", "--steps", "5"],
    ["--sampler", "ancestral", "--steps", "4", "--variance", "beta", "--classes", "3,3,8"],
    ["--sampler", "dpm++2m-sde", "--steps", "4", "--grid", "karras", "--classes", "none"],
    ["--sampler", "unipc-2", "--steps", "4", "--guidance", "1.7", "--clip", "dynamic", "--negative", "2"],
    ["--sampler", "heun", "--guidance", "2", "--guidance_interval", "0.1234567", "3", "--guidance_rescale", "0.3"],
    [
        *("--branch", "2", "--steps", "5", "--classes", "1,2"),
        *("--then-classes", "3", "--then-sampler", "ancestral", "--then-seed", "7"),
    ],
]


@pytest.mark.parametrize("words", RECIPES, ids=lambda words: words[1])
def test_a_file_repeats_itself(
    words: list[str], answering: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    steps = [] if "--steps" in words else ["--steps", "3"]
    drawn = ["sample", answering, "--num-images", "4", "--seed", "20", "--each", "--out", "one"]
    assert call(capsys, *drawn, *words, *steps).code == 0
    for seed in (20, 22):
        file = Path("one") / f"seed-{seed}.png"
        code, _, err = call(capsys, "sample", answering, "--from", file, "--out", "again")
        off = abs(pixels_of(Path("again") / file.name).astype(int) - pixels_of(file)).max()
        # alone an image is computed by other sums than among four: a pixel between two levels may fall to either
        assert code == 0 and off <= 1
        assert (f"the same as {file}, pixel for pixel" if off == 0 else f"differs from {file} by up to 1 of") in err
        assert read_metadata(Path("again") / file.name) == read_metadata(file)
    assert call(capsys, "sample", answering, "--from", "one/grid.png", "--out", "whole", "--each").code == 0
    for seed in range(20, 24):
        name = f"seed-{seed}.png"
        assert (pixels_of(Path("whole") / name) == pixels_of(Path("one") / name)).all()


def test_what_is_typed_counts_instead_of_what_the_file_says(
    answering: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--num-images", "1", "--classes", "4", "--steps", "3", "--each", "--out", "one"]
    assert call(capsys, "sample", answering, *few).code == 0
    again = ["sample", answering, "--from", "one/seed-0.png", "--steps", "6", "--out", "more"]
    code, _, err = call(capsys, *again)
    assert code == 0 and "differs from one/seed-0.png by up to" in err
    said, before = read_metadata(Path("more/seed-0.png")), read_metadata(Path("one/seed-0.png"))
    assert said == before | {"steps": "6"}


def test_other_weights_do_not_pretend(answering: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "sample", answering, "--num-images", "1", "--steps", "1", "--each", "--out", "one").code == 0
    before = snapshot(Path())
    code, _, err = call(capsys, "sample", trained, "--from", "one/seed-0.png", "--out", "two")
    assert code == 2 and "expected the weights" in err and "name the run" in err
    assert snapshot(Path()) == before


def test_another_schedule_is_the_same_noise_by_other_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """A table of the ten levels that a chain visits gives its images: a network that is told the noise asks no more."""
    own = pipelines.answering(pipelines.untrained(changes={"diffusion": {"time": "log-snr"}}))
    own.save("pipeline")
    alpha_bar = own.diffusion.schedule.alpha_bar[[0, *range(100, 1001, 100)]]
    betas = (1 - alpha_bar[1:] / alpha_bar[:-1]).tolist()
    tree = {"diffusion": {"schedule": {"name": "betas", "num_timesteps": 10, "betas": betas}}}
    Path("own.json").write_text(json.dumps(tree))
    few = [
        "sample",
        "pipeline",
        "--num-images",
        "3",
        "--steps",
        "10",
        "--each",
        "--sampler",
        "dpm++2m",
        "--grid",
        "trailing",
    ]
    assert call(capsys, *few, "--out", "one").code == 0
    assert call(capsys, *few, "--out", "two", "--schedule", "own.json").code == 0
    for seed in range(3):
        one, two = (pixels_of(Path(folder) / f"seed-{seed}.png").astype(int) for folder in ("one", "two"))
        assert abs(one - two).max() <= 1 and one.std() > 10
    code, _, err = call(capsys, "sample", "pipeline", "--from", "two/seed-1.png", "--out", "again")
    assert code == 2 and "its file by --schedule" in err
    again = call(capsys, "sample", "pipeline", "--from", "two/seed-1.png", "--out", "again", "--schedule", "own.json")
    assert again.code == 0 and ("the same as" in again.err or "by up to 1 of" in again.err)


def test_a_network_that_is_told_a_number_knows_its_own_schedule_alone(
    answering: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.json").write_text(json.dumps({"diffusion": {"schedule": {"name": "linear"}}}))
    code, _, err = call(capsys, "sample", answering, "--schedule", "own.json")
    assert code == 2 and "told the noise itself" in err and "told the index" in err and len(err.splitlines()) == 1
    Path("own.json").write_text("{}")
    code, _, err = call(capsys, "sample", answering, "--schedule", "own.json")
    assert code == 2 and "expected diffusion.schedule in own.json" in err


def plain(path: Path, **said: str) -> Path:
    info = PngInfo()
    for name, text in said.items():
        info.add_text(name, text)
    Image.new("L", (8, 8)).save(path, pnginfo=info)
    return path


WRONG = {
    "a picture of something else": ({}, [], "says nothing of itself"),
    "an edit": ({"task": "inpaint", "seed": "1"}, [], "an edit"),
    "a seed that is none": ({"seed": "rm -rf", "class": "none", "weights": "x"}, [], "expected a seed"),
    "a seed beside it": ({"seed": "1", "class": "none", "weights": "x"}, ["--seed", "3"], "expected no --seed"),
    "classes beside it": ({"seed": "1", "class": "none", "weights": "x"}, ["--classes", "3"], "no --classes"),
    "a branch that is none": ({"seed": "1", "class": "none", "weights": "x", "branch": "-1"}, [], "branch"),
    "a setting that is none": ({"seed": "1", "class": "none", "weights": "x", "steps": "many"}, [], "steps"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_tells_no_recipe_is_refused(
    name: str, answering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, words, expected = WRONG[name]
    file = plain(tmp_path / "a.png", **said)
    code, _, err = call(capsys, "sample", answering, "--from", file, *words)
    assert code == 2 and expected in err and len(err.strip().splitlines()) == 1


def test_no_png_is_refused(answering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_text("GIF89a")
    assert call(capsys, "sample", answering, "--from", tmp_path / "a.png").code == 2
    assert call(capsys, "sample", answering, "--from", tmp_path / "none.png").code == 2


def test_the_variance_a_network_has_learned_is_no_setting(tmp_path: Path) -> None:
    file = plain(tmp_path / "a.png", seed="3 to 5", **{"class": "cat, dog"}, weights="x", variance="learned", steps="7")
    found = recipe(file)
    assert found.settings == {"steps": "7"} and found.seeds == range(3, 6) and found.classes == "cat, dog"


def test_classes_are_told_as_they_were_asked_for() -> None:
    assert _period(["3", "7", "3", "7", "3"]) == ["3", "7"]
    assert _period(["3", "3", "8", "3"]) == ["3", "3", "8"]
    assert _period(["1"]) == ["1"] and _period(["1", "1", "1"]) == ["1"] and _period(["1", "2"]) == ["1", "2"]


@pytest.mark.slow
def test_any_number_of_processes_draws_the_same_images(answering: Path, tmp_path: Path) -> None:
    """Six seeds by one process, and by two and three side by side, each in chunks of another size."""
    common = ["sample", answering, "--steps", "5", "--eta", "1", "--classes", "3", "--each"]
    common += ["--compute.precision", "float32"]
    shares = {1: [(0, 6)], 2: [(0, 4), (4, 2)], 3: [(0, 2), (2, 3), (5, 1)]}
    running = [
        start(
            *common, "--seed", first, "--num-images", count, "--compute.chunk", chunk, "--out", f"by-{n}", cwd=tmp_path
        )
        for n, parts in shares.items()
        for chunk, (first, count) in enumerate(parts, 1)
    ]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    for seed in range(6):
        one, two, three = (pixels_of(tmp_path / f"by-{n}" / f"seed-{seed}.png").astype(int) for n in shares)
        # batches of other sizes round other sums: a pixel between two levels may fall to either
        assert abs(one - two).max() <= 1 and abs(one - three).max() <= 1
