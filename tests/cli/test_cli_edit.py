"""`ancestral edit`: every task once with real files, what is kept, what files say of themselves, what is refused."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_calls import TINY, Called, call, snapshot
from PIL import Image

from ancestral import edits
from ancestral.cli.main import main
from ancestral.editing.operators import Blurred, MeanPooled, gaussian_kernel
from ancestral.errors import InputError
from ancestral.jobs.edit_tasks import TASKS
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from ancestral.tensors import from_pixels, to_pixels
from ancestral.viz.png_texts import read_metadata

FEW = ["--steps", "3"]


pytestmark = pytest.mark.usefixtures("in_float32")


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step on 8x8 RGB images."""
    folder = tmp_path_factory.mktemp("colours")
    for i in range(12):
        picture(folder / "images" / f"{i}.png", (8, 8, 3), seed=i)
    words = ["train", str(folder / "images"), *TINY, "--data.size", "8", "--training.steps", "1"]
    assert main([*words, "--network.widths", "8", "16", "--out", str(folder / "run")]) == 0
    return folder / "run"


def picture(file: Path, shape: tuple[int, ...], seed: int = 0) -> Path:
    """A PNG of noise."""
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(file)
    return file


def mask(file: Path, white: np.ndarray, mode: str = "L") -> Path:
    Image.fromarray(white.astype(np.uint8) * 255).convert(mode).save(file)
    return file


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def edit(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Called:
    called = call(capsys, "edit", *words)
    assert called.code == 0, called.err
    return called


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P", "LA"])
def test_white_is_drawn_anew_and_black_is_kept_to_the_bit(
    mode: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(Path("image.png"), (8, 8))
    white = np.zeros((8, 8), dtype=bool)
    white[2:6, 1:5] = True
    words = ["--mask", mask(Path("mask.png"), white, mode), *FEW, "--rounds", "2", "--num-images", "3"]
    edit(capsys, "inpaint", trained, image, *words, "--out", "out")
    fillings = [pixels(Path("out") / f"inpaint-seed-{seed}.png") for seed in range(3)]
    for filling in fillings:
        assert (filling[~white] == pixels(image)[~white]).all()
        assert (filling[white] != pixels(image)[white]).mean() > 0.5
    assert (fillings[0] != fillings[1]).any() and (fillings[1] != fillings[2]).any()


def test_a_box_is_the_mask_of_the_same_pixels_and_a_large_mask_fits_its_large_image(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(Path("image.png"), (8, 8))
    white = np.zeros((8, 8), dtype=bool)
    white[4:8, :] = True
    common = [*FEW, "--rounds", "1", "--num-images", "1", "--sampler", "dpm++2m"]
    edit(capsys, "inpaint", trained, image, "--box", "4,0,8,8", *common, "--out", "box")
    edit(capsys, "inpaint", trained, image, "--mask", mask(Path("mask.png"), white), *common, "--out", "mask")
    assert (pixels(Path("box/inpaint-seed-0.png")) == pixels(Path("mask/inpaint-seed-0.png"))).all()
    large = picture(Path("large.png"), (32, 48, 3))
    wide = mask(Path("wide.png"), np.arange(48)[None].repeat(32, 0) >= 24)
    said = edit(capsys, "inpaint", trained, large, "--mask", wide, *common, "--out", "large")
    fitting, price = said.err.splitlines()
    assert fitting == "ancestral: large.png was fitted from 32x48 to 8x8 pixels and made grey"
    assert price.startswith("3 network calls")
    fitted = Image.open(large).convert("L").crop((8, 0, 40, 32)).resize((8, 8), Image.Resampling.LANCZOS)
    kept = pixels(Path("large/inpaint-seed-0.png"))[:, :4]
    assert np.abs(kept.astype(int) - np.asarray(fitted)[:, :4]).max() <= 4  # box averages first


def test_the_same_seed_gives_the_same_image_alone_and_among_others(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [picture(Path(f"{i}.png"), (8, 8), seed=i) for i in range(2)]
    for task, own in (("vary", ["--strength", "0.5"]), ("deblur", ["--blur", "0.8"]), ("tile", [])):
        given = images if task != "tile" else []
        many = [*own, *FEW, "--classes", "3,7", "--num-images", "3", "--seed", "5", "--compute.chunk", "4"]
        edit(capsys, task, trained, *given, *many, "--out", "many")
        one = [*own, *FEW, "--classes", "7", "--num-images", "1", "--seed", "6"]
        edit(capsys, task, trained, *given[1:], *one, "--out", "one")
        number = "1-" if given else ""
        alone, among = Path(f"one/{task}-seed-6.png"), Path(f"many/{task}-{number}seed-6.png")
        assert (pixels(alone) == pixels(among)).all(), task
        assert read_metadata(alone) == read_metadata(among)


def test_a_file_says_how_it_was_made(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = picture(Path("image.png"), (8, 8))
    words = ["--strength", "0.5", *FEW, "--num-images", "2", "--classes", "3", "--guidance", "2", "--json"]
    said = json.loads(edit(capsys, "vary", trained, image, *words, "--seed", "4").out)
    names = ["vary.png", "vary-seed-4.png", "vary-seed-5.png"]
    assert said.pop("price")["network_calls"] == 4
    assert said == {"files": [str(trained / "edited" / name) for name in names]}
    facts = read_metadata(trained / "edited" / "vary-seed-5.png")
    expected = {
        "task": "vary", "strength": "0.5", "seed": "5", "class": "3", "guidance": "2.0", "steps": "3",
        "image sha256": sha256(image.read_bytes()).hexdigest(),
        "weights": Pipeline.load(trained, "cpu").weights_hash(),
    }  # fmt: skip
    assert expected.items() <= facts.items()
    assert read_metadata(trained / "edited" / "vary.png")["seed"] == "4, 5"


def test_outpainting_keeps_the_image_on_a_larger_canvas(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = picture(Path("image.png"), (8, 8))
    words = ["--margins", "1,5,2,3", *FEW, "--rounds", "2", "--num-images", "2", "--out", "out", "--film", "film.gif"]
    edit(capsys, "outpaint", trained, image, *words)
    for seed in range(2):
        result = pixels(Path(f"out/outpaint-seed-{seed}.png"))
        assert result.shape == (11, 16) and (result[1:9, 3:11] == pixels(image)).all()
    with Image.open("film.gif") as film:
        assert film.n_frames == 5  # two rounds of two steps, and the last


def test_interpolation_goes_from_one_image_or_noise_to_another(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(capsys, "interpolate", trained, "--seeds", "4,9", "--points", "3", *FEW, "--out", "seeds")
    pipeline = Pipeline.load(trained, "cpu")
    ends = pipeline.generate([4, 9], None, SamplingSettings(steps=3))
    for point, end in zip(("0", "2"), ends, strict=True):
        assert (pixels(Path(f"seeds/interpolate-point-{point}.png")) == end[0].numpy()).all()
    pair = [picture(Path(f"{i}.png"), (8, 8), seed=i) for i in range(2)]
    edit(capsys, "interpolate", trained, *pair, "--points", "3", "--clip", "none", "--steps", "30", "--out", "pair")
    *_, up = edits.invert(
        pipeline,
        torch.cat([from_pixels(torch.from_numpy(pixels(file).copy())[None, None]) for file in pair]),
        settings=SamplingSettings(steps=30, clip="none"),
        grain=0.1,
    )
    steps = edits.interpolate(pipeline, (up.x_s[:1], up.x_s[1:]), 3, settings=SamplingSettings(steps=30, clip="none"))
    *_, last = steps
    for i, image in enumerate(to_pixels(last.x_s)):
        assert np.abs(pixels(Path(f"pair/interpolate-point-{i}.png")).astype(int) - image[0].numpy()).max() <= 1


def test_inversion_prints_the_error_of_what_it_shows(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = picture(Path("image.png"), (8, 8))
    words = ["invert", trained, image, "--steps", "20", "--clip", "none", "--overwrite", "--out", "out"]
    error = json.loads(edit(capsys, *words, "--json").out)["round_trip_error"]
    again = from_pixels(torch.from_numpy(pixels(Path("out/invert-again.png")).copy()))
    true = from_pixels(torch.from_numpy(pixels(image).copy()))
    rounding = 2 / 255
    assert error[0] == pytest.approx(float(((again - true) ** 2).mean().sqrt()), abs=rounding)
    assert edit(capsys, *words).out.splitlines()[-1] == f"round trip error {error[0]:.3g}"


@pytest.mark.parametrize("how", ["projection", "gradient", "moments"])
def test_a_measurement_of_a_whole_image_is_that_of_its_file(
    how: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(Path("image.png"), (8, 8))
    words = ["--blur", "0.8", "--noise", "0.001", "--how", how, *FEW, "--num-images", "1"]
    edit(capsys, "deblur", trained, image, "--degrade", *words, "--out", "whole")
    blurred = Blurred(gaussian_kernel(0.8))(from_pixels(torch.from_numpy(pixels(image).copy())[None, None]))
    measured = pixels(Path("whole/deblur-blurred.png"))
    assert np.abs(measured.astype(int) - to_pixels(blurred)[0, 0].numpy()).max() <= 1
    edit(capsys, "deblur", trained, Path("whole/deblur-blurred.png"), *words, "--out", "file")
    whole, file = (pixels(Path(f"{name}/deblur-seed-0.png")).astype(int) for name in ("whole", "file"))
    assert np.abs(whole - file).mean() < 12, "they differ by the rounding of the measurement alone"


def test_an_image_is_enlarged_from_one_over_the_factor(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = picture(Path("small.png"), (2, 2))
    words = ["--factor", "4", "--how", "projection", "--noise", "0", "--clip", "none", *FEW, "--num-images", "2"]
    edit(capsys, "enlarge", trained, small, *words, "--out", "out")
    *_, last = edits.restore(
        Pipeline.load(trained, "cpu"), MeanPooled(4), from_pixels(torch.from_numpy(pixels(small).copy())[None, None]),
        range(2), settings=SamplingSettings(steps=3, clip="none"), sigma=0.0, how="projection",
    )  # fmt: skip
    for i, image in enumerate(to_pixels(last.x_s)):
        assert (pixels(Path(f"out/enlarge-seed-{i}.png")) == image[0].numpy()).all()
    assert torch.nn.functional.avg_pool2d(last.x_s, 4)[0, 0].numpy() == pytest.approx(
        pixels(small) / 127.5 - 1, abs=1e-4
    )


def test_grey_is_coloured_with_its_own_luma(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = picture(Path("grey.png"), (8, 8))
    Image.fromarray(pixels(grey) // 4 + 96).save(grey)  # middling levels, which every colour can have
    words = ["--how", "projection", "--noise", "0", "--clip", "none", *FEW, "--num-images", "1", "--out", "out"]
    edit(capsys, "colorize", colours, grey, *words)
    result = Image.open("out/colorize-seed-0.png")
    assert result.mode == "RGB" and np.asarray(result).std(axis=2).max() > 1
    unclipped = ((np.asarray(result) > 0) & (np.asarray(result) < 255)).all(axis=2)
    difference = np.abs(np.asarray(result.convert("L")).astype(int) - pixels(grey))
    assert unclipped.any() and difference[unclipped].max() <= 2


def test_from_python_one_image_serves_all_seeds_and_two_do_not_serve_three(trained: Path) -> None:
    pipeline, image = Pipeline.load(trained, "cpu"), torch.zeros(1, 1, 8, 8)
    settings = SamplingSettings(steps=2)
    *_, both = edits.vary(pipeline, image, 0.5, [3, 4], settings=settings)
    *_, alone = edits.vary(pipeline, image, 0.5, [4], settings=settings)
    assert torch.equal(to_pixels(both.x_s[1:]), to_pixels(alone.x_s)) and not both.x_s.requires_grad
    with pytest.raises(InputError, match="one for each of 3 seeds, got 2"):
        edits.vary(pipeline, image.repeat(2, 1, 1, 1), 0.5, [3, 4, 5], settings=settings)


def test_canvases_have_the_size_asked_for(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--size", "8x20", "--stride", "4", *FEW, "--num-images", "2", "--out", "out"]
    edit(capsys, "canvas", trained, *words)
    assert [pixels(Path(f"out/canvas-seed-{seed}.png")).shape for seed in range(2)] == [(8, 20)] * 2


@pytest.mark.parametrize("by", ["padding", "rolls", "windows"])
def test_textures_are_tiled_in_every_way(by: str, colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--size", "16x8", "--by", by, *FEW, "--num-images", "2", "--out", "out"]
    out = edit(capsys, "tile", colours, *words).out.splitlines()
    assert pixels(Path("out/tile-seed-1.png")).shape == (16, 8, 3)
    assert out[-1].startswith("seam ratio ") and 0.3 < float(out[-1].split()[-1]) < 3
    assert Pipeline.load(colours, "cpu").network.conv_in.padding_mode == "zeros"


def test_without_a_mask_of_files_nothing_is_written_over(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, out = picture(Path("image.png"), (8, 8)), Path("out")
    theirs = picture(out / "vary-seed-1.png", (3, 3))
    before = snapshot(out)
    words = ["edit", "vary", trained, image, *FEW, "--num-images", "2", "--out", out]
    code, _, err = call(capsys, *words)
    assert (code, len(err.splitlines())) == (2, 1) and str(theirs) in err and "--overwrite" in err
    assert snapshot(out) == before
    assert call(capsys, *words, "--overwrite").code == 0 and pixels(theirs).shape == (8, 8)


WRONG: dict[str, tuple[Callable[[Path], list[str | Path]], str]] = {
    "no task": (lambda run: ["inpain", run], "did you mean inpaint?"),
    "no image": (lambda run: ["vary", run], "required: IMAGE"),
    "an image that is none": (lambda run: ["vary", run, "text.png"], "text.png"),
    "an image that is not there": (lambda run: ["vary", run, "gone.png"], "gone.png"),
    "no run": (lambda run: ["vary", "nowhere", "image.png"], "no folder"),
    "no mask": (lambda run: ["inpaint", run, "image.png"], "--mask FILE or --box"),
    "mask and box": (lambda run: ["inpaint", run, "image.png", "--mask", "m.png", "--box", "0,0,1,1"], "one of them"),
    "a mask of another size": (lambda run: ["inpaint", run, "image.png", "--mask", "m.png"], "mask of 8x8"),
    "a white mask": (lambda run: ["inpaint", run, "image.png", "--mask", "white.png"], "keeps nothing"),
    "a black mask": (lambda run: ["inpaint", run, "image.png", "--mask", "black.png"], "keeps everything"),
    "a box beyond": (lambda run: ["inpaint", run, "image.png", "--box", "4,4,9,9"], "a box inside 8 x 8"),
    "a box of everything": (lambda run: ["inpaint", run, "image.png", "--box", "0,0,8,8"], "keeps some"),
    "three numbers": (lambda run: ["inpaint", run, "image.png", "--box", "1,2,3"], "TOP,LEFT,BOTTOM,RIGHT"),
    "no rounds": (
        lambda run: ["inpaint", run, "image.png", "--box", "0,0,4,4", "--rounds", "0"],
        "rounds: expected",
    ),
    "no margins": (lambda run: ["outpaint", run, "image.png", "--margins", "0,0,0,0"], "margin"),
    "strength 2": (lambda run: ["vary", run, "image.png", "--strength", "2"], "strength in 0..1"),
    "strength of words": (
        lambda run: ["vary", run, "image.png", "--strength", "much"],
        "--strength: expected a number",
    ),
    "a cache": (lambda run: ["vary", run, "image.png", "--cache", "2"], "cache 1"),
    "an unknown class": (lambda run: ["vary", run, "image.png", "--classes", "cat"], "'cat'"),
    "guidance to nothing": (lambda run: ["vary", run, "image.png", "--guidance", "2"], "--classes"),
    "one end": (lambda run: ["interpolate", run, "image.png"], "two images"),
    "both ends twice": (lambda run: ["interpolate", run, "image.png", "image.png", "--seeds", "0,1"], "two images"),
    "one point": (lambda run: ["interpolate", run, "--seeds", "0,1", "--points", "1"], "--points: expected at least 2"),
    "noise on the way": (lambda run: ["interpolate", run, "--seeds", "0,1", "--sampler", "ancestral"], "no noise"),
    "two classes": (lambda run: ["invert", run, "image.png", "--classes", "3,7"], "one class"),
    "grain beyond all noise": (lambda run: ["invert", run, "image.png", "--grain", "1e9"], "grain"),
    "no colours": (lambda run: ["colorize", run, "image.png"], "knows no colours"),
    "a factor that does not divide": (lambda run: ["enlarge", run, "image.png", "--factor", "3"], "divides 8"),
    "no blur": (lambda run: ["deblur", run, "image.png", "--blur", "0"], "above 0"),
    "a blur wider than the image": (lambda run: ["deblur", run, "image.png", "--blur", "2"], "blur narrower"),
    "noise below nothing": (lambda run: ["deblur", run, "image.png", "--noise", "-1"], "noise of 0"),
    "no variance": (lambda run: ["deblur", run, "image.png", "--noise", "0", "--data-variance", "0"], "data_variance"),
    "a small canvas": (lambda run: ["canvas", run, "--size", "4x20"], "at least 8 x 8"),
    "a stride with gaps": (lambda run: ["canvas", run, "--size", "8x20", "--stride", "9"], "leaves gaps"),
    "a size of words": (lambda run: ["canvas", run, "--size", "large"], "HEIGHTxWIDTH"),
    "a film of another kind": (lambda run: ["tile", run, "--film", "film.avi"], ".gif"),
    "images to tile": (lambda run: ["tile", run, "image.png"], "unexpected 'image.png'"),
    "no results": (lambda run: ["tile", run, "--num-images", "0"], "--num-images"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line_and_nothing_written(
    name: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = WRONG[name]
    picture(Path("image.png"), (8, 8))
    picture(Path("m.png"), (5, 5))
    mask(Path("white.png"), np.ones((8, 8)))
    mask(Path("black.png"), np.zeros((8, 8)))
    Path("text.png").write_text("this is no picture")
    before, run_before = snapshot(tmp_path), snapshot(trained)
    code, out, err = call(capsys, "edit", *words(trained), *(["--out", "out"] if len(words(trained)) > 2 else []))
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert expected in err
    assert snapshot(tmp_path) == before and snapshot(trained) == run_before


def test_every_task_explains_itself_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    overview = call(capsys, "edit", "--help")
    assert overview.code == 0 and all(task in overview.out for task in TASKS)
    for task in TASKS:
        said = call(capsys, "edit", task, "--help")
        assert said.code == 0 and f"examples:\n  ancestral edit {task}" in said.out
