"""A network called by another engine than torch: the same answer, whatever it is told and for any number of images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pipelines import SMALL, answering, untrained

from ancestral.compute import ENGINES, Choices
from ancestral.condition import Condition
from ancestral.errors import InputError
from ancestral.networks import engines
from ancestral.networks.backbone import build
from ancestral.networks.conditions import Told
from ancestral.networks.engines import by_engine, kept
from ancestral.networks.graphs import network_graph
from ancestral.networks.interface import Backbone
from ancestral.networks.text import TextShape
from ancestral.pipeline import Pipeline
from ancestral.settings import DiTSettings, NetworkSettings, SamplingSettings, UNetSettings

LEVEL = 2 / 255  # of images in [-1, 1]
every_engine = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(autouse=True, scope="module")
def one_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests here that ask for the same graph trace it once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCESTRAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path))
    return tmp_path / "engines"


def network(
    settings: NetworkSettings,
    *shape: int,
    classes: int = 0,
    null: bool = True,
    attributes: int = 0,
    text: TextShape | None = None,
) -> Backbone:
    made = build(settings, *shape, Told(classes, null, attributes, text)).eval()
    weights = torch.Generator().manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=weights)
    return made


LEVELS = UNetSettings(**{**SMALL.model_dump(), "fourier": (5,), "output_rank": 4, "downsample_padding": "right-bottom"})
TOLD = Condition(torch.tensor([1, -1, 0]), torch.tensor([[0.5, 1], [torch.nan, 2], [torch.nan, torch.nan]]))
BLEND = Condition(tokens=torch.arange(30).reshape(3, 2, 5), weights=torch.tensor([[0.7, 0.3], [1, 0], [0.25, 0.75]]))
NETWORKS = {
    "told both": (lambda: network(SMALL, 3, 6, classes=2, attributes=2), TOLD),
    "told nothing of what it knows": (lambda: network(SMALL, 3, 6, classes=2, attributes=2), Condition()),
    "no null class": (lambda: network(SMALL, 1, 1, classes=2, null=False), Condition(torch.tensor([1, 1, 0]))),
    "a blend of texts": (lambda: network(SMALL, 1, 1, text=TextShape(600, 5, 16, 1, 2)), BLEND),
    "levels, Fourier features": (lambda: network(LEVELS, 1, 256), Condition()),
    "transformer": (lambda: network(DiTSettings(width=16, layers=1, heads=2), 1, 1, classes=2), TOLD[:1]),
}


AT_ONCE = [("told both", "onnxruntime"), ("a blend of texts", "onnxruntime"), ("transformer", "onnxruntime")]
AT_ONCE += [("told both", "openvino")]
SOAKED = [
    (name, "onnxruntime") for name in ("told nothing of what it knows", "no null class", "levels, Fourier features")
]
SOAKED += [("a blend of texts", "openvino")]


@pytest.mark.parametrize(
    ("name", "engine"), [*AT_ONCE, *(pytest.param(*each, marks=pytest.mark.slow) for each in SOAKED)]
)
def test_the_answer_is_torchs_for_any_number_of_images(name: str, engine: str) -> None:
    """Trap: the number of images, or that of the pixels, that it was traced with stays in the graph."""
    made, (condition, noise) = NETWORKS[name][0](), (Condition(*NETWORKS[name][1]), torch.Generator().manual_seed(1))
    call = by_engine(made, engine, "float32")
    channels = 3 if "both" in name or "knows" in name else 1
    for count, height in ((3, 8), (1, 8), *([(2, 12)] if engine == "onnxruntime" else [])):
        x, times = torch.randn(count, channels, height, 8, generator=noise), torch.tensor([998.0, 3.0, 0.0])[:count]
        told = condition.rows(slice(0, count))
        with torch.inference_mode():
            expected = made(x, times, told)
            assert (call(x, times, told) - expected).abs().max() < 1e-5 * expected.abs().max()


def test_a_graph_says_nothing_of_where_it_was_made() -> None:
    graph = network_graph(network(SMALL, 1, 1), {}, (1, 8, 8)).SerializeToString()
    for secret in (str(Path.home()), str(Path.cwd()), "unet.py", "site-packages"):
        assert secret.encode() not in graph


@every_engine
def test_images_are_torchs_to_a_hundredth_of_a_level_in_any_chunk(engine: str) -> None:
    made = answering(untrained((3, 8, 8), ("cat", "dog"), {"network": SMALL})).with_compute(Choices())
    settings, labels = SamplingSettings(steps=3, guidance=2.0), torch.tensor([0, 1, 0, 1, 0])
    other = made.with_compute(Choices(engine=engine))  # type: ignore[arg-type]

    def drawn(pipeline: Pipeline, part: slice) -> torch.Tensor:
        *_, last = pipeline.steps(range(5)[part], labels[part], settings)
        return last.x_s

    expected, whole = drawn(made, slice(0, 5)), drawn(other, slice(0, 5))
    assert expected.std() > 20 * LEVEL, "images that differ"
    assert (whole - expected).abs().max() < 0.01 * LEVEL
    parts = torch.cat([drawn(other, slice(0, 2)), drawn(other, slice(2, 5))])
    assert (parts - whole).abs().max() < 0.01 * LEVEL


def test_bfloat16_is_the_engines_too_and_near() -> None:
    """Trap: a compiled form that is kept on disk forgets what it was compiled for."""
    drawn = torch.Generator().manual_seed(1)
    made, x = network(SMALL, 1, 1), torch.randn(2, 1, 8, 8, generator=drawn)
    times = torch.tensor([998.0, 3.0])
    expected = made(x, times)
    for again in range(2):  # compiled, and read again
        engines._compiled.clear()
        error = (by_engine(made, "openvino", "bfloat16")(x, times, Condition()) - expected).abs().max()
        assert error < 0.03 * expected.abs().max(), again
    assert (by_engine(made, "openvino", "float32")(x, times, Condition()) - expected).abs().max() < 1e-5


@every_engine
def test_weights_that_change_change_the_answer(engine: str) -> None:
    """Trap: what was compiled of weights that are no more."""
    made, x, times = network(SMALL, 1, 1), torch.randn(1, 1, 8, 8), torch.tensor([9.0])
    before = by_engine(made, engine, "float32")(x, times, Condition())
    with torch.no_grad():
        made.conv_out.bias += 1
    after = by_engine(made, engine, "float32")(x, times, Condition())
    assert torch.allclose(after, before + 1, atol=1e-5)


def test_an_answer_is_not_written_over_by_the_next() -> None:
    """Trap: memory that an engine lends."""
    made, x, times = network(SMALL, 1, 1), torch.randn(1, 1, 8, 8), torch.tensor([9.0])
    call = by_engine(made, "openvino", "float32")
    first = call(x, times, Condition())
    kept_copy = first.clone()
    call(-x, times, Condition())
    assert torch.equal(first, kept_copy)


def damage(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def test_what_is_kept_is_read_and_what_is_damaged_made_again(own_folder: Path) -> None:
    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"graph" * 99)
        return made[-1]

    assert kept("about", make) == kept("about", make) == b"graph" * 99 and len(made) == 1
    (file,) = own_folder.iterdir()
    for change in (damage, lambda content: content[:40], lambda content: b""):
        file.write_bytes(change(file.read_bytes()))
        assert kept("about", make) == b"graph" * 99
    assert len(made) == 4
    own_folder.joinpath(file.name).unlink()
    assert kept("other", make) and len(made) == 5


def test_what_was_used_last_is_kept(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(engines, "MOST_BYTES", 300)
    for number in range(3):
        kept(str(number), lambda: bytes(100))
        for age, file in enumerate(sorted(own_folder.iterdir(), key=lambda each: -each.stat().st_mtime), start=1):
            os.utime(file, (1e9 - age, 1e9 - age))
    made: list[int] = []
    kept("2", lambda: made.append(2) or b"")  # type: ignore[func-returns-value]
    kept("0", lambda: made.append(0) or b"")  # type: ignore[func-returns-value]
    assert made == [0] and sum(file.stat().st_size for file in own_folder.iterdir()) <= 300


def test_a_cache_that_cannot_be_written_costs_time_alone(own_folder: Path) -> None:
    own_folder.write_text("no folder")
    assert kept("about", lambda: b"made") == b"made"


def test_what_an_engine_cannot_take_is_one_line() -> None:
    made = network(SMALL, 1, 1).double()
    with pytest.raises(InputError, match=r"expected onnxruntime to take this network, got: .*compute\.engine torch$"):
        by_engine(made, "onnxruntime", "float32")(torch.randn(1, 1, 8, 8), torch.zeros(1), Condition())


def test_numbers_reach_an_engine_in_the_order_it_reads_them() -> None:
    """Trap: images that lie channels-last."""
    made, times = network(SMALL, 3, 3), torch.tensor([9.0])
    x = torch.randn(1, 3, 8, 8)
    call = by_engine(made, "onnxruntime", "float32")
    answers = [call(each, times, Condition()) for each in (x, x.contiguous(memory_format=torch.channels_last))]
    assert np.array_equal(*(each.numpy() for each in answers))
