"""The comparison of flow matching with the presets: variants are what they say, and a rehearsal runs through."""

import json
from pathlib import Path

import pytest
from pipelines import TINY

from ancestral.pipeline.building import build_diffusion
from ancestral.settings import merged
from benchmarks import backbones, flow


@pytest.mark.parametrize("data", flow.RECIPES)
def test_variants_differ_in_the_process_and_the_timesteps_alone(data: str) -> None:
    recipes = flow.RECIPES[data]
    assert len({config.model_dump_json() for config in recipes.values()}) == len(flow.VARIANTS)
    last = {name: build_diffusion(config.diffusion).schedule.alpha_bar[-1] for name, config in recipes.items()}
    assert last["rectified, flow"] == 0 != last["cosine, v"]
    assert len({config.training.lr for config in recipes.values()}) == 1
    assert len({config.network.model_dump_json() for config in recipes.values()}) == 1


@pytest.mark.usefixtures("quick_features")
def test_a_rehearsal_trains_generates_and_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"network": TINY.model_dump(), "compute": {"compile": "no"}}
    chosen = {
        name: merged(flow.RECIPES["digits"][name], changes, "the rehearsal")
        for name in ("cosine, v", "rectified, flow, normal, corrected")
    }
    monkeypatch.setattr(flow, "RECIPES", {"digits": chosen})
    monkeypatch.setattr(backbones, "speed_of", lambda first, config: {"ratio": 1.0, "images_per_second": 640.0})
    words = ["digits", "--minutes", "0.005", "--seeds", "1", "--images", "20", "--out", str(tmp_path)]
    assert flow.main(words) == 0
    runs = json.loads((tmp_path / "flow-digits-0s.json").read_text())["runs"]
    assert {name: run["images"] for name, run in runs.items()} == {f"{name}/0": 192 for name in chosen}
    assert "| rectified, flow, normal, corrected | 1 | 1.00 x | 192 |" in capsys.readouterr().out
