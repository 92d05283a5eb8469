"""The benchmarks of caching and of 8 bits measure what they say. No times."""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pipelines import answering, untrained

from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings, UNetSettings
from benchmarks import caching, quantised

NETWORK = UNetSettings(widths=(8, 16), layers=1, attention=(), norm_groups=4)


def saved(folder: Path, seed: int) -> Path:
    """A pipeline of random weights that answers something."""
    settings = {"network": NETWORK, "sampling": SamplingSettings(eta=0.5), "seed": seed}
    answering(untrained(classes=("a", "b"), changes=settings), seed).save(folder / "pipeline")
    return folder


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Every batch of images that is measured, in place of measuring them."""
    seen: list[torch.Tensor] = []

    def evaluate(drawn: torch.Tensor, *others: object) -> dict[str, dict[str, SimpleNamespace]]:
        seen.append(drawn)
        return {"generated against test": {"frechet": SimpleNamespace(value=float(len(seen)), standard_error=None)}}

    monkeypatch.setattr(caching, "evaluate", evaluate)
    monkeypatch.setattr(caching, "load", lambda data: None)
    return seen


@pytest.mark.slow
def test_caching_measures_every_cache_once_and_keeps_what_it_has(
    tmp_path: Path, measured: list[torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    run = saved(tmp_path / "run", seed=0)
    few = ["--steps", "4", "--images", "3", "--timed", "1", "--rounds", "1", "--out", str(tmp_path)]
    assert caching.main([str(run), *few]) == 0
    own = Pipeline.load(run)
    for drawn, cache in zip(measured, caching.CACHES, strict=True):
        settings = SamplingSettings(eta=0.5, steps=4, cache=cache)
        assert torch.equal(drawn, own.generate(range(3), torch.tensor([0, 1, 0]), settings)), (
            "the run's own way to draw"
        )
    rows = json.loads((tmp_path / "caching-run.json").read_text())["steps"]["4"]
    assert [*rows] == ["1", "2", "3", "5"] and rows["1"]["levels_from_uncached"] == 0 < rows["2"][
        "levels_from_uncached"
    ]
    assert all(0 < row["low"] <= row["median"] <= row["high"] for row in [*rows.values()][1:])
    assert "| 4 | 5 |" in capsys.readouterr().out
    caching.main([str(run), *few])
    assert len(measured) == 4, "what is there is not measured again"
    saved(tmp_path / "run", seed=1)
    caching.main([str(run), *few])
    assert len(measured) == 8, "other weights are"


eight_bits = pytest.mark.skipif(
    "x86" not in torch.backends.quantized.supported_engines, reason="this torch has no 8-bit convolutions here"
)


@pytest.fixture
def without_deprecation() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        yield


@eight_bits
@pytest.mark.usefixtures("without_deprecation")
@pytest.mark.parametrize("form", quantised.FORMS)
def test_a_convolution_in_8_bits_is_the_same_but_for_rounding(form: str) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(16, 24, 3, padding=1).eval()
    x = torch.randn(2, 16, 9, 7).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        exact = conv(x)
        rounded = quantised.FORMS[form](conv, float(x.abs().max()), float(exact.abs().max()))(x)
        assert rounded.dtype == torch.float32 and rounded.shape == exact.shape
        assert 0 < (rounded - exact).square().mean().sqrt() / exact.std() < 0.03


@eight_bits
@pytest.mark.usefixtures("without_deprecation")
def test_all_inner_convolutions_are_replaced_and_the_network_itself_is_not(tmp_path: Path) -> None:
    network = Pipeline.load(saved(tmp_path, seed=0), "cpu").network.eval()
    x, time = torch.randn(2, 1, 8, 8), torch.tensor(500.0)
    with torch.inference_mode():
        other = quantised.in_8_bits(network, quantised.quantised_tensors, x)
        error = (other(x, time) - network(x, time)).square().mean().sqrt() / network(x, time).std()
    left = [name for name, each in other.named_modules() if isinstance(each, torch.nn.Conv2d) and each.stride == (1, 1)]
    assert all(name in ("conv_in", "conv_out") or name.endswith("conv_shortcut") for name in left)
    assert not any(isinstance(each, quantised.Replaced) for each in network.modules())
    assert 0 < error < 0.2
