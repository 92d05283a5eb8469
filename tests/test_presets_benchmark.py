"""One command trains, measures and shows presets: what it does once, what it rehearses, what the pages say of it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
from PIL import Image

from ancestral.presets import PRESETS, ddpm_cifar10
from benchmarks import presets, trained
from benchmarks.machine import machine
from benchmarks.preset_figures import Figure
from benchmarks.preset_page import best, in_words, pages

ROOT = Path(__file__).parents[1]
TRAINED = {"images": 1000, "images_per_second": 50.0, "processor_share": 0.95, "autoencoder_images": None}
ENTRY: dict[str, Any] = {
    "preset": "digits",
    "narrowed": False,
    "share": 1.0,
    "rate": None,
    "threads": 1,
    "when": "2026-12-01",
    "training": {**TRAINED, "minutes": 2.0},
    "figures": [Figure("precision", 0.5, 0.01, real=0.7)._asdict()],
}


def test_the_pages_are_those_of_the_results() -> None:
    """Else: python -m benchmarks.presets --table."""
    assert {file: file.read_text(encoding="utf-8") for file in pages(ROOT)} == pages(ROOT)


@pytest.mark.usefixtures("quick_features")
def test_a_preset_is_trained_measured_and_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ROOT / "README.md", tmp_path)
    words = ["digits", "--quick", "--root", str(tmp_path)]
    assert presets.main(words) == 0
    results = tmp_path / "benchmarks" / "results" / f"presets-{machine().slug}.json"
    record = json.loads(results.read_text())
    entry = record["entries"]["digits"]
    assert record["machine"]["processor"] and entry["threads"] == 1 and entry["training"]["images"] == 20 * 8
    assert entry["command"] == "ancestral train digits --training.steps 20 --training.batch_size 8 --sampling.steps 4"
    assert 0 < entry["training"]["processor_share"] < 1.5
    distance = entry["figures"][0]
    assert distance["name"] == "Fréchet distance of 40 to 180 held-out images, too few,"
    assert distance["value"] > distance["real"] > 0 and distance["error"] > 0 and distance["real_error"] > 0
    assert "| `digits` | scikit-learn's handwritten digits, 8x8 grey, by class | 2 minutes | a rehearsal by 0 %" in (
        tmp_path / "README.md"
    ).read_text(encoding="utf-8")
    page = (tmp_path / "docs" / "presets.md").read_text(encoding="utf-8")
    assert page.count("\n## ") == 1 and f"![{entry['caption']}](pictures/preset-digits.png)" in page
    with Image.open(tmp_path / "docs" / "pictures" / "preset-digits.png") as picture:
        assert picture.width > picture.height, "two grids side by side"

    log = tmp_path / "runs" / "presets" / "digits" / "log.jsonl"
    before, written = results.read_bytes(), log.stat().st_mtime_ns
    assert presets.main(words) == 0 and results.read_bytes() == before, "what is measured is left alone"
    results.unlink()  # as if it had been stopped after it had measured
    capsys.readouterr()
    assert presets.main(words) == 0 and json.loads(results.read_text()) == record
    assert log.stat().st_mtime_ns == written and "training" not in capsys.readouterr().out


@pytest.mark.parametrize(("code", "named"), [(2, ["textures", "emoji"]), (130, ["textures"])])
def test_after_a_preset_that_fails_come_the_others_but_not_after_one_that_was_stopped(
    code: int, named: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(words: Sequence[str], folder: Path) -> None:
        raise CalledProcessError(code, ["ancestral", *words])

    monkeypatch.setattr(trained, "ancestral", ended)
    assert presets.main(["textures", "emoji", "--root", str(tmp_path)]) == code
    assert capsys.readouterr().err.splitlines() == [f"{name} is not measured: code {code}" for name in named]


def test_a_gpus_preset_is_rehearsed_at_a_tenth_of_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "device", lambda: "cpu")
    plan = presets.planned("ddpm-cifar10", share=0.5)
    network, own = plan.config.network, ddpm_cifar10()
    assert plan.narrowed and plan.label == "ddpm-cifar10-0.5-narrow"
    assert network == own.network.model_copy(update={"widths": (12, 24, 24, 24), "norm_groups": 4})
    assert plan.config.training.minutes == 10 and plan.config.training.steps is None
    assert plan.config.training.lr == own.training.lr and plan.config.data == own.data
    assert plan.words[2:] == [
        *("--training.minutes", "10.0", "--training.log_every_steps", "39", "--training.validate_every_steps", "39"),
        *("--network.widths", "12", "24", "24", "24", "--network.norm_groups", "4"),
    ]
    quick = presets.planned("cifar10-gpu", share=1, quick=True)
    assert quick.narrowed and quick.config.training.steps == 20, "the whole width would take an hour"
    monkeypatch.setattr(presets, "device", lambda: "cuda")
    assert presets.planned("ddpm-cifar10", share=1).config == own


def test_a_budget_is_the_presets_or_a_share_or_the_images_of_its_minutes() -> None:
    assert presets.planned("digits", 1).changes == {}
    assert presets.planned("digits", 0.25).config.training.minutes == 0.5
    busy = presets.planned("digits", 0.5, rate=100).config.training
    assert busy.images == 6000 and busy.minutes is None
    assert presets.planned("teaching", 0.5, rate=100).config.training.images == 1_140_000
    usual = presets.usual()
    assert usual[0] == "digits" and "teaching" not in usual and {*usual} < {*PRESETS}


def test_the_newest_of_the_largest_share_counts() -> None:
    by_hand = {"preset": "digits", "narrowed": False, "share": 1.0, "when": "2026-11-21", "measured": "good"}
    rehearsal = {**ENTRY, "share": 0.25, "when": "2026-12-09"}
    narrow = {**ENTRY, "narrowed": True, "when": "2026-12-09"}
    assert best([narrow, rehearsal, by_hand])["digits"] == by_hand
    assert best([ENTRY, by_hand, rehearsal])["digits"] == ENTRY
    assert best([rehearsal, narrow])["digits"] == rehearsal


def test_a_cell_says_on_what_it_stands() -> None:
    whole = "1,000 images, 50 a second; precision 0.500 ± 0.010 (real: 0.7) ([more](docs/presets.md#digits))"
    assert in_words(ENTRY) == whole
    assert in_words({**ENTRY, "share": 0.25}).startswith("a rehearsal by 25 % of the budget: 1,000 images")
    assert in_words({**ENTRY, "narrowed": True}).startswith("rehearsed at a tenth of the width for 2 minutes: 1,000")
    busy = {**ENTRY["training"], "processor_share": 0.3}
    assert "50 a second, on a busy machine: 30 % of a core;" in in_words({**ENTRY, "training": busy})
    assert "alone sees in those minutes at 8 a second" in in_words({**ENTRY, "rate": 8.0})
    assert in_words({"when": "2026-11-21", "measured": "good"}) == "good (by hand, 2026-11-21)"
