"""The browser's engine in a real browser: its networks, its random numbers and its page against torch."""

import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from latent_pipelines import of_latents
from pipelines import untrained
from torch import nn
from torch.nn import functional as F

from ancestral.condition import Condition
from ancestral.diffusion.categorical import PredictsCategorical
from ancestral.errors import InputError
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.conditions import Told
from ancestral.networks.latents import LatentCodec, cropped, latent_codec
from ancestral.networks.rounding import Bits
from ancestral.networks.text import StatesShape
from ancestral.networks.tiled import Tiling
from ancestral.networks.unet import UNet
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.rng import ImageNoise
from ancestral.settings import (
    AttributeSpec,
    AutoencoderSettings,
    Config,
    DiTSettings,
    ImageSpec,
    KLSettings,
    LearnedText,
    NoText,
    PlainSettings,
    UNetSettings,
    VQSettings,
)
from ancestral.share.engine import MODULES, bare_page
from ancestral.share.scripts import joined
from ancestral.share.weights import macs, packed, rounded

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
CLANG = "Debian clang version 14.0.6"
HARNESS = """
let network;
window.opened = async (file) => void (network = await Network.open(wasm, bytes(file).buffer));
window.computed = (x, time, asked) => [...network.call(Float32Array.from(x), time, network.read(asked))];
window.decoded = (x0) => [...network.decoded(Float32Array.from(x0))];
window.told = (asked) => {
  const first = structuredClone(network.read(asked)), x = new ImageNoise(0, network.about.shape[1] ** 2).next();
  const before = network.call(x, 1, first);
  network.call(x.map((each) => -each), 2, network.read({}));
  const after = network.call(x, 1, first);
  return { tokens: first.states.length / network.about.text.width, same: before.every((each, i) => each === after[i]) };
};
window.refused = (asked) => {
  try {
    return network.read(asked);
  } catch (error) {
    return String(error);
  }
};
window.gelu = (numbers) => {
  const { kernels } = network, ones = numbers.map(() => 1);
  return [...kernels.read(kernels.gated(kernels.filled(1, 1, [...ones, ...numbers])))];
};
window.expected = (output, x, ...rest) => [...expected(Float32Array.from(output), Float32Array.from(x), ...rest)];
window.noise = (seed, count, draws) => {
  const noise = new ImageNoise(seed, count);
  return Array.from({ length: draws }, () => [...noise.next()]);
};
"""
SMALL: dict[str, Any] = {"widths": (8, 16), "layers": 1, "attention": (1,), "norm_groups": 4}
CASES: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "channels that neither four nor eight divides": (
        (3, 7, 5), {"widths": (6, 10), "stem": 14, "norm_groups": 2, "attention": (0, 1), "heads": 2},
    ),
    "odd sides, padded evenly": ((1, 5, 3), {"widths": (8, 8, 12, 8), "attention": ()}),
    "odd sides, padded right and bottom, down to one pixel": (
        (1, 7, 5), {"widths": (8, 8, 12, 8), "attention": (), "downsample_padding": "right-bottom"},
    ),
    "scale and shift, Fourier features of three channels": (
        (3, 8, 8), {"time_conditioning": "scale-shift", "fourier": (0, 3, 7)},
    ),
    "places, more pixels than scores in memory at a time, and no multiple of four": (
        (1, 11, 7), {"widths": (8, 24), "attention": (0, 1), "positions": True, "head_width": 4},
    ),
    "a middle of more, without normalisation": (
        (1, 8, 8), {"middle_layers": 3, "middle_norm": False, "positions": True},
    ),
    "a middle of one block": ((1, 8, 8), {"middle_layers": 0, "attention": ()}),
    "no attention in the middle, three blocks a level": ((1, 8, 8), {"middle_attention": False, "layers": 3}),
    "the other sinusoids, a large epsilon, dropout": (
        (1, 8, 8), {"time_order": "cos-sin", "time_frequency_shift": 0, "norm_eps": 0.1, "dropout": 0.5},
    ),
    "one level": ((1, 4, 4), {"widths": (12,), "attention": (0,)}),
    "not square, mixed out of a few channels": ((2, 6, 10), {"output_rank": 5}),
    "more waves than channels, blocks that change the resolution, of odd sides": (
        (1, 7, 5), {"widths": (6, 8, 12), "norm_groups": 2, "resampling": "resnet", "waves": 10},
    ),
    "fewer waves, blocks that change the resolution by scale and shift": (
        (1, 8, 8), {"resampling": "resnet", "waves": 2, "time_conditioning": "scale-shift", "layers": 2},
    ),
}  # fmt: skip


PATCHED: dict[str, tuple[tuple[int, int, int], dict[str, Any], dict[str, Any]]] = {
    "patches of one pixel, more of them than scores in memory at a time": (
        (1, 9, 8), {"patch": 1, "width": 12, "heads": 3, "norm_eps": 0.1}, {},
    ),
    "patches of four pixels, not square": ((3, 8, 12), {"patch": 4, "mlp_ratio": 1, "time_frequency_shift": 0}, {}),
    "a text and a class": ((1, 6, 4), {"heads": 4}, {"label": 0, "tokens": [518, 9, 519, 519]}),
}  # fmt: skip
DECODED: dict[str, tuple[tuple[int, int, int], AutoencoderSettings]] = {
    "a quarter of the sides, attention, images that were continued": (
        (3, 13, 18), KLSettings(widths=(4, 6, 10), channels=3, norm_groups=2, middle_attention=True, layers=2),
    ),
    "half of the sides": ((1, 8, 6), PlainSettings(widths=(8, 8), norm_groups=4)),
    "codes": ((1, 16, 8), VQSettings(widths=(8, 12), channels=5, norm_groups=4, codes=30)),
}  # fmt: skip
TOKENS = [518, 3, 77, 300, 519, 519, 519]
"""Start, a text, and ends, of a vocabulary of 520."""
ATTRIBUTES = (AttributeSpec(name="age"), AttributeSpec(name="height"))
TOLD: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a text": ({}, {}, {"length": 7}, {"tokens": TOKENS}),
    "no text": ({}, {}, {"length": 7}, {}),
    "a text without its end, in six features": (
        {}, {}, {"length": 4, "width": 6, "masked": True, "pooled": False}, {"tokens": TOKENS[:4]},
    ),
    "a masked text, attention of a width": (
        {}, {"head_width": 4, "attention": (0, 1)}, {"length": 7, "masked": True}, {"tokens": TOKENS},
    ),
    "a text that some levels see, places, heads": (
        {"height": 5, "width": 7},
        {"widths": (8, 16, 32), "attention": (0, 2), "cross_attention": (2,), "positions": True, "heads": 4},
        {"length": 7, "pooled": False}, {"tokens": TOKENS},
    ),
    "one of two attributes": ({"attributes": ATTRIBUTES}, {}, {}, {"attributes": [0.7, float("nan")]}),
    "no attributes": ({"attributes": ATTRIBUTES}, {}, {}, {}),
    "a class, a text and attributes": (
        {"attributes": ATTRIBUTES, "class_names": ("a", "b")}, {}, {"length": 7},
        {"label": 1, "tokens": TOKENS, "attributes": [-1.5, 0.0]},
    ),
}  # fmt: skip
"""What a network is told: the images, the network and the text encoder, if it reads any, and what is asked for."""


Call = Callable[..., Any]


class Altered(UNet):
    """A network of one's own."""


class Negated:
    """A codec of one's own."""

    bound = 1.0

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        return image


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed: the engine is not tried in a browser")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def call(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Call]:
    """Calls a function of the harness, in a page opened from a file, of which nothing is complained."""
    complaints: list[str] = []
    page = opened(browser, tmp_path_factory.mktemp("page") / "engine.html", bare_page(HARNESS), complaints)
    yield lambda name, *given: page.evaluate(f"given => window.{name}(...given)", given)
    assert complaints == []


def opened(browser: Any, file: Path, text: str, complaints: list[str]) -> Any:
    """A page, and in `complaints` what the browser says of it and what it asks for beside the file."""
    file.write_text(text, encoding="utf-8")
    page = browser.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: complaints.append(r.url) if r.url not in ("data:,", file.as_uri()) else None)
    page.goto(file.as_uri())
    return page


def filled(pipeline: Pipeline) -> Pipeline:
    """The pipeline with random numbers where a new network has none, so that every weight counts."""
    generator, codec = torch.Generator().manual_seed(0), pipeline.codec
    parts = [pipeline.network, *([codec.network] if isinstance(codec, LatentCodec) else [])]
    with torch.no_grad():
        for weight in (weight for part in parts for weight in part.parameters()):
            if weight.ndim < 2:
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
            else:
                drawn = nn.init.xavier_uniform_(torch.empty_like(weight), 0.5, generator)
                weight += drawn * (weight == 0)
    return pipeline


def opened_in_page(call: Call, pipeline: Pipeline, bits: Bits = 16) -> Pipeline:
    """What torch computes with the weights of the file that is now open in the page."""
    call("opened", b64encode(packed(pipeline, bits)).decode())
    return rounded(pipeline, bits)


def error(call: Call, pipeline: Pipeline, bits: Bits, time: float, **asked: Any) -> float:
    """The largest difference between the browser's output for an image and torch's, of the same weights. What is asked
    for makes a difference."""
    same = opened_in_page(call, pipeline, bits)
    x = torch.randn(1, *pipeline.latent_shape, generator=torch.Generator().manual_seed(1))
    got = torch.tensor(call("computed", x.flatten().tolist(), time, asked))
    names = {"label": "labels", "attributes": "attributes", "tokens": "tokens"}
    condition = Condition(**{names[kind]: torch.tensor([each]) for kind, each in asked.items() if each is not None})
    with torch.no_grad():
        wanted, untold = (same.network.eval()(x, torch.tensor([time]), each) for each in (condition, Condition()))
    assert wanted.std() > 0.1
    assert (wanted - untold).abs().max() > 1e-2 or condition == Condition()
    return float((got - wanted.flatten()).abs().max())


def decoding_error(call: Call, same: Pipeline) -> float:
    """The largest difference between the image of some x0 by the file that is open and by torch with its weights."""
    x0 = torch.randn(1, *same.latent_shape, generator=torch.Generator().manual_seed(2))
    got, codec = torch.tensor(call("decoded", x0.flatten().tolist())), same.codec
    with torch.no_grad():
        wanted = cropped(codec.images(x0), same.spec.shape[1:]) if isinstance(codec, LatentCodec) else x0
    assert wanted.std() > 0.1
    return float((got - wanted.flatten()).abs().max())


def preset(name: str, shape: tuple[int, int, int], num_classes: int) -> Pipeline:
    config = PRESETS[name]()
    changes = {"network": config.network, "diffusion": config.diffusion, "text": config.text}
    return filled(untrained(shape, tuple(map(str, range(num_classes))), changes))


def in_latents(shape: tuple[int, int, int], settings: AutoencoderSettings, changes: dict[str, Any]) -> Pipeline:
    """A pipeline of images of a shape, in the latents of an autoencoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        autoencoder = Autoencoder(settings, shape[0])
        if isinstance(settings, VQSettings) and autoencoder.quantize is not None:
            autoencoder.quantize.take(torch.randn(settings.codes, settings.channels))
    statistics = (torch.linspace(low, high, settings.channels, dtype=torch.float64) for low, high in ((-1, 1), (1, 2)))
    spec = ImageSpec(channels=shape[0], height=shape[1], width=shape[2])
    return filled(Pipeline.fresh(Config(**changes), spec, "cpu", codec=latent_codec(autoencoder, *statistics)))


def patched(shape: tuple[int, int, int], changes: dict[str, Any], asked: dict[str, Any]) -> Pipeline:
    """A transformer that is told classes and texts of four tokens, if anything is asked of it."""
    text = {"text": LearnedText(vocab_size=520, length=4, width=12, layers=1, heads=2)} if asked else {}
    network = DiTSettings(**{"width": 16, "layers": 2, "heads": 2, **changes})
    return filled(untrained(shape, ("a", "b")[: 2 * len(asked)], {"network": network, **text}))


def telling(name: str) -> tuple[Pipeline, dict[str, Any]]:
    """A pipeline that is told something, and what is asked of it."""
    spec, changes, text, asked = TOLD[name]
    shape = {"vocab_size": 520, "width": 12, "layers": 2, "heads": 2, **text}
    config = Config(network=UNetSettings(**{**SMALL, **changes}), text=LearnedText(**shape) if text else NoText())
    sides = {"channels": 1, "height": 8, "width": 8}
    return filled(Pipeline.fresh(config, ImageSpec(**{**sides, **spec}), "cpu")), asked


def refused(pipeline: Pipeline) -> str:
    with pytest.raises(InputError) as refusal:
        packed(pipeline)
    return str(refusal.value)


@pytest.mark.parametrize(("bits", "label"), [(32, 7), (16, 7), (8, 7), (32, None)])
def test_digits_are_torchs_in_all_bits(call: Call, bits: Bits, label: int | None) -> None:
    assert error(call, preset("digits", (1, 8, 8), 10), bits, 999.0, label=label) <= 1e-5


@pytest.mark.parametrize(
    ("name", "shape", "num_classes", "time", "asked"),
    [
        ("mnist", (1, 28, 28), 10, 1.0, {"label": 3}),
        ("photos", (3, 32, 32), 0, 500.0, {}),
        ("digits-dit", (1, 8, 8), 10, 3.0, {"label": 9}),
        ("shapes", (3, 32, 32), 0, 999.0, {"tokens": [1022, *range(500, 511), *[1023] * 8]}),
    ],
)
def test_larger_presets_are_torchs(
    call: Call, name: str, shape: tuple[int, int, int], num_classes: int, time: float, asked: dict[str, Any]
) -> None:
    assert error(call, preset(name, shape, num_classes), 16, time, **asked) <= 1e-5


@pytest.mark.parametrize("name", CASES)
def test_every_setting_is_torchs(call: Call, name: str) -> None:
    shape, changes = CASES[name]
    pipeline = filled(untrained(shape, changes={"network": UNetSettings(**{**SMALL, **changes})}))
    assert max(error(call, pipeline, bits, -3.7) for bits in (32, 8)) <= 1e-5


@pytest.mark.parametrize("name", PATCHED)
def test_transformers_are_torchs(call: Call, name: str) -> None:
    pipeline, asked = patched(*PATCHED[name]), PATCHED[name][2]
    assert max(error(call, pipeline, bits, 999.0, **asked) for bits in (32, 8)) <= 1e-5


@pytest.mark.parametrize("name", DECODED)
def test_images_of_latents_are_torchs(call: Call, name: str) -> None:
    shape, settings = DECODED[name]
    pipeline = in_latents(shape, settings, {"network": UNetSettings(**SMALL)})
    for bits in (32, 16, 8):
        assert decoding_error(call, opened_in_page(call, pipeline, bits)) <= 1e-5


def test_of_pixels_x0_is_the_image(call: Call) -> None:
    assert decoding_error(call, opened_in_page(call, untrained())) == 0


def test_a_preset_of_latents_is_torchs(call: Call) -> None:
    config = PRESETS["emoji-64"]()
    assert isinstance(config.codec, KLSettings)
    changes = {"network": config.network, "text": config.text, "diffusion": config.diffusion}
    pipeline = in_latents((3, 64, 64), config.codec, changes)
    assert error(call, pipeline, 8, 500.0, tokens=[1022, *range(600, 610), *[1023] * 13]) <= 1e-5
    assert decoding_error(call, rounded(pipeline, 8)) <= 1e-4


def test_the_file_of_latents_names_no_file_and_holds_no_encoder() -> None:
    settings = KLSettings(perceptual_by="lpips", perceptual_weights="/home/somebody/lpips.pth")
    pipeline = in_latents((1, 16, 16), settings, {"network": UNetSettings(**SMALL)})
    file, codec = packed(pipeline, 32), pipeline.codec
    assert isinstance(codec, LatentCodec)
    assert b"somebody" not in file and b"encoder." not in file
    decoding = sum(each.numel() for each in codec.network.decoder.parameters())
    network = sum(each.numel() for each in pipeline.network.parameters())
    assert 4 * (decoding + network) < len(file) < 4 * (decoding + network) + 40_000


@pytest.mark.parametrize("name", TOLD)
def test_whatever_is_told_is_torchs(call: Call, name: str) -> None:
    pipeline, asked = telling(name)
    assert max(error(call, pipeline, bits, 30.0, **asked) for bits in (16, 8)) <= 1e-5


def test_what_is_read_once_serves_all_calls_and_holds_the_tokens_that_are_seen(call: Call) -> None:
    for name, tokens in (("a text", 7), ("a masked text, attention of a width", 5)):
        pipeline, asked = telling(name)
        opened_in_page(call, pipeline)
        assert call("told", asked) == {"tokens": tokens, "same": True}


def test_gelu_is_within_1e_7(call: Call) -> None:
    x = torch.linspace(-12, 12, 9_601)
    opened_in_page(call, untrained())
    got = torch.tensor(call("gelu", x.tolist())).double()
    assert ((got - F.gelu(x.double())).abs() / x.abs().clamp(min=1)).max() <= 1e-7


def test_levels_become_x0(call: Call) -> None:
    logits, x = torch.randn(1, 2 * 256, 3, 5), torch.randn(1, 2, 3, 5)
    alpha, sigma = torch.tensor(0.9), torch.tensor(0.02)
    x0, _ = PredictsCategorical().decode(logits, x, alpha, sigma)
    got = call("expected", logits.flatten().tolist(), x.flatten().tolist(), 15, float(alpha), float(sigma))
    assert (torch.tensor(got) - x0.flatten()).abs().max() <= 1e-5


@pytest.mark.parametrize("count", [1, 15, 16, 17, 64, 784])
def test_random_numbers_are_torchs(call: Call, count: int) -> None:
    for seed in (0, 1, 2**40 + 1, 2**63 - 1, -(2**63)):
        noise = ImageNoise([seed], (count,))
        for draw in call("noise", str(seed), count, 3):
            assert (torch.tensor(draw) - noise()[0]).abs().max() <= 1e-6


def test_labels_that_there_are_not_are_refused(call: Call) -> None:
    pipeline = untrained((1, 4, 4), ("a", "b"), {"network": UNetSettings(**SMALL)})
    certain = Pipeline.fresh(pipeline.config, pipeline.spec.model_copy(update={"null_class": "none"}), "cpu")
    for each, label in ((pipeline, 3), (pipeline, -1), (certain, None), (certain, 2)):
        with pytest.raises(Exception, match=r"expected a label in 0\.\.1, got"):
            error(call, each, 16, 1.0, label=label)


@pytest.mark.parametrize(
    ("name", "asked", "complaint"),
    [
        ("a text", {"label": 0}, "expected no label, got 0"),
        ("a text", {"attributes": [0.5]}, "expected no attributes, got 1"),
        ("a text", {"tokens": TOKENS[:6]}, "expected 7 tokens, got 6"),
        ("a text", {"tokens": [*TOKENS[:6], 520]}, "expected tokens in 0..519, got 520"),
        ("a text", {"tokens": [*TOKENS[:6], 1.5]}, "expected tokens in 0..519, got 1.5"),
        ("no attributes", {"attributes": [0.5]}, "expected 2 attributes, got 1"),
        ("no attributes", {"tokens": TOKENS}, "expected no tokens, got 7"),
    ],
)
def test_what_a_network_is_never_told_is_refused(call: Call, name: str, asked: dict[str, Any], complaint: str) -> None:
    pipeline, _ = telling(name)
    opened_in_page(call, pipeline)
    assert call("refused", asked) == f"RangeError: {complaint}"


def test_the_policy_lets_the_engine_run_and_nothing_else(browser: Any, tmp_path: Path) -> None:
    attempts = """
        window.made = await WebAssembly.compile(wasm).catch(String);
        window.got = await fetch("https://example.com").catch(String);
    """
    complaints: list[str] = []
    page = opened(browser, tmp_path / "strict.html", bare_page(attempts), complaints)
    page.wait_for_function("window.got")
    assert page.evaluate("made instanceof WebAssembly.Module") and page.evaluate("got").startswith("TypeError")
    stricter = bare_page(attempts).replace(" 'wasm-unsafe-eval'", "")
    page = opened(browser, tmp_path / "stricter.html", stricter, complaints)
    page.wait_for_function("window.got")
    assert "CompileError" in page.evaluate("made")
    page = opened(
        browser, tmp_path / "altered.html", bare_page(attempts).replace("class Twister", "class  Twister"), complaints
    )
    assert page.evaluate("typeof made") == "undefined"


def test_the_modules_are_one_plain_script_also_of_a_worker(browser: Any) -> None:
    script = joined(MODULES)
    assert re.search(r"^\s*(import|export|await)\b", script, re.MULTILINE) is None
    page = browser.new_page()
    given = [f"{script}\npostMessage([typeof Network, typeof ImageNoise, typeof expected])"]
    said = page.evaluate(
        """given => new Promise((resolve, reject) => {
          const worker = new Worker(URL.createObjectURL(new Blob(given)));
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = ({ message }) => reject(message);
        })""",
        given,
    )
    page.close()
    assert said == ["function"] * 3


def test_multiply_adds_are_those_of_every_layer_of_a_transformer_told_a_text() -> None:
    pipeline = patched((1, 6, 4), {"patch": 2}, {"label": 0, "tokens": [518, 9, 519, 519]})
    pixels, tokens, width, words, features = 24, 6, 16, 4, 12
    waves = 256 * width + width**2
    own = 6 * width**2 + 4 * tokens * width**2 + 2 * tokens**2 * width
    text = 2 * tokens * width**2 + 2 * words * features * width + 2 * tokens * words * width
    perceptron = 8 * tokens * width**2
    ends = pixels * width + 2 * width**2 + width * pixels
    assert macs(pipeline) == waves + 2 * (own + text + perceptron) + ends


def test_multiply_adds_are_those_of_every_layer_of_the_smallest_u_net() -> None:
    pixels, width, embedded = 64, 8, 32
    waves, ends = width * embedded + embedded**2, 2 * 9 * pixels * width
    block = 2 * 9 * pixels * width**2 + embedded * width
    joined_block = block + 9 * pixels * width**2 + 2 * pixels * width**2  # of twice the width, which a shortcut carries
    assert macs(untrained()) == waves + ends + 3 * block + 2 * joined_block


def test_rounded_weights_are_near_output_by_output_and_their_file_is_small() -> None:
    pipeline = preset("digits", (1, 8, 8), 10)
    weights = pipeline.network.state_dict()
    total = sum(weight.numel() for weight in weights.values())
    for bits, step in {32: 0.0, 16: 2**-11, 8: 1.00001 / 254}.items():
        near = rounded(pipeline, bits).network.state_dict()
        assert len(packed(pipeline, bits)) < bits / 8 * total + 60_000
        for name, weight in weights.items():
            exact, off = by_output(name, weight), by_output(name, near[name] - weight)
            bound = step * exact.abs().amax(1) + 1e-7 * (bits == 16) if weight.ndim > 1 else 0 * exact[:, 0]
            assert (off.abs().amax(1) <= bound).all(), name


def by_output(name: str, weight: torch.Tensor) -> torch.Tensor:
    """(outputs, inputs); the embedding of classes has a row for each input."""
    return weight.T if name == "class_embedding.weight" else weight.reshape(len(weight), -1)


def test_what_the_engine_does_not_compute_is_refused() -> None:
    states = Told(text=StatesShape(length=4, width=8))
    sample, export = "generate with `ancestral sample`", "write it by `ancestral export RUN --onnx`"
    package, engine = "expected a network of this package", "for the browser's engine"
    latents = of_latents((1, 8, 8)).with_network(untrained().network)
    whole = in_latents((1, 16, 16), PlainSettings(widths=(8, 8)), {"network": UNetSettings(**SMALL)})
    assert isinstance(whole.codec, LatentCodec)
    tiles = replace(whole, codec=replace(whole.codec, tiling=Tiling(whole=100, side=64, overlap=32)))
    tiles = replace(tiles, spec=tiles.spec.model_copy(update={"width": 66}))
    others = {
        f"{package} {engine}, got Conv2d; {sample}": untrained().with_network(nn.Conv2d(1, 1, 1)),
        f"{package} {engine}, got Altered; {export}": untrained().with_network(Altered(UNetSettings(**SMALL), 1, 1)),
        f"expected text.name learned {engine}, got frozen; {sample}": untrained().with_network(
            UNet(UNetSettings(**SMALL), 1, 1, states)
        ),
        f"expected pixels or an autoencoder of this package {engine}, got Negated; {sample}": replace(
            untrained(), codec=Negated()
        ),
        f"expected pixels or an autoencoder of this package {engine}, got Averaging; {export}": latents,
        f"expected images that are decoded whole {engine}, got 66x16 pixels, which are decoded in tiles; {export}": (
            tiles
        ),
    }
    for complaint, pipeline in others.items():
        assert refused(pipeline) == complaint
    huge = untrained()
    with torch.no_grad():
        huge.network.get_parameter("conv_in.weight")[0] = 7e4
    assert "got 70000 in conv_in.weight; take 32 bits" in refused(huge)


def test_the_kernels_are_what_their_source_compiles_to(tmp_path: Path) -> None:
    if not (found := shutil.which("clang")) or CLANG not in subprocess.check_output([found, "--version"], text=True):
        pytest.skip(f"{CLANG} is not installed: the kernels are not built again")
    made = tmp_path / "net.wasm"
    subprocess.run(["make", "engine", f"KERNELS={made}"], cwd=ROOT, check=True, capture_output=True)
    committed = (ROOT / "src/ancestral/share/net.wasm").read_bytes()
    assert sha256(made.read_bytes()).hexdigest() == sha256(committed).hexdigest()
