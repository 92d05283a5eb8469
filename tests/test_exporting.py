"""What is exported as ONNX answers and generates as torch does, without it, and says nothing of where it was made."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks.test_autoencoder import randomised
from PIL import Image
from pipelines import SMALL, answering
from torch import Tensor

import ancestral_lite as lite
from ancestral.condition import Condition
from ancestral.errors import InputError
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.graphs import network_graph
from ancestral.networks.interface import Backbone
from ancestral.networks.latents import LatentCodec, latent_codec
from ancestral.networks.rounding import rounded
from ancestral.pipeline import Pipeline
from ancestral.pipeline.exporting import exported
from ancestral.pipeline.folder import build_network
from ancestral.presets import PRESETS
from ancestral.selftest.samplers import KINDS
from ancestral.settings import AttributeSpec, Config, ImageSpec, SamplingSettings, merged
from ancestral.tokenizer import Tokenizer
from ancestral_lite.__main__ import main
from ancestral_lite.model import guided
from ancestral_lite.png import png

SECRET = "/home/somebody/birds"
TOKENIZER = Tokenizer.learn(["a small red circle", "a large blue square", "a red square"], length=9)
BASE = Config(
    network=SMALL,
    data={"source": SECRET},
    training={"minutes": 1, "label_dropout": 0.1},
    sampling={"steps": 6},
    compute={"precision": "float32"},
)
TEXT = {"name": "learned", "width": 16, "layers": 1}
CROSS = {"widths": (8, 16), "layers": 1, "attention": (1,), "norm_groups": 4}
RELATIVES = {"time_conditioning": "scale-shift", "downsample_padding": "right-bottom", "head_width": 4, "stem": 4}
LEVELS = {"fourier": (5,), "output_rank": 4}
CLASSES = ("cat", "dog", "3")
AGE = (AttributeSpec(name="age", mean=40, std=10), AttributeSpec(name="smiling"))


def made(
    shape: tuple[int, int, int] = (1, 8, 8),
    codec: str | None = None,
    spec: dict[str, Any] | None = None,
    **changes: Any,
) -> Pipeline:
    """A pipeline that answers something; of latents, in half of the sides, rounded up. It predicts v unless told
    otherwise: of weights at random, x0 by eps would be far beyond what pixels show, and so would differences."""
    changes = {"diffusion": {"prediction": "v"}} | changes
    config, tokenizer = merged(BASE, changes, "test"), TOKENIZER if "text" in changes else None
    images = ImageSpec(channels=shape[0], height=shape[1], width=shape[2], **(spec or {}))
    if codec is None:
        return answering(Pipeline.fresh(config, images, "cpu", tokenizer=tokenizer))
    own = {"name": codec, "widths": (8, 16), "channels": 4, "norm_groups": 4}
    of_latents = {"codec": own, "sampling": {"clip": "none"}, "diffusion": {"prediction": "x0"}}
    config = merged(config, of_latents, "test")
    autoencoder = randomised(Autoencoder(config.codec, shape[0]))  # type: ignore[arg-type]
    between = latent_codec(autoencoder, torch.linspace(-0.5, 0.5, 4).double(), torch.linspace(0.5, 2, 4).double())
    return answering(Pipeline.fresh(config, images, "cpu", codec=between, tokenizer=tokenizer))


MODELS: dict[str, Callable[[], Pipeline]] = {
    "classes": lambda: made(spec={"class_names": CLASSES}),
    "classes and attributes": lambda: made(
        (3, 8, 12),
        spec={"class_names": CLASSES, "attributes": AGE},
        network=RELATIVES,
        diffusion={"variance": "learned"},
        training={"loss": "hybrid"},
    ),
    "masked text": lambda: made(text={**TEXT, "masked": True}, network={**CROSS, "positions": True}),
    "levels": lambda: made(network=LEVELS, diffusion={"prediction": "levels", "time": "log-snr"}),
    "a transformer of latents": lambda: made(
        (3, 16, 23), "kl", {"class_names": CLASSES}, network={"name": "dit", "width": 16, "layers": 1, "heads": 2}
    ),
    "linear attention": lambda: made(
        (1, 8, 8), spec={"class_names": CLASSES}, network={"name": "linear-attention", "widths": (8, 16), "heads": 2}
    ),
    "text in a codebook's latents": lambda: made((3, 16, 16), "vq", text=TEXT, network=CROSS),
}
ASKED: dict[str, dict[str, Any]] = {
    "classes and attributes": {"attributes": {"age": 55.0}},
    "masked text": {"prompts": ["a red square", "blue"]},
    "text in a codebook's latents": {"prompts": ["a large circle", "red"], "negative": "blue"},
}
HOW: dict[str, dict[str, Any]] = {
    "classes": {"guidance": 2.0, "negative": "dog", "sampler": "heun"},
    "classes and attributes": {"guidance": 2.0, "negative": "age=20", "sampler": "ancestral"},
    "masked text": {"guidance": 3.0, "guidance_rescale": 0.5},
    "a transformer of latents": {"guidance": 1.5, "sampler": "dpm++2m"},
    "text in a codebook's latents": {"guidance": 2.0, "negative": "blue"},
}
SEEDS = (3, 17, 2**40)
Export = Callable[..., tuple[Pipeline, Path]]
SOAKED = ("levels", "linear attention", "masked text")
"""Each is traced for seconds; what the others are told holds a text, too."""
every_model = pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow) if each in SOAKED else each for each in MODELS]
)


def settings_of(pipeline: Pipeline, name: str) -> SamplingSettings:
    return SamplingSettings(**{**pipeline.config.sampling.model_dump(), **HOW.get(name, {})})


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Models by their names, exported once, and their folders."""

    @cache
    def export(name: str, bits: Any = 32) -> tuple[Pipeline, Path]:
        pipeline, folder = MODELS[name](), tmp_path_factory.mktemp("exported")
        settings = settings_of(pipeline, name)
        for file, content in exported(pipeline, settings, bits).items():
            folder.joinpath(file).write_bytes(content)
        return pipeline, folder

    return export


def told(pipeline: Pipeline, count: int) -> Condition:
    """Something of each of so many images, and nothing of some."""
    prompts = ["a red square", "small", "", "a blue circle"][: count if pipeline.tokenizer else 0]
    ages = [{"age": 31.0}, {}, {"age": 50, "smiling": 1}][: count if pipeline.spec.attributes else 0]
    labels = [i % 4 - 1 for i in range(count)] if pipeline.num_classes else None
    found = pipeline.condition(None, count, ages or None, prompts or None)
    return found if labels is None else found._replace(labels=torch.tensor(labels))


def answer(session: Any, x: Tensor, time: Tensor, rows: dict[str, Any]) -> np.ndarray:
    return session.run(None, {"x": x.numpy(), "time": time.numpy(), **rows})[0]


@every_model
def test_the_answer_is_torchs_for_any_number_of_images_of_any_size(name: str, exports: Export) -> None:
    """Trap: the number of images, or of pixels, that a graph was traced with stays in it."""
    pipeline, folder = exports(name)
    session, noise = onnxruntime.InferenceSession(folder / "model.onnx"), torch.Generator().manual_seed(1)
    channels, height, width = pipeline.latent_shape
    for count, h, w in ((1, height, width), (3, height, width), (16, height, width), (2, height + 6, width + 2)):
        x, time = torch.randn(count, channels, h, w, generator=noise), torch.rand(count, generator=noise) * 900
        condition, rows = told(pipeline, count), {}
        if condition.tokens is not None:
            text = onnxruntime.InferenceSession(folder / "text.onnx")
            rows = dict(zip(("states", "tokens"), text.run(None, {"tokens": condition.tokens.numpy()}), strict=False))
        rows |= {
            kind: getattr(condition, kind).numpy()
            for kind in ("labels", "attributes")
            if getattr(condition, kind) is not None
        }
        with torch.inference_mode():
            expected = pipeline.network.eval()(x, time, condition).numpy()
        assert expected.std() > 0.05
        assert np.abs(answer(session, x, time, rows) - expected).max() < 2e-5
        if isinstance(pipeline.codec, LatentCodec):
            decoder = onnxruntime.InferenceSession(folder / "decoder.onnx")
            images = pipeline.codec.images(x).detach().numpy()
            assert np.abs(decoder.run(None, {"x0": x.numpy()})[0] - images).max() < 2e-5 < images.std()


@every_model
def test_a_seed_gives_the_pipelines_image(name: str, exports: Export) -> None:
    pipeline, folder = exports(name)
    model, asked = lite.Model(folder), ASKED.get(name, {})
    settings = settings_of(pipeline, name)
    condition = pipeline.condition(
        [0, 1, 2] if pipeline.num_classes else None, 3, asked.get("attributes"), asked.get("prompts")
    )
    *_, ours = pipeline.steps(SEEDS, condition, settings)
    *_, theirs = model.steps(SEEDS, model.asked(3, **asked))
    assert float(ours.x_s.std()) > 0.1
    assert np.abs(theirs.x_s - ours.x_s.numpy()).max() < 1e-4
    pixels = model.pixels(theirs.x_s).astype(int)
    assert pixels.shape == (3, *pipeline.spec.shape)
    assert np.abs(pixels - pipeline.decode(ours.x_s).numpy()).max() <= 1
    assert model.apart()["noise"] < 1e-6 and model.apart()["output"] < 2e-5


@pytest.mark.parametrize("kind", KINDS)
def test_every_sampler_is_a_plan_that_gives_torchs_images(kind: str, exports: Export) -> None:
    pipeline, folder = exports("classes")
    model, settings, seeds = lite.Model(folder), SamplingSettings(sampler=kind, steps=20), range(6)
    *_, ours = pipeline.steps(seeds, torch.arange(6) % 3, settings)
    model.plan = lite.read_plan(pipeline.plan(settings).to_json())
    *_, theirs = model.steps(seeds, model.asked(6))
    most = 3e-4 if kind in ("deis-4", "ipndm-4") else 1e-4  # these two have large factors of either sign
    assert np.abs(theirs.x_s - ours.x_s.numpy()).max() < most
    assert np.abs(model.pixels(theirs.x_s).astype(int) - pipeline.decode(ours.x_s).numpy()).max() <= 1


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("text in a codebook's latents", 8),
        ("classes", 16),
        pytest.param("text in a codebook's latents", 16, marks=pytest.mark.slow),
        pytest.param("classes", 8, marks=pytest.mark.slow),
    ],
)
def test_fewer_bits_are_those_that_torch_computes_with_when_it_is_given_them(
    name: str, bits: Any, exports: Export
) -> None:
    pipeline, folder = exports(name, bits)
    assert isinstance(pipeline.network, Backbone)
    given = pipeline.with_network(rounded(pipeline.network, bits))
    if isinstance(codec := pipeline.codec, LatentCodec):
        given = replace(given, codec=replace(codec, network=rounded(codec.network, bits)))
    settings, asked = settings_of(pipeline, name), ASKED.get(name, {})
    condition = given.condition([0, 1, 2] if given.num_classes else None, 3, None, asked.get("prompts"))
    model = lite.Model(folder)
    *_, ours = given.steps(SEEDS, condition, settings)
    *_, theirs = model.steps(SEEDS, model.asked(3, **asked))
    *_, whole = pipeline.steps(SEEDS, condition, settings)
    assert np.abs(theirs.x_s - ours.x_s.numpy()).max() < 1e-4 < float((whole.x_s - ours.x_s).abs().max())
    assert np.abs(model.pixels(theirs.x_s).astype(int) - given.decode(ours.x_s).numpy()).max() <= 1
    whole_folder = exports(name)[1]
    for file in folder.iterdir():
        kinds = [each.data_type for each in onnx.load(file).graph.initializer if len(each.dims) > 1]
        packed = {16: onnx.TensorProto.FLOAT16, 8: onnx.TensorProto.INT8}[bits]
        assert kinds.count(packed) > 4 and file.stat().st_size < whole_folder.joinpath(file.name).stat().st_size


def test_weights_that_16_bits_cannot_hold_are_refused() -> None:
    pipeline = made()
    with torch.no_grad():
        next(pipeline.network.parameters()).fill_(1e5)
    with pytest.raises(InputError, match=r"expected weights that 16 bits hold, got 100000 in conv_in\.weight"):
        exported(pipeline, pipeline.config.sampling, 16)


PRESETS_SEEN = {"digits": (1, 8, 8), "digits-dit": (1, 8, 8), "mnist": (1, 28, 28), "photos": (3, 32, 32)}
LARGE = {"mnist-nll": (1, 28, 28), "textures-64": (4, 16, 16), "teaching": (1, 28, 28), "ddpm-cifar10": (3, 32, 32)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [*PRESETS_SEEN.items(), *(pytest.param(*each, marks=pytest.mark.slow) for each in LARGE.items())],
)
def test_networks_of_presets_answer_as_torchs_and_take_the_room_of_their_weights(
    name: str, shape: tuple[int, int, int]
) -> None:
    """Trap: a new network's last layers are 0, and hide what is wrong in those before."""
    spec = ImageSpec(channels=shape[0], height=shape[1], width=shape[2], class_names=tuple("0123456789"))
    network, noise = build_network(PRESETS[name](), spec).eval(), torch.Generator().manual_seed(1)
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=noise)
    graph = network_graph(network, {"labels": ()}, shape, any_size=True).SerializeToString()
    assert len(graph) < 1.02 * 4 * sum(each.numel() for each in network.parameters()) + 60_000
    session = onnxruntime.InferenceSession(graph)
    for count, height in ((1, shape[1]), (3, shape[1]), (16, shape[1]), (1, shape[1] + 4)):
        x, time = torch.randn(count, shape[0], height, shape[2], generator=noise), torch.rand(count, generator=noise)
        labels = torch.arange(count) % 11 - 1
        with torch.inference_mode():
            expected = network(x, 900 * time, Condition(labels)).numpy()
        assert expected.std() > 0.1
        assert np.abs(answer(session, x, 900 * time, {"labels": labels.numpy()}) - expected).max() < 2e-5


@every_model
def test_a_file_says_nothing_of_where_it_was_made(name: str, exports: Export) -> None:
    """Not of the images' folder, not of this one, no stack trace, no user."""
    _, folder = exports(name)
    for file in folder.iterdir():
        model = onnx.load(file)
        onnx.checker.check_model(model, full_check=True)
        assert [(each.domain, each.version) for each in model.opset_import] == [("", 20)]
        assert not model.graph.value_info and not any(node.name or node.doc_string for node in model.graph.node)
        assert all(not node.metadata_props for node in model.graph.node)
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")  # where any letters may stand
        assert not [word for word in ("/", ".py", "torch") if word in str(model)]


def test_the_metadata_are_the_whole_sampler(exports: Export) -> None:
    pipeline, folder = exports("classes and attributes")
    model = onnx.load(folder / "model.onnx")
    facts = {each.key: each.value for each in model.metadata_props}
    assert [each.name for each in model.graph.input] == ["x", "time", "labels", "attributes"]
    sides = [each.dim_param or each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == ["batch", 3, "height", "width"]
    about, schedule, settings = (json.loads(facts[key]) for key in ("about", "schedule", "settings"))
    assert about["classes"] == list(CLASSES) and about["attributes"][0] == {"name": "age", "mean": 40, "std": 10}
    assert about["negative"] == "age=20" and about["knows_null"]
    assert torch.equal(torch.tensor(schedule, dtype=torch.float64), pipeline.diffusion.schedule.alpha_bar)
    assert {*settings} == {"diffusion", "network", "text", "sampling"} and settings["sampling"]["guidance"] == 2
    assert SamplingSettings(**settings["sampling"]) == settings_of(pipeline, "classes and attributes")


def test_a_size_that_alone_is_right_stays(tmp_path: Path) -> None:
    """Trap: sides of one pixel are padded by two to be halved, larger ones by one, whatever their size in a graph."""
    narrow = {"widths": (8, 8, 8, 8), "layers": 1, "attention": (), "downsample_padding": "right-bottom"}
    for side, free in {4: 4, 8: "height"}.items():
        network = made((1, side, side), network=narrow)
        model = onnx.load_model_from_string(exported(network, SamplingSettings(steps=1))["model.onnx"])
        _, _, height, _ = model.graph.input[0].type.tensor_type.shape.dim
        assert (height.dim_param or height.dim_value) == free


class OneLayer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None) -> Tensor:
        return self.layer(x)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"guidance": 2.0, "guidance_by": "autoguidance"}, "expected guidance_by classifier-free in a plan, got auto"),
        ({"guidance": 2.0, "guidance_by": "classifier"}, "expected guidance_by classifier-free in a plan, got class"),
        ({"cache": 2}, "expected cache 1 in a plan, got 2"),
    ],
)
def test_what_no_file_can_do_is_refused_by_name(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        exported(made(), SamplingSettings(**settings))


def test_a_network_of_ones_own_is_refused() -> None:
    own = Pipeline.fresh(BASE, ImageSpec(channels=1, height=8, width=8), "cpu", OneLayer())
    with pytest.raises(InputError, match="expected a network of this package, got OneLayer"):
        exported(own, SamplingSettings())


def changed(folder: Path, to: Path, **facts: str) -> Path:
    """A copy of model.onnx that says other things of itself."""
    model = onnx.load(folder / "model.onnx")
    for each in model.metadata_props:
        each.value = facts.get(each.key, each.value)
    to.write_bytes(model.SerializeToString())
    return to


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--classes", "cow"], "expected a class out of cat, dog, 3, got 'cow'"),
        (["--attributes", "age=4"], "expected no attributes, got 'age'"),
        (["--attributes", "age"], "expected attributes as NAME=NUMBER"),
        (["--prompt", "a"], "expected no prompt, got 'a'"),
        (["--num-images", "0"], "expected --num-images of 1 or more"),
        (["--seed", "-1"], "expected --seed in 0.."),
        (["--guidance", "nan"], "expected --guidance of 0 or more"),
        (["--guidance", "2", "--classes", "none"], "expected guidance 1 where nothing is told, got 2"),
        (["--out", "grid.jpg"], "expected --out to end in .png"),
        (["--steps", "3"], "unrecognized arguments: --steps 3"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    words: list[str], said: str, exports: Export, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([str(exports("classes")[1]), *words]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("ancestral_lite: error: ") and said in err and len(err.splitlines()) == 1


def test_what_is_no_model_is_one_line(exports: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = exports("text in a codebook's latents")[1], tmp_path / "model.onnx"
    shutil.copy(folder / "decoder.onnx", tmp_path)
    broken = {
        "no file": lambda: file.unlink(missing_ok=True),
        "no ONNX": lambda: file.write_bytes(b"\x08\x09 nothing"),
        "another version": lambda: changed(folder, file, version="2"),
        "no plan": lambda: changed(folder, file, plan="{}"),
        "no JSON": lambda: changed(folder, file, about="{"),
        "no text beside it": lambda: changed(folder, file),
        "of another model": lambda: (
            tmp_path.joinpath("text.onnx").write_bytes(folder.joinpath("text.onnx").read_bytes()),
            changed(folder, file, weights="0123456789abcdef"),
        ),
    }
    for name, breaks in broken.items():
        breaks()
        assert main([str(tmp_path)]) == 2, name
        assert "expected" in (err := capsys.readouterr().err) and len(err.splitlines()) == 1, name


def test_a_child_without_torch_draws_the_pipelines_grid_in_little_memory(exports: Export, tmp_path: Path) -> None:
    pipeline, folder = exports("classes")
    words = """
import sys
from pathlib import Path
from ancestral_lite.__main__ import main
assert main(sys.argv[1:]) == 0
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
print(*{name.partition(".")[0] for name in sys.modules}, *(line.split()[1] for line in lines if "VmHWM" in line))
"""
    asked = [folder / "model.onnx", "--seed", "5", "--num-images", "5", "--classes", "dog,cat", "--out", "images.png"]
    done = subprocess.run(
        [sys.executable, "-c", words, *map(str, asked)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    loaded = {*done.stdout.split()[1:]}
    assert "onnxruntime" in loaded and not {"torch", "ancestral", "PIL", "onnx"} & loaded
    assert all(int(kibibytes) < 120 * 1024 for kibibytes in loaded if kibibytes.isdecimal())
    with Image.open(tmp_path / "images.png") as file:
        grid = np.asarray(file)
    assert grid.shape == (2 * 98 - 2, 3 * 98 - 2)
    images = pipeline.generate(range(5, 10), ["dog", "cat"] * 2 + ["dog"], settings_of(pipeline, "classes")).numpy()
    for number, image in enumerate(images):
        top, left = number // 3 * 98, number % 3 * 98
        shown = grid[top : top + 96, left : left + 96].astype(int)
        assert np.abs(shown - image[0].repeat(12, 0).repeat(12, 1)).max() <= 1
    assert (grid[96:98] == 255).all() and (grid[98:, 196:] == 255).all()


def test_colours_and_opacity_are_what_a_png_reader_sees() -> None:
    for channels in (1, 2, 3, 4):
        image = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
        with Image.open(io.BytesIO(png(image))) as file:
            assert np.array_equal(np.asarray(file).reshape(5, 7, channels), image.transpose(1, 2, 0))


def test_guidance_is_changed_where_the_plan_guides() -> None:
    def guidances(*before: float) -> list[float]:
        return [each["guidance"] for each in guided({"levels": [{"guidance": one} for one in before]}, 4)["levels"]]

    assert guidances(1, 1) == [4, 4] and guidances(1, 2, 1) == [1, 4, 1] and guidances(0, 0) == [4, 4]


def test_a_batch_in_parts_is_the_same(exports: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grids = []
    for at_once in (32, 2):
        monkeypatch.setattr("ancestral_lite.__main__.AT_ONCE", at_once)
        assert main([str(exports("classes")[1]), "--num-images", "5", "--out", str(tmp_path / "a.png")]) == 0
        with Image.open(tmp_path / "a.png") as file:
            grids.append(np.asarray(file).astype(int))
    assert np.abs(grids[0] - grids[1]).max() <= 1


def test_a_network_that_knows_no_image_without_is_told_all(tmp_path: Path) -> None:
    """Trap: a class of -1 is the last row of a table."""
    pipeline = made(spec={"class_names": CLASSES, "null_class": "none"}, training={"label_dropout": 0})
    folder = tmp_path / "one.onnx"
    folder.write_bytes(exported(pipeline, SamplingSettings(steps=2))["model.onnx"])
    model = lite.Model(folder)
    with pytest.raises(ValueError, match="expected classes of every image, got none"):
        model.asked(2, [])
    with pytest.raises(ValueError, match="expected guidance 1, got 2: this model knows no image without"):
        next(model.steps([0, 1], model.asked(2), 2))
    assert next(model.steps([0, 1], model.asked(2, negative="cat"), 2)).x0.shape == (2, 1, 8, 8)
