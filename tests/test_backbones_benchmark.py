"""The benchmark of networks trains each on the images of its own speed, and does nothing that is there again."""

import json
from pathlib import Path

import pytest

from ancestral.settings import merged
from benchmarks import backbones

TINY = {
    "unet": {"network": {"widths": [8], "layers": 1, "attention": [], "middle_attention": False}},
    "dit": {"network": {"width": 8, "layers": 1, "heads": 1, "patch": 4}},
}


@pytest.mark.usefixtures("quick_features")
def test_networks_are_compared_at_equal_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = backbones.NETWORKS["digits"].items()
    tiny = {name: merged(config, TINY[config.network.name], "the test") for name, config in recipes}
    monkeypatch.setattr(backbones, "NETWORKS", {"digits": tiny})
    speeds = iter([{"ratio": 1.0, "images_per_second": 960.0}, {"ratio": 0.5, "images_per_second": 99.0}])
    monkeypatch.setattr(backbones, "speed_of", lambda first, config: next(speeds))
    words = ["digits", "--minutes", "0.005", "--seeds", "1", "--images", "20", "--out", str(tmp_path)]
    assert backbones.main(words) == 0
    record = json.loads((tmp_path / "backbones-digits-0s.json").read_text())
    assert {name: run["images"] for name, run in record["runs"].items()} == {"U-Net/0": 288, "transformer/0": 144}
    assert record["runs"]["U-Net/0"]["parameters"] != record["runs"]["transformer/0"]["parameters"]
    assert backbones.main(words) == 0, "all is there, and no speed is left to ask for"
    assert json.loads((tmp_path / "backbones-digits-0s.json").read_text()) == record
    assert "| transformer | 1 | 0.50 x | 144 |" in capsys.readouterr().out
