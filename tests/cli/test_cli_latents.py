"""`ancestral train --codec`: from images to a pipeline of latents, what its settings refuse, and the verbs it takes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_calls import TINY, call, snapshot
from PIL import Image
from pipelines import answering

from ancestral.cli.main import main
from ancestral.data.datasets import load
from ancestral.errors import InputError
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.networks.latents import LatentCodec
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS, autoencoder_of, for_codec, in_latents
from ancestral.settings import CodecConfig, Config, KLSettings, PixelSettings, TrainingSettings, merged, parse
from ancestral.training.logs import read_log

CODEC = ["--codec.widths", "8", "16", "--codec.channels", "2", "--codec.norm_groups", "4"]
FEW = [*TINY, *CODEC, "--training.log_every_steps", "1", "--data.test", "0.6", "--sampling.steps", "2"]


def trained(folder: Path, kind: str, *words: str) -> Path:
    run = folder / kind
    assert main(["train", "digits", "--codec", kind, *FEW, "--training.steps", "5", *words, "--out", str(run)]) == 0
    return run


@pytest.fixture(scope="session")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps of an autoencoder and three of diffusion on `digits`, by class. To be read only."""
    return trained(tmp_path_factory.mktemp("latents"), "kl")


@pytest.fixture
def run(coded: Path, tmp_path: Path) -> Path:
    """A copy whose network answers something."""
    copy = Path(shutil.copytree(coded, tmp_path / "run"))
    answering(Pipeline.load(copy, "cpu")).save(copy / "pipeline")
    return copy


def config(**changes: Any) -> Config:
    return merged(in_latents(PRESETS["digits"]()), {"codec": {"name": "kl"}, **changes}, "test")


def refusal(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    done = call(capsys, *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    return done.err


# settings


def test_an_older_run_and_a_preset_are_of_pixels() -> None:
    tree = Config().model_dump(mode="json")
    del tree["codec"]
    assert isinstance(parse(Config, tree, "an older file").codec, PixelSettings)
    assert isinstance(PRESETS["digits"]().codec, PixelSettings)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sampling.clip", "static"], "sampling.clip none with codec.name kl"),
        (["--training.loss", "vlb"], "vlb and hybrid"),
        (["--training.loss", "hybrid", "--diffusion.variance", "learned"], "vlb and hybrid"),
        (["--diffusion.prediction", "levels"], "diffusion.prediction than levels"),
        (["--codec.share", "1"], "codec.share"),
        (["--codec.codes", "8"], "no codes with the codec kl"),
        (["--codec.folder", "x"], "no folder with the codec kl"),
        (["--codec", "frozen"], "expected codec.folder with codec.name frozen"),
        (["--codec", "frozen", "--codec.folder", "x", "--codec.share", "0.3"], "no share with the codec frozen"),
        (["--codec", "gan"], "codec.name"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_does_not_go_with_latents_is_one_line(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = refusal(capsys, "train", "digits", "--codec", "kl", *words, "--dry-run")
    assert expected in err, err
    assert snapshot(tmp_path) == {}


def test_the_codec_alone_is_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for flag in (["--codec", "vq"], ["--codec.name", "vq"], ["--codec=vq"]):
        done = call(capsys, "train", "digits", *flag, "--codec.codes", "8", "--dry-run")
        assert done.code == 0, done.err
        printed.append(json.loads(done.out))
    (tmp_path / "codec.toml").write_text('[codec]\nname = "vq"\ncodes = 8\n')
    printed.append(json.loads(call(capsys, "train", "digits", "--config", "codec.toml", "--dry-run").out))
    assert all(each == printed[0] for each in printed)
    assert printed[0]["codec"]["codes"] == 8 and printed[0]["sampling"]["clip"] == "none"


@pytest.mark.parametrize("share", [0.05, 0.1, 0.37, 0.5, 0.95])
@pytest.mark.parametrize("budget", [2, 3, 5, 7, 99, 1000, 123_457])
def test_the_shares_add_up_to_the_budget(share: float, budget: int) -> None:
    """Trap: half of five is two, twice."""
    training = {"steps": budget, "images": 3 * budget, "minutes": budget / 7}
    whole = config(codec={"name": "kl", "share": share}, training=training)
    first, rest = autoencoder_of(whole).training, whole.own_training
    for each in (first, rest):
        assert each.steps and each.images and each.minutes
    assert first.steps + rest.steps == budget and first.images + rest.images == 3 * budget  # type: ignore[operator]
    assert first.minutes + rest.minutes == pytest.approx(budget / 7, rel=1e-12)  # type: ignore[operator]
    assert abs(first.steps - share * budget) <= 1 and first.minutes == pytest.approx(share * budget / 7)  # type: ignore[operator]
    alone = config(training={"steps": None, "images": None, "minutes": 2.0}).own_training
    assert (alone.steps, alone.images, alone.minutes) == (None, None, 1.0)
    pixels = PRESETS["digits"]()
    assert pixels.own_training == pixels.training


def test_the_autoencoders_own_run_has_the_same_data_and_seed() -> None:
    """And the machine and the habits of the run; how it learns is its own recipe."""
    whole = config(
        seed=7,
        data={"flip": True, "validation": 0.1},
        compute={"micro_batch": 4, "engine": "torch", "chunk": 8},
        training={
            "log_every_steps": 3,
            "on_divergence": "rollback",
            "lr": 1e-5,
            "loss": "simple",
            "label_dropout": 0.5,
        },
    )
    own = autoencoder_of(whole)
    assert (own.seed, own.data) == (7, whole.data) and own.compute.micro_batch == 4
    assert (own.training.log_every_steps, own.training.on_divergence) == (3, "rollback")
    assert own.training.lr == for_codec("digits").training.lr and own.codec == KLSettings()
    assert parse(CodecConfig, own.model_dump(mode="json"), "its codec.json") == own
    with pytest.raises(InputError, match=r"no codec.share for an autoencoder alone"):
        merged(own, {"codec": {"share": 0.3}}, "codec.json")


# one command


@pytest.mark.parametrize("kind", [pytest.param("plain", marks=pytest.mark.slow), "kl", "vq"])
def test_one_command_makes_a_run_of_latents(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path, kind)
    said = capsys.readouterr().out
    assert said.index("first, by 50% of the budget") < said.index("4x4 latents of 2 channels, 10 classes")
    assert {path.name for path in run.iterdir()} >= {"autoencoder", "latents", "pipeline", "checkpoints", "config.json"}
    assert {path.name for path in (run / "autoencoder").iterdir()} >= {
        "codec",
        "codec.json",
        "checkpoints",
        "log.jsonl",
    }
    inner, outer = (read_log(folder / "log.jsonl") for folder in (run / "autoencoder", run))
    assert [record["step"] for record in inner] == [1, 2] and [record["step"] for record in outer] == [1, 2, 3]
    (latents,) = (run / "latents").iterdir()
    assert latents.suffix == ".npy"
    made = Pipeline.load(run, "cpu")
    assert isinstance(made.codec, LatentCodec) and made.config.codec.name == kind and made.latent_shape == (2, 4, 4)
    assert made.codec.hash == read_autoencoder(run / "autoencoder/codec").hash
    (state,) = json.loads(call(capsys, "runs", tmp_path, "--json").out)
    assert (Path(state["run"]).name, state["state"], state["steps"]) == (kind, "finished", 3)
    again = call(capsys, "train", "digits", "--codec", kind, *FEW, "--training.steps", "5", "--out", run)
    assert again.code == 0 and "is finished already" in again.out, again.err
    bare = call(capsys, "train", run)
    assert bare.code == 0 and "is finished already" in bare.out, bare.err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--codec.channels", "3"], "codec.channels"),
        (["--codec", "plain"], "codec.name"),
        (["--codec", "pixels"], "codec.name"),
        (["--codec.share", "0.3"], "codec.share"),
        (["--codec.kl_weight", "0.1"], "codec.kl_weight"),
    ],
)
def test_a_command_of_another_codec_is_refused_by_name(
    words: list[str], name: str, coded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(coded)
    err = refusal(capsys, "train", coded, *words, "--training.steps", "9")
    assert f"was trained with {name} = " in err, err
    assert snapshot(coded) == before


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{name}.png" for name in "ab"]
    for number, file in enumerate(files):
        Image.frombytes("L", (8, 8), bytes((i * (37 + number)) % 256 for i in range(64))).save(file)
    return files


def size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


def test_images_films_and_arrays_are_of_what_is_decoded(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--strip", "--film", "film.png", "--arrays", "chain.npz", "--each"]
    done = call(capsys, "sample", run, "--num-images", "3", "--steps", "3", *files, "--out", "g")
    assert done.code == 0, done.err
    assert [size(Path(f"g/seed-{seed}.png")) for seed in range(3)] == [(8, 8)] * 3
    chain = np.load("chain.npz")
    assert chain["x_t"].shape == chain["x_0"].shape == (4, 3, 2, 4, 4)
    made = Pipeline.load(run, "cpu")
    shown = made.decode(torch.from_numpy(chain["x_0"][-1]))
    with Image.open("g/seed-1.png") as image:
        assert np.array_equal(np.asarray(image), shown[1, 0].numpy())
    again = call(capsys, "sample", run, "--from", "g/seed-1.png")
    assert again.code == 0 and "the same as g/seed-1.png, pixel for pixel" in again.out + again.err, again


TAKEN: dict[str, tuple[list[str], tuple[int, int]]] = {
    "inpaint": (["{a}", "--box", "0,0,4,4", "--num-images", "1", "--rounds", "2"], (8, 8)),
    "outpaint": (["{a}", "--margins", "0,3,0,0", "--num-images", "1", "--rounds", "1"], (11, 8)),
    "vary": (["{a}", "--num-images", "1", "--film", "film.gif"], (8, 8)),
    "interpolate": (["{a}", "{b}", "--points", "3"], (8, 8)),
    "invert": (["{a}"], (8, 8)),
    "canvas": (["--size", "9x15"], (15, 9)),
    "tile": (["--num-images", "1", "--size", "10x10"], (10, 10)),
}


@pytest.mark.parametrize("task", TAKEN)
def test_what_is_edited_goes_through_the_codec(
    task: str, run: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = TAKEN[task]
    given = [word.format(a=pictures[0], b=pictures[1]) for word in words]
    done = call(capsys, "edit", task, run, *given, "--steps", "3", "--json")
    assert done.code == 0, done.err
    _, first, *_ = json.loads(done.out)["files"]
    assert size(Path(first)) == expected


REFUSED: dict[str, tuple[list[str], str]] = {
    "enlarge": (["edit", "enlarge", "{run}", "{a}"], "expected a pipeline of pixels for restoring"),
    "deblur": (["edit", "deblur", "{run}", "{a}"], "expected a pipeline of pixels for restoring"),
    "canvas below the pipeline": (["edit", "canvas", "{run}", "--size", "6x8"], "at least 8 x 8 pixels, got 6 x 8"),
    "padding": (
        ["edit", "tile", "{run}", "--by", "padding", "--size", "6x6", "--stride", "1"], "unknown option --stride",
    ),
    "train on its own": (["train", "{run}/autoencoder"], "train-codec"),
    "show": (["show", "data", "{run}"], "got a run"),
    "clip": (["sample", "{run}", "--clip", "static"], "expected sampling.clip none, got static"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_run_of_latents_does_not_do_is_one_line(
    what: str, run: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = REFUSED[what]
    done = call(capsys, *(word.format(run=run, a=pictures[0]) for word in words))
    assert (done.code, done.out) == (2, "") and expected in done.err.splitlines()[-1], done


def test_what_measures_and_guides_takes_it(run: Path, quick_features: None, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["variance", run, "--images", "8", "--timesteps", "3"],
        ["train-classifier", run, "--steps", "2"],
        ["evaluate", run, "--images", "40", "--steps", "2"],
        ["sweep", run, "--images", "40", "--calls", "2", "--samplers", "ddim"],
        ["tune", run, "--minutes", "0.001", "--dry-run"],
        ["report", run],
    ):
        done = call(capsys, *map(str, words))
        assert done.code == 0, (words, done.err)
    assert (run / "report.html").is_file() and (run / "classifier.safetensors").is_file()
    guided = call(capsys, "sample", run, "--num-images", "2", "--guidance-by", "classifier", "--guidance", "2")
    assert guided.code == 0, guided.err


def test_odd_sizes_are_those_of_the_images_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trap: an autoencoder continues them to whole squares, and so do its images."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for number in range(20):
        Image.frombytes("RGB", (7, 9), bytes((i * (5 + number)) % 256 for i in range(189))).save(
            folder / f"{number}.png"
        )
    words = ["--data.size", "9", "7", "--training.sample_every_steps", "2", "--data.flip"]
    done = call(
        capsys, "train", folder, "--codec", "plain", *FEW, "--data.test", "0.2", *words, "--training.steps", "4"
    )
    assert done.code == 0, done.err
    run = Path("runs/odd")
    answering(Pipeline.load(run, "cpu")).save(run / "pipeline")
    image = folder / "3.png"
    for task in (
        ["inpaint", image, "--box", "0,0,4,4"],
        ["vary", image],
        ["invert", image],
        ["canvas", "--size", "10x9"],
    ):
        done = call(capsys, "edit", str(task[0]), run, *map(str, task[1:]), "--steps", "2", "--json")
        assert done.code == 0, done.err
        _, first, *_ = json.loads(done.out)["files"]
        assert size(Path(first)) == ((9, 10) if task[0] == "canvas" else (7, 9))
    done = call(capsys, "report", run)
    assert done.code == 0, done.err


def test_tuning_measures_what_sees_latents(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: the network is timed on pixels, and what was found is kept for another shape."""
    from ancestral.tuning import tuner

    seen: list[tuple[int, int, int]] = []
    tuning = tuner.tuning

    def noted(pipeline: Pipeline, *words: Any) -> Any:
        seen.append(pipeline.latent_shape)
        return tuning(pipeline, *words)

    monkeypatch.setattr(tuner, "tuning", noted)
    for words in (["--codec", "kl"], ["--codec.name", "pixels"]):
        done = call(
            capsys,
            "tune",
            "digits",
            *words,
            *TINY,
            *(CODEC if "kl" in words else []),
            "--minutes",
            "0.001",
            "--dry-run",
        )
        assert done.code == 0, done.err
    assert seen == [(2, 4, 4), (1, 8, 8)]


def test_the_variance_is_of_latents_as_training_draws_them(run: Path) -> None:
    """Trap: means alone are narrower than what is diffused."""
    from ancestral.jobs.variance import measured
    from ancestral.progress import finish

    made = Pipeline.load(run, "cpu")
    images = load(made.config.data).train.sliced(0, 64)
    codec = made.codec
    assert isinstance(codec, LatentCodec)
    calls: list[bool] = []
    encode = type(codec).encode

    class Noted(type(codec)):  # type: ignore[misc]
        def encode(self, pixels: torch.Tensor, noise: Any = None) -> torch.Tensor:
            calls.append(noise is not None)
            return encode(self, pixels, noise)

    noted = replace(made, codec=Noted(codec.network, codec.mean, codec.std))
    grid = made.diffusion.schedule.uniform_log_snr(2)[:-1]
    finish(measured(noted, images, grid, 0))
    assert calls and all(calls)


def test_the_budget_is_said_of_the_training_it_is_for() -> None:
    assert TrainingSettings(steps=1).parted(0.5)[0].steps == TrainingSettings(steps=1).parted(0.5)[1].steps == 1


def test_a_measurement_of_other_weights_is_made_anew(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trap: of an autoencoder that was trained on, what it was worth before stood in the report."""
    file = run / "autoencoder" / "quality.json"
    kept = file.read_text()
    file.write_text(json.dumps({**json.loads(kept), "weights": "0" * 16, "psnr": 1.0}))
    assert call(capsys, "train", run).code == 0
    assert file.read_text() == kept
