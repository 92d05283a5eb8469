"""`ancestral sample`: the images of the pipeline, the files asked for, and what they say of themselves."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_calls import call, snapshot
from PIL import Image
from pipelines import TINY, answering

from ancestral import edits
from ancestral.condition import Condition
from ancestral.jobs.events import FileEvent, ProgressEvent, ResultEvent
from ancestral.jobs.generated import KEPT, condition_for
from ancestral.jobs.sample import SampleSettings, sample
from ancestral.pipeline import Pipeline
from ancestral.pipeline.calling import settings_of
from ancestral.pipeline.generate import FinishedPart, Generated, Keep, collected
from ancestral.rng import ImageNoise
from ancestral.settings import AttributeSpec, ComputeSettings, Config, ImageSpec, SamplingSettings
from ancestral.tensors import Labels, to_pixels
from ancestral.viz.png_texts import read_metadata

pytestmark = pytest.mark.usefixtures("in_float32")


def pixels_of(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def generated(pipeline: Pipeline, seeds: range, labels: Labels | None, steps: int, kept: int) -> Generated:
    """The images of the seeds, and frames of the first of them."""
    keep = Keep(range(kept), KEPT)
    events = pipeline.generating(seeds, labels, SamplingSettings(steps=steps), keep)
    return collected([event for event in events if isinstance(event, FinishedPart)], keep)


def test_each_image_is_that_of_its_seed_and_says_how_it_was_drawn(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--num-images",
        "3",
        "--seed",
        "17",
        "--classes",
        "3,7",
        "--steps",
        "4",
        "--guidance",
        "2",
        "--clip",
        "dynamic",
    ]
    code, out, _ = call(capsys, "sample", trained, *words, "--out", "out", "--each", "--json")
    assert code == 0
    names = ["grid.png", "seed-17.png", "seed-18.png", "seed-19.png"]
    told = json.loads(out)
    assert told.pop("price")["network_calls"] == 12
    assert told == {"files": [f"out/{name}" for name in names], "seeds": [17, 18, 19]}

    pipeline = Pipeline.load(trained, "cpu")
    settings = SamplingSettings(steps=4, guidance=2, clip="dynamic")
    for seed, label in ((17, 3), (18, 7), (19, 3)):
        alone = pipeline.generate([seed], torch.tensor([label]), settings)
        assert (pixels_of(tmp_path / "out" / f"seed-{seed}.png") == alone[0, 0].numpy()).all()
        said = read_metadata(tmp_path / "out" / f"seed-{seed}.png")
        assert said.pop("software").startswith("ancestral ")
        assert said == {
            "seed": str(seed), "class": str(label), "sampler": "ddim", "steps": "4", "grid": "trailing", "eta": "0.0",
            "guidance": "2.0", "guidance_by": "classifier-free", "guidance_rescale": "0.0", "clip": "dynamic",
            "cache": "1", "weights": pipeline.weights_hash(),
        }  # fmt: skip
    grid = read_metadata(tmp_path / "out" / "grid.png")
    assert (grid["seed"], grid["class"]) == ("17 to 19", "3, 7")


def test_pictures_go_into_the_run_but_never_into_a_mere_pipeline(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--num-images", "1", "--steps", "1"]
    assert call(capsys, "sample", trained, *few).out.strip() == str(trained / "generated" / "grid.png")
    before = snapshot(trained / "pipeline")
    assert call(capsys, "sample", trained / "pipeline", *few).out.strip() == "generated/grid.png"
    assert snapshot(trained / "pipeline") == before and (tmp_path / "generated" / "grid.png").is_file()


def test_arrays_hold_states_and_the_estimates_made_from_them(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards against a saved "x_0" that is really x_{t-1}, and against a state shown beside another's estimate."""
    words = ["sample", trained, "--num-images", "2", "--steps", "5", "--clip", "none", "--arrays", "chain.npz"]
    assert call(capsys, *words).code == 0
    with np.load(tmp_path / "chain.npz", allow_pickle=False) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    assert arrays["t"].tolist() == [1000, 800, 600, 400, 200, 0]
    assert (arrays["seeds"].tolist(), arrays["labels"].tolist()) == ([0, 1], [0, 1])
    assert arrays["x_t"].shape == arrays["x_0"].shape == (6, 2, 1, 8, 8)
    assert torch.equal(arrays["x_t"][0], ImageNoise([0, 1], (1, 8, 8))())
    pipeline = Pipeline.load(trained, "cpu")
    denoise = pipeline.denoiser(Condition(arrays["labels"]), SamplingSettings(steps=5, clip="none"))
    with torch.inference_mode():
        for t, x_t, x0 in zip(arrays["t"][:-1], arrays["x_t"], arrays["x_0"], strict=False):
            torch.testing.assert_close(denoise(x_t, t).x0, x0)
    assert torch.equal(arrays["x_t"][-1], arrays["x_0"][-1])
    assert torch.equal(arrays["x_t"][-1], arrays["x_0"][-2])


def test_films_and_strips_are_written(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sample", trained, "--num-images", "2", "--steps", "3", "--cache", "2", "--out", "out", "--strip"]
    code, out, _ = call(capsys, *words, "--film", "films/film.gif")
    assert (code, out.split()) == (0, ["out/grid.png", "out/strip.png", "films/film.gif"])
    assert call(capsys, *words, "--film", "film.png").code == 0
    for name in ("films/film.gif", "film.png"):
        with Image.open(tmp_path / name) as film:
            assert film.n_frames == 4  # T, two between, and 0
    said = read_metadata(tmp_path / "out" / "strip.png")
    assert (said["seed"], said["cache"]) == ("0", "2")


@pytest.mark.parametrize("more", [(), ("--arrays", "all.npz")], ids=["alone", "beside arrays"])
def test_a_film_of_many_images_shows_a_hundred_and_says_so(
    more: tuple[str, ...], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trap: arrays keep all images, and a film that showed what was kept took the memory of a page of thousands."""
    words = ("sample", trained, "--num-images", "104", "--steps", "1", "--film", "film.png", "--out", "out")
    code, _, err = call(capsys, *words, *more)
    assert code == 0 and "film.png shows the first 100 of 104 images" in err


def test_many_images_are_drawn_in_parts_as_if_in_one(trained: Path) -> None:
    pipeline = Pipeline.load(trained, "cpu", ComputeSettings(chunk=7))
    settings, seeds = SamplingSettings(steps=2), range(5, 5 + 24)
    labels = condition_for(pipeline, None, len(seeds)).labels
    assert labels is not None and labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    drawing = generated(pipeline, seeds, labels, 2, kept=24)
    assert drawing.images.shape == (24, 1, 8, 8) and drawing.frames[0].x.shape == (24, 1, 8, 8)
    assert torch.equal(drawing.images[-1], pipeline.generate([seeds[-1]], labels[-1:], settings)[0])
    few = generated(pipeline, seeds, labels, 2, kept=16)
    assert torch.equal(few.images, drawing.images)
    assert torch.equal(few.frames[0].x0, drawing.frames[0].x0[:16]), (
        "a film shows as many, however few are generated at once"
    )


def test_long_chains_are_thinned_and_keep_both_ends(trained: Path) -> None:
    drawing = generated(Pipeline.load(trained, "cpu"), range(1), None, 120, kept=1)
    times = [frame.t for frame in drawing.frames]
    assert len(times) == KEPT and times[0] == 1000 and times[-1] == 0
    assert sorted({*times}, reverse=True) == times
    assert torch.equal(to_pixels(drawing.frames[-1].x), drawing.images)


def test_no_class_is_the_null_class(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sample", trained, "--num-images", "1", "--steps", "2", "--classes", "none", "--each", "--out", "out"]
    assert call(capsys, *words).code == 0
    null = Pipeline.load(trained, "cpu").generate([0], None, SamplingSettings(steps=2))
    assert (pixels_of(tmp_path / "out" / "seed-0.png") == null[0, 0].numpy()).all()
    assert read_metadata(tmp_path / "out" / "seed-0.png")["class"] == "none"


def test_another_sampler_leaves_the_eta_of_the_pipelines_own_behind() -> None:
    from ancestral.settings import sampling_with

    base = SamplingSettings(sampler="ddim", eta=0.5, steps=7)
    assert sampling_with(base, {"sampler": "ancestral"}, "here") == SamplingSettings(sampler="ancestral", steps=7)
    assert sampling_with(base, {"steps": "9"}, "here").eta == 0.5


@pytest.mark.parametrize("words", [["sample"], ["edit", "vary"]], ids=lambda words: words[-1])
def test_what_is_not_finite_writes_nothing_and_ends_in_3(
    answering: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """Trap: black images and exit code 0. The weights are finite here, and their products overflow."""
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    pipeline = Pipeline.load(answering, "cpu")
    pipeline.network.conv_out.weight.data.fill_(3e38)
    pipeline.save(answering / "pipeline")
    images = [tmp_path / "image.png"] if words[0] == "edit" else ["--each", "--strip"]
    called = call(capsys, *words, answering, *images, "--film", "f.gif", "--steps", "5", "--out", "new")
    assert called.code == 3 and "step 1 of" in called.err and "t = " in called.err and "overflowed" in called.err
    assert sum(line.startswith("ancestral: error: ") for line in called.err.splitlines()) == 1, "beside the price"
    assert not Path("new").exists() and not Path("f.gif").exists()


def test_a_folder_of_diffusers_is_asked_which_class_is_none(
    answering: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = answering / "pipeline"
    (folder / "ancestral.json").unlink()
    common = ["sample", folder, "--num-images", "1", "--sampler", "ddim", "--steps", "1"]
    for words, message in ((["--classes", "none"], "a class for every image"), (["--guidance", "2"], "--null-class N")):
        called = call(capsys, *common, *words)
        assert called.code == 2 and message in called.err
    assert call(capsys, *common, "--null-class", "10", "--guidance", "2").code == 0
    assert call(capsys, *common, "--null-class", "10", "--classes", "none").code == 0
    assert call(capsys, *common, "--classes", "10").code == 0
    assert call(capsys, *common, "--null-class", "10", "--classes", "10").code == 2


def test_attributes_are_asked_for_kept_and_repeated(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = (AttributeSpec(name="age", mean=40, std=10), AttributeSpec(name="smiling"))
    spec = ImageSpec(channels=1, height=8, width=8, attributes=known)
    made = answering(Pipeline.fresh(Config(network=TINY), spec, "cpu"))
    made.save(tmp_path / "faces")
    words = ["--attributes", "age=30,smiling=1", "--guidance", "2", "--steps", "3", "--each"]
    assert call(capsys, "sample", tmp_path / "faces", *words, "--num-images", "2", "--out", "out").code == 0
    wanted = made(2, attributes={"age": 30, "smiling": 1}, guidance=2, steps=3, output="tensor")
    assert isinstance(wanted, torch.Tensor) and np.array_equal(pixels_of(Path("out/seed-1.png")), wanted[1, 0])
    assert read_metadata(Path("out/seed-1.png"))["attributes"] == "age=30,smiling=1"
    again = call(capsys, "sample", tmp_path / "faces", "--from", "out/seed-1.png", "--out", "again")
    assert again.code == 0 and "pixel for pixel" in again.err
    for folder, typed, expected in (
        (tmp_path / "faces", "agee=30", "out of age, smiling, got 'agee'"),
        (tmp_path / "faces", "30", "NAME=NUMBER with commas between, each once, got '30'"),
        (trained, "age=30", "got 'age': this pipeline was trained without any"),
    ):
        refused = call(capsys, "sample", folder, "--attributes", typed, "--out", "out2")
        assert refused.code == 2 and expected in refused.err
    refused = call(capsys, "sample", tmp_path / "faces", "--from", "out/seed-1.png", "--attributes", "age=1")
    assert "no --attributes with --from" in refused.err
    words = ["--attributes", "age=30", "--guidance", "2", "--steps", "3", "--num-images", "2", "--out", "edited"]
    assert call(capsys, "edit", "vary", tmp_path / "faces", "out/seed-0.png", *words).code == 0
    how, image = settings_of(made.config.sampling, {"guidance": 2.0, "steps": 3}), Image.open("out/seed-0.png")
    told = made.condition(None, 2, {"age": 30})
    (*_, last) = edits.vary(made, [image, image], 0.6, range(2), told, how)
    assert np.array_equal(pixels_of(Path("edited/vary-seed-1.png")), to_pixels(last.x_s)[1, 0])
    assert read_metadata(Path("edited/vary-seed-1.png"))["attributes"] == "age=30"


def test_a_job_tells_a_program_all_that_it_does(trained: Path, tmp_path: Path) -> None:
    """Without the command line: steps, the files in the order in which they are whole, and the result last."""
    asked = SampleSettings(run=trained, num_images=3, out=tmp_path / "out", each=True, sampling={"steps": 2})
    events = [*sample(asked)]
    assert [event.done for event in events if isinstance(event, ProgressEvent)] == [1, 2]
    files = [event.file.name for event in events if isinstance(event, FileEvent)]
    assert files == ["seed-0.png", "seed-1.png", "seed-2.png", "grid.png"]
    last = events[-1]
    assert isinstance(last, ResultEvent) and last.tree["seeds"] == [0, 1, 2]
    assert {*last.tree["files"]} == {str(path) for path in (tmp_path / "out").iterdir()}


def test_a_job_that_is_interrupted_between_two_events_tells_what_it_has_finished(trained: Path) -> None:
    asked = SampleSettings(run=trained, num_images=3, each=True, compute=ComputeSettings(chunk=1))
    events = sample(asked)
    first = next(event for event in events if isinstance(event, FileEvent))
    stop = KeyboardInterrupt()
    told = events.throw(stop)
    assert isinstance(told, ResultEvent) and told.tree == {"files": [str(first.file)], "stopped": True}
    assert stop.__notes__ == [f"1 of 3 images were written to {first.file.parent}"]
    with pytest.raises(KeyboardInterrupt):
        next(events)
